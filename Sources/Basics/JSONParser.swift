extension JSON {
  /// Parses one JSON value that fills `text`.
  ///
  /// - Throws: `SwiftletError` with code `.malformedFile` that names line and column.
  public init(parsing text: String) throws(SwiftletError) {
    try self.init(parsing: Array(text.utf8))
  }

  /// Parses one JSON value that fills `bytes` (UTF-8; a byte-order mark is skipped).
  ///
  /// A key that stands twice in one object is an error: a file header must not mean two things.
  public init(parsing bytes: [UInt8]) throws(SwiftletError) {
    var parser = JSONParser(bytes: bytes)
    self = try parser.parseDocument()
  }
}

/// A recursive-descent parser over UTF-8 bytes.
private struct JSONParser {
  let bytes: [UInt8]
  var at = 0
  var depth = 0

  static let maximumDepth = 256
  static let words: [(StaticString, JSON)] = [("true", true), ("false", false), ("null", nil)]
  /// Python's json module writes these; configuration files made with it hold them.
  static let pythonWords: [(StaticString, Double)] = [("NaN", .nan), ("Infinity", .infinity)]

  init(bytes: [UInt8]) { self.bytes = bytes }

  mutating func parseDocument() throws(SwiftletError) -> JSON {
    if bytes.starts(with: [0xEF, 0xBB, 0xBF]) { at = 3 }
    let value = try parseValue()
    skipSpace()
    if at < bytes.count { throw error("expected the end of the text") }
    return value
  }

  mutating func parseValue() throws(SwiftletError) -> JSON {
    skipSpace()
    guard at < bytes.count else { throw error("expected a value, found the end") }
    switch bytes[at] {
    case UInt8(ascii: "{"): return try nested { parser throws(SwiftletError) in try parser.parseObject() }
    case UInt8(ascii: "["): return try nested { parser throws(SwiftletError) in try parser.parseArray() }
    case UInt8(ascii: "\""): return .string(try parseString())
    case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return try parseNumber()
    default:
      for (word, value) in Self.words where take(word) { return value }
      for (word, value) in Self.pythonWords where take(word) { return .double(value) }
      throw error("expected a value")
    }
  }

  mutating func nested(
    _ body: (inout JSONParser) throws(SwiftletError) -> JSON
  ) throws(SwiftletError) -> JSON {
    depth += 1
    if depth > Self.maximumDepth { throw error("nested deeper than \(Self.maximumDepth) levels") }
    at += 1
    let value = try body(&self)
    depth -= 1
    return value
  }

  mutating func parseObject() throws(SwiftletError) -> JSON {
    var object = JSON.Object()
    if takeAfterSpace("}") { return .object(object) }
    while true {
      skipSpace()
      guard at < bytes.count, bytes[at] == UInt8(ascii: "\"") else { throw error("expected a key in quotes") }
      let key = try parseString()
      guard takeAfterSpace(":") else { throw error("expected ':' after the key \"\(key)\"") }
      let value = try parseValue()
      if object.updateValue(value, forKey: key) != nil { throw error("the key \"\(key)\" stands twice") }
      if takeAfterSpace("}") { return .object(object) }
      guard takeAfterSpace(",") else { throw error("expected ',' or '}'") }
    }
  }

  mutating func parseArray() throws(SwiftletError) -> JSON {
    var values: [JSON] = []
    if takeAfterSpace("]") { return .array(values) }
    while true {
      values.append(try parseValue())
      if takeAfterSpace("]") { return .array(values) }
      guard takeAfterSpace(",") else { throw error("expected ',' or ']'") }
    }
  }

  mutating func parseNumber() throws(SwiftletError) -> JSON {
    let start = at
    if take("-"), take("Infinity") { return .double(-.infinity) }
    var whole = true
    while at < bytes.count {
      switch bytes[at] {
      case UInt8(ascii: "0")...UInt8(ascii: "9"): break
      case UInt8(ascii: "."), UInt8(ascii: "e"), UInt8(ascii: "E"), UInt8(ascii: "+"), UInt8(ascii: "-"):
        whole = false
      default:
        return try number(start, whole)
      }
      at += 1
    }
    return try number(start, whole)
  }

  private func number(_ start: Int, _ whole: Bool) throws(SwiftletError) -> JSON {
    let text = String(decoding: bytes[start..<at], as: UTF8.self)
    if whole, let value = Int(text) { return .int(value) }
    guard let value = Double(text), text.last != "." else { throw error("'\(text)' is no number") }
    return .double(value)
  }

  mutating func parseString() throws(SwiftletError) -> String {
    at += 1
    let start = at
    while at < bytes.count, bytes[at] != UInt8(ascii: "\""), bytes[at] != UInt8(ascii: "\\"),
      bytes[at] >= 0x20
    {
      at += 1
    }
    guard at < bytes.count else { throw error("a string does not end") }
    if bytes[at] == UInt8(ascii: "\"") {
      defer { at += 1 }
      return try decode(bytes[start..<at])
    }
    return try parseEscapedString(start)
  }

  /// The rest of a string that holds at least one escape; `start` is the string's first byte.
  private mutating func parseEscapedString(_ start: Int) throws(SwiftletError) -> String {
    var out = Array(bytes[start..<at])
    while at < bytes.count {
      let byte = bytes[at]
      at += 1
      switch byte {
      case UInt8(ascii: "\""): return try decode(out[...])
      case UInt8(ascii: "\\"): try parseEscape(into: &out)
      case 0..<0x20:
        at -= 1
        throw error("a string holds a bare control character (write \\n or \\u00XX)")
      default: out.append(byte)
      }
    }
    throw error("a string does not end")
  }

  private mutating func parseEscape(into out: inout [UInt8]) throws(SwiftletError) {
    guard at < bytes.count else { throw error("a string does not end") }
    let byte = bytes[at]
    at += 1
    switch byte {
    case UInt8(ascii: "n"): out.append(0x0A)
    case UInt8(ascii: "t"): out.append(0x09)
    case UInt8(ascii: "r"): out.append(0x0D)
    case UInt8(ascii: "b"): out.append(0x08)
    case UInt8(ascii: "f"): out.append(0x0C)
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): out.append(byte)
    case UInt8(ascii: "u"):
      var units = [try parseHex()]
      if UTF16.isLeadSurrogate(units[0]), take("\\u") {
        units.append(try parseHex())
        guard UTF16.isTrailSurrogate(units[1]) else { throw error("a surrogate pair is broken") }
      }
      // A lone surrogate is no Unicode scalar; it becomes U+FFFD, as in JavaScript's TextEncoder.
      out.append(contentsOf: String(decoding: units, as: UTF16.self).utf8)
    default: throw error("'\\\(UnicodeScalar(byte))' is no escape")
    }
  }

  private mutating func parseHex() throws(SwiftletError) -> UInt16 {
    guard at + 4 <= bytes.count,
      bytes[at..<at + 4].allSatisfy({ UnicodeScalar($0).properties.isASCIIHexDigit }),
      let unit = UInt16(String(decoding: bytes[at..<at + 4], as: UTF8.self), radix: 16)
    else { throw error("expected four hexadecimal digits") }
    at += 4
    return unit
  }

  private func decode(_ slice: ArraySlice<UInt8>) throws(SwiftletError) -> String {
    guard let string = String(validating: slice, as: UTF8.self) else { throw error("a string is not UTF-8") }
    return string
  }

  private mutating func skipSpace() {
    while at < bytes.count, [0x20, 0x0A, 0x0D, 0x09].contains(bytes[at]) { at += 1 }
  }

  private mutating func take(_ word: StaticString) -> Bool {
    let count = word.utf8CodeUnitCount
    guard at + count <= bytes.count else { return false }
    let same = word.withUTF8Buffer { $0.elementsEqual(bytes[at..<at + count]) }
    if same { at += count }
    return same
  }

  private mutating func takeAfterSpace(_ word: StaticString) -> Bool {
    skipSpace()
    return take(word)
  }

  private func error(_ what: String) -> SwiftletError {
    let before = bytes[..<min(at, bytes.count)]
    let line = before.count(where: { $0 == 0x0A }) + 1
    let column = before.count - (before.lastIndex(of: 0x0A).map { $0 + 1 } ?? 0) + 1
    return SwiftletError(.malformedFile, "JSON, line \(line), column \(column): \(what)")
  }
}
