/// A JSON value that keeps the order of object keys and tells integers from other numbers.
///
/// Chat templates print objects in the order they were written, file headers need exact integers, and
/// data-set errors need line numbers: Foundation's parser gives none of the three.
/// Source: RFC 8259.
public enum JSON: Sendable, Hashable {
  case null
  case bool(Bool)
  case int(Int)
  case double(Double)
  case string(String)
  case array([JSON])
  case object(Object)
}

extension JSON {
  /// The member `key` of an object; nil for a missing key and for anything that is no object.
  public subscript(key: String) -> JSON? {
    if case .object(let object) = self { object[key] } else { nil }
  }

  public var isNull: Bool { self == .null }
  public var bool: Bool? { if case .bool(let value) = self { value } else { nil } }
  public var string: String? { if case .string(let value) = self { value } else { nil } }
  public var array: [JSON]? { if case .array(let value) = self { value } else { nil } }
  public var object: Object? { if case .object(let value) = self { value } else { nil } }

  /// The value as an integer; a number like `1e3` or `2.0` counts when it is whole.
  public var int: Int? {
    switch self {
    case .int(let value): value
    case .double(let value): Int(exactly: value)
    default: nil
    }
  }

  /// The value as a floating-point number; integers count.
  public var double: Double? {
    switch self {
    case .int(let value): Double(value)
    case .double(let value): value
    default: nil
    }
  }
}

extension JSON: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByFloatLiteral,
  ExpressibleByBooleanLiteral, ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral,
  ExpressibleByNilLiteral
{
  public init(stringLiteral value: String) { self = .string(value) }
  public init(integerLiteral value: Int) { self = .int(value) }
  public init(floatLiteral value: Double) { self = .double(value) }
  public init(booleanLiteral value: Bool) { self = .bool(value) }
  public init(arrayLiteral elements: JSON...) { self = .array(elements) }
  public init(dictionaryLiteral elements: (String, JSON)...) {
    var object = Object()
    for (key, value) in elements { object.updateValue(value, forKey: key) }
    self = .object(object)
  }
  public init(nilLiteral: ()) { self = .null }
}

// MARK: - Writing

extension JSON {
  /// How text is laid out.
  public enum Style: Sendable {
    /// `{"a":1,"b":[2,3]}`
    case compact
    /// `{"a": 1, "b": [2, 3]}`, as Python's `json.dumps` and Jinja's `tojson` write it.
    case spaced
    /// One member a line, each level indented by so many spaces.
    case indented(Int)
  }

  /// The value as JSON text. Text outside ASCII stays as it is; infinities and NaN, which JSON lacks, are
  /// written as Python writes them (`Infinity`, `NaN`).
  public func text(_ style: Style = .compact) -> String {
    var out = ""
    write(to: &out, style, depth: 0)
    return out
  }

  private func write(to out: inout String, _ style: Style, depth: Int) {
    switch self {
    case .null: out += "null"
    case .bool(let value): out += value ? "true" : "false"
    case .int(let value): out += String(value)
    case .double(let value): out += JSON.text(of: value)
    case .string(let value): JSON.write(value, to: &out)
    case .array(let values):
      JSON.writeMembers(values, "[", "]", to: &out, style, depth) { value, out in
        value.write(to: &out, style, depth: depth + 1)
      }
    case .object(let members):
      let colon = if case .compact = style { ":" } else { ": " }
      JSON.writeMembers(members, "{", "}", to: &out, style, depth) { member, out in
        JSON.write(member.key, to: &out)
        out += colon
        member.value.write(to: &out, style, depth: depth + 1)
      }
    }
  }

  private static func writeMembers<Members: Collection>(
    _ members: Members, _ open: String, _ close: String, to out: inout String, _ style: Style, _ depth: Int,
    _ body: (Members.Element, inout String) -> Void
  ) {
    out += open
    var first = true
    for member in members {
      if !first {
        if case .spaced = style { out += ", " } else { out += "," }
      }
      first = false
      if case .indented(let width) = style { newline(width * (depth + 1), to: &out) }
      body(member, &out)
    }
    if case .indented(let width) = style, !first { newline(width * depth, to: &out) }
    out += close
  }

  private static func newline(_ spaces: Int, to out: inout String) {
    out += "\n"
    out += String(repeating: " ", count: spaces)
  }

  /// Writes `string` in quotes, escaping what RFC 8259 section 7 demands.
  ///
  /// - Parameter asciiOnly: escape everything that is not printable ASCII too.
  public static func write(_ string: String, asciiOnly: Bool = false, to out: inout String) {
    out += "\""
    for scalar in string.unicodeScalars {
      switch scalar {
      case "\"": out += "\\\""
      case "\\": out += "\\\\"
      case "\n": out += "\\n"
      case "\r": out += "\\r"
      case "\t": out += "\\t"
      case "\u{8}": out += "\\b"
      case "\u{c}": out += "\\f"
      case _ where scalar < " " || asciiOnly && scalar > "~":
        for unit in scalar.utf16 {
          let hex = String(unit, radix: 16)
          out += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
        }
      default: out.unicodeScalars.append(scalar)
      }
    }
    out += "\""
  }

  private static func text(of value: Double) -> String {
    if value.isNaN { return "NaN" }
    if value.isInfinite { return value < 0 ? "-Infinity" : "Infinity" }
    return value.description
  }
}
