/// Finds the rows of a JSON file without parsing them.
enum RowScanner {
  /// Why rows cannot be told apart, and the byte where it shows.
  struct Problem: Error {
    let offset: Int
    let what: String
    var remedy: String?
  }

  /// The lines that hold more than white space, without their line breaks.
  static func lines(of bytes: Span<UInt8>, from start: Int) -> [Range<Int>] {
    var rows: [Range<Int>] = []
    var first = start
    var blank = true
    for at in start..<bytes.count {
      if bytes[at] == 0x0A {
        if !blank { rows.append(first..<at) }
        (first, blank) = (at + 1, true)
      } else if blank, !isSpace(bytes[at]) {
        blank = false
      }
    }
    if !blank { rows.append(first..<bytes.count) }
    return rows
  }

  /// The elements of a file's array: the file's own, or that of the member `data` of its object. A file that goes
  /// on after its first object is read as lines instead (`areLines`).
  static func elements(
    of bytes: Span<UInt8>, from start: Int
  ) throws(Problem) -> (rows: [Range<Int>], areLines: Bool) {
    var at = skipSpace(bytes, start)
    guard at < bytes.count else { return ([], false) }
    var rows: [Range<Int>]?
    switch bytes[at] {
    case UInt8(ascii: "["): (rows, at) = try array(bytes, at)
    case UInt8(ascii: "{"): (rows, at) = try dataMember(bytes, at)
    default: throw Problem(offset: at, what: "expected an array of rows")
    }
    let rest = skipSpace(bytes, at)
    if rest < bytes.count, bytes[rest] == UInt8(ascii: "{") { return (lines(of: bytes, from: start), true) }
    guard rest == bytes.count else { throw Problem(offset: rest, what: "expected the end of the file") }
    guard let rows else {
      throw Problem(
        offset: start, what: "an object without an array \"data\"",
        remedy: "Write the rows as one array, as {\"data\": [...]}, or one object a line.")
    }
    return (rows, false)
  }

  /// The elements of the array that opens at `start`, and the offset behind it.
  private static func array(_ bytes: Span<UInt8>, _ start: Int) throws(Problem) -> ([Range<Int>], Int) {
    var rows: [Range<Int>] = []
    var at = skipSpace(bytes, start + 1)
    if at < bytes.count, bytes[at] == UInt8(ascii: "]") { return (rows, at + 1) }
    while true {
      let first = at
      at = try skipValue(bytes, at)
      guard at < bytes.count else { throw Problem(offset: start, what: "this '[' is never closed") }
      rows.append(first..<at)
      if bytes[at] == UInt8(ascii: "]") { return (rows, at + 1) }
      guard bytes[at] == UInt8(ascii: ",") else {
        throw Problem(offset: at, what: "expected ',' or ']' after a row")
      }
      at = skipSpace(bytes, at + 1)
    }
  }

  /// The elements of `data` in the object that opens at `start` (nil when it has no such array), and the offset
  /// behind the object.
  private static func dataMember(
    _ bytes: Span<UInt8>, _ start: Int
  ) throws(Problem) -> ([Range<Int>]?, Int) {
    var rows: [Range<Int>]?
    var at = skipSpace(bytes, start + 1)
    if at < bytes.count, bytes[at] == UInt8(ascii: "}") { return (nil, at + 1) }
    while at < bytes.count {
      guard bytes[at] == UInt8(ascii: "\"") else {
        throw Problem(offset: at, what: "expected a key in quotes")
      }
      let key = at
      at = skipSpace(bytes, try skipString(bytes, at))
      let isData = spells(bytes, key, "\"data\"")
      guard at < bytes.count, bytes[at] == UInt8(ascii: ":") else {
        throw Problem(offset: key, what: "expected ':' after this key")
      }
      at = skipSpace(bytes, at + 1)
      if isData, at < bytes.count, bytes[at] == UInt8(ascii: "[") {
        (rows, at) = try array(bytes, at)
      } else {
        at = try skipValue(bytes, at)
      }
      at = skipSpace(bytes, at)
      guard at < bytes.count else { break }
      if bytes[at] == UInt8(ascii: "}") { return (rows, at + 1) }
      guard bytes[at] == UInt8(ascii: ",") else { throw Problem(offset: at, what: "expected ',' or '}'") }
      at = skipSpace(bytes, at + 1)
    }
    throw Problem(offset: start, what: "this '{' is never closed")
  }

  /// The offset of the ',' or bracket that ends the value at `start`. Only strings and nesting are followed; what
  /// the value holds is checked when the row is parsed.
  private static func skipValue(_ bytes: Span<UInt8>, _ start: Int) throws(Problem) -> Int {
    var depth = 0
    var at = start
    while at < bytes.count {
      switch bytes[at] {
      case UInt8(ascii: "\""):
        at = try skipString(bytes, at)
        continue
      case UInt8(ascii: "["), UInt8(ascii: "{"): depth += 1
      case UInt8(ascii: "]"), UInt8(ascii: "}"):
        if depth == 0 { return at }
        depth -= 1
      case UInt8(ascii: ","):
        if depth == 0 { return at }
      default: break
      }
      at += 1
    }
    if depth > 0 { throw Problem(offset: start, what: "a bracket of this row is never closed") }
    return at
  }

  /// The offset behind the string that opens at `start`.
  private static func skipString(_ bytes: Span<UInt8>, _ start: Int) throws(Problem) -> Int {
    var at = start + 1
    while at < bytes.count {
      if bytes[at] == UInt8(ascii: "\"") { return at + 1 }
      at += bytes[at] == UInt8(ascii: "\\") ? 2 : 1
    }
    throw Problem(offset: start, what: "a string opens here and is never closed")
  }

  private static func spells(_ bytes: Span<UInt8>, _ start: Int, _ word: StaticString) -> Bool {
    let count = word.utf8CodeUnitCount
    guard start + count <= bytes.count else { return false }
    return word.withUTF8Buffer { word in (0..<count).allSatisfy { bytes[start + $0] == word[$0] } }
  }

  private static func skipSpace(_ bytes: Span<UInt8>, _ start: Int) -> Int {
    var at = start
    while at < bytes.count, isSpace(bytes[at]) { at += 1 }
    return at
  }

  private static func isSpace(_ byte: UInt8) -> Bool {
    byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09
  }
}
