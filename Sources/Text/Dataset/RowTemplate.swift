import Basics

/// A text with columns in braces: `### Question:\n{question}\n\n### Answer:\n{answer}`.
///
/// `{{` and `}}` stand for single braces. With losses on responses only, the response begins behind
/// `responseMarker`, a part of the template's own text like `### Answer:\n`; without a marker it begins at the last
/// column. What a row holds is never searched for the marker.
public struct RowTemplate: Sendable, Hashable {
  enum Part: Sendable, Hashable {
    case literal(String)
    case column(String)
  }

  public let source: String
  let parts: [Part]
  /// The index in `parts` where the response begins.
  let response: Int

  /// - Throws: `.invalidConfiguration` for a brace without partner, a template without columns, or a marker that
  ///   is not in the template.
  public init(_ source: String, responseMarker: String? = nil) throws(SwiftletError) {
    var parts = try Self.parse(source)
    guard let last = parts.lastIndex(where: { if case .column = $0 { true } else { false } }) else {
      throw SwiftletError(
        .invalidConfiguration, "the template \"\(source)\" names no column",
        remedy: "Put the columns into braces: \"{question} {answer}\".")
    }
    self.source = source
    response =
      try responseMarker.map { marker throws(SwiftletError) in
        try Self.split(&parts, behind: marker)
      } ?? last
    self.parts = parts
  }

  /// The columns in the order they are first used.
  public var columns: [String] {
    var names: [String] = []
    for case .column(let name) in parts where !names.contains(name) { names.append(name) }
    return names
  }

  /// The text of a row, and the byte at which the response begins; nil when every column of the response is empty.
  ///
  /// - Throws: `.invalidData` for a column the row lacks, naming the nearest it has.
  func fill(_ row: JSON.Object) throws(SwiftletError) -> (text: String, response: Int)? {
    var text = ""
    var start = 0
    var answered = false
    for (index, part) in parts.enumerated() {
      if index == response { start = text.utf8.count }
      switch part {
      case .literal(let literal): text += literal
      case .column(let name):
        let value = try row.text(of: name)
        answered = answered || (index >= response && !value.isEmpty)
        text += value
      }
    }
    return answered ? (text, start) : nil
  }

  private static func parse(_ source: String) throws(SwiftletError) -> [Part] {
    var parts: [Part] = []
    var literal = ""
    var rest = Substring(source)
    while let character = rest.popFirst() {
      if character == "{" || character == "}", rest.first == character {
        rest.removeFirst()
        literal.append(character)
      } else if character == "{", let end = rest.firstIndex(where: { $0 == "{" || $0 == "}" }),
        rest[end] == "}"
      {
        if !literal.isEmpty { parts.append(.literal(literal)) }
        literal = ""
        parts.append(.column(String(rest[..<end])))
        rest = rest[rest.index(after: end)...]
      } else if character == "{" || character == "}" {
        throw SwiftletError(
          .invalidConfiguration, "the template \"\(source)\" has a '\(character)' without its partner",
          remedy: "Write {{ and }} for braces that are text.")
      } else {
        literal.append(character)
      }
    }
    if !literal.isEmpty { parts.append(.literal(literal)) }
    return parts
  }

  /// Splits the first literal that holds `marker` behind it; the index of the part that follows.
  private static func split(_ parts: inout [Part], behind marker: String) throws(SwiftletError) -> Int {
    for (index, part) in parts.enumerated() {
      guard case .literal(let literal) = part, let found = literal.firstRange(of: marker), !found.isEmpty
      else { continue }
      let (before, after) = (literal[..<found.upperBound], literal[found.upperBound...])
      parts[index] = .literal(String(before))
      if !after.isEmpty { parts.insert(.literal(String(after)), at: index + 1) }
      return index + 1
    }
    throw SwiftletError(
      .invalidConfiguration, "the response marker \"\(marker)\" is not in the template's own text",
      remedy: "Give a part of the template that stands before the response, spelled as it is there.")
  }
}

extension JSON {
  /// The value as text: a string as it is, null as nothing, anything else as JSON.
  var plainText: String {
    switch self {
    case .string(let text): text
    case .null: ""
    default: text(.spaced)
    }
  }
}

extension JSON.Object {
  /// The value of column `name` as text.
  ///
  /// - Throws: `.invalidData` when the row has no such column, naming the nearest it has.
  func text(of name: String) throws(SwiftletError) -> String { try value(of: name).plainText }

  /// The value of column `name`, which the row must have.
  func value(of name: String) throws(SwiftletError) -> JSON {
    if let value = self[name] { return value }
    let columns = keys.map { "\"\($0)\"" }.joined(separator: ", ")
    throw SwiftletError(
      .invalidData, "the row has no column \"\(name)\", only \(columns)",
      remedy: nearest(to: name, in: keys).map { "Did you mean \"\($0)\"?" })
  }
}
