import Swiftlet

/// A function that the model wants called.
struct ToolCall: Sendable, Equatable {
  let name: String
  /// JSON text.
  let arguments: String
}

/// Finds calls in a model's text as it comes.
///
/// Models of Qwen's and Hermes's kind write `<tool_call>{"name": …, "arguments": {…}}</tool_call>`, once or more, after
/// any text; Llama 3 answers with nothing but `{"name": …, "parameters": {…}}`, several parted by semicolons. What
/// only looks like a call is text.
struct ToolCallParser: Sendable {
  enum Piece: Sendable, Equatable {
    case text(String)
    case call(ToolCall)
  }

  private enum Place {
    case start, text, insideTag, bareJSON
  }

  private static let opening = "<tool_call>"
  private static let closing = "</tool_call>"
  private static let pythonTag = "<|python_tag|>"

  /// Of functions that may be called.
  private let names: Set<String>
  private var place = Place.start
  /// Text that may be part of a call.
  private var pending = ""
  private var hasCalls = false

  /// - Parameter tools: as requests bring them.
  init(tools: JSON) {
    names = Set((tools.array ?? []).compactMap { $0["function"]?["name"]?.string })
  }

  mutating func append(_ text: String) -> [Piece] {
    pending += text
    var pieces: [Piece] = []
    while let found = step() { pieces += found }
    return pieces
  }

  /// What is left when the answer ends.
  mutating func finish() -> [Piece] {
    defer { pending = "" }
    switch place {
    case .start, .text: return textPieces(pending)
    case .bareJSON: return bareCalls(pending) ?? textPieces(pending)
    case .insideTag:
      return Self.call(pending).map { [.call($0)] } ?? textPieces(Self.opening + pending)
    }
  }

  /// - Returns: nil when more text is needed.
  private mutating func step() -> [Piece]? {
    switch place {
    case .start:
      let text = pending.drop(while: \.isWhitespace)
      if text.isEmpty || text != Self.pythonTag && Self.pythonTag.hasPrefix(text) { return nil }
      place = text.hasPrefix("{") || text.hasPrefix(Self.pythonTag) ? .bareJSON : .text
      return []
    case .bareJSON: return nil
    case .text: return textStep()
    case .insideTag:
      guard let end = pending.firstRange(of: Self.closing) else { return nil }
      let inside = String(pending[..<end.lowerBound])
      pending.removeSubrange(..<end.upperBound)
      place = .text
      guard let call = Self.call(inside) else { return textPieces(Self.opening + inside + Self.closing) }
      hasCalls = true
      return [.call(call)]
    }
  }

  private mutating func textStep() -> [Piece]? {
    if let start = pending.firstRange(of: Self.opening) {
      let before = pending[..<start.lowerBound]
      pending.removeSubrange(..<start.upperBound)
      place = .insideTag
      return textPieces(String(before.trimmingEnd()))
    }
    // Space before a call is not part of the answer.
    let held = pending.suffix(heldBack(pending))
    let text = String(pending.dropLast(held.count).trimmingEnd())
    guard !text.isEmpty else { return nil }
    pending.removeFirst(text.count)
    return textPieces(text)
  }

  /// How many characters at the end of `text` may be the start of a tag.
  private func heldBack(_ text: String) -> Int {
    let most = min(text.count, Self.opening.count - 1)
    return (0...most).last { Self.opening.hasPrefix(text.suffix($0)) } ?? 0
  }

  /// Between and after calls space is no text.
  private func textPieces(_ text: String) -> [Piece] {
    text.isEmpty || hasCalls && text.allSatisfy(\.isWhitespace) ? [] : [.text(text)]
  }

  // MARK: JSON

  /// - Returns: nil when `text` is anything but calls of known functions.
  private func bareCalls(_ text: String) -> [Piece]? {
    var calls: [Piece] = []
    var open = ""
    let body = text.drop(while: \.isWhitespace)
    for part in (body.hasPrefix(Self.pythonTag) ? body.dropFirst(Self.pythonTag.count) : body).split(separator: ";") {
      // A semicolon may stand in a string, too.
      open += open.isEmpty ? part : ";" + part
      if let call = Self.call(open) {
        guard names.contains(call.name) else { return nil }
        calls.append(.call(call))
        open = ""
      }
    }
    return open.allSatisfy(\.isWhitespace) && !calls.isEmpty ? calls : nil
  }

  private static func call(_ text: String) -> ToolCall? {
    guard let json = try? JSON(parsing: text), let name = json["name"]?.string else { return nil }
    let arguments = json["arguments"] ?? json["parameters"] ?? [:]
    // Some models write them as text already.
    return ToolCall(name: name, arguments: arguments.string ?? arguments.text())
  }
}

extension StringProtocol {
  /// Without white space at the end.
  fileprivate func trimmingEnd() -> SubSequence {
    let end = lastIndex { !$0.isWhitespace }.map { index(after: $0) } ?? startIndex
    return self[..<end]
  }
}
