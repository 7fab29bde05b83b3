extension Jinja.Lexer {
  // MARK: Numbers

  mutating func readNumber() throws(Jinja.Failure) {
    let start = at
    func digits(_ from: Int, _ isDigit: (Unicode.Scalar) -> Bool) -> Int {
      source[from...].firstIndex { !isDigit($0) && $0 != "_" } ?? source.count
    }
    func isDecimal(_ scalar: Unicode.Scalar) -> Bool { ("0"..."9").contains(scalar) }
    func isDecimal(at index: Int) -> Bool { index < source.count && isDecimal(source[index]) }
    let radixes: [Unicode.Scalar: Int] = ["x": 16, "X": 16, "o": 8, "O": 8, "b": 2, "B": 2]
    if source[at] == "0", at + 1 < source.count, let radix = radixes[source[at + 1]] {
      let end = digits(at + 2) { $0.properties.isASCIIHexDigit }
      return try emitInteger(start, end, Int(plain(start + 2, end), radix: radix))
    }
    var end = digits(at, isDecimal)
    var whole = true
    // `x.0.1` is two subscripts, not a fraction.
    let afterDot = at > 0 && source[at - 1] == "."
    if !afterDot, end < source.count, source[end] == ".", isDecimal(at: end + 1) {
      end = digits(end + 1, isDecimal)
      whole = false
    }
    if !afterDot, end < source.count, ["e", "E"].contains(source[end]) {
      let signed = end + 1 < source.count && ["+", "-"].contains(source[end + 1])
      let exponent = end + (signed ? 2 : 1)
      if isDecimal(at: exponent) {
        end = digits(exponent, isDecimal)
        whole = false
      }
    }
    if whole { return try emitInteger(start, end, Int(plain(start, end))) }
    emit(.double(Double(plain(start, end)) ?? .nan), from: start, to: end)
  }

  private func plain(_ start: Int, _ end: Int) -> String {
    Jinja.string(source[start..<end].filter { $0 != "_" })
  }

  private mutating func emitInteger(_ start: Int, _ end: Int, _ value: Int?) throws(Jinja.Failure) {
    guard let value else { throw failure("'\(plain(start, end))' is no integer of 64 bits", start) }
    emit(.int(value), from: start, to: end)
  }

  // MARK: Strings

  /// The text that a literal stands for, by Python's rules: an unknown escape keeps its backslash, and a
  /// backslash at a line's end joins the lines.
  func unescape(_ body: ArraySlice<Unicode.Scalar>) throws(Jinja.Failure) -> String {
    guard body.contains("\\") else { return Jinja.string(body) }
    var out = String.UnicodeScalarView()
    var index = body.startIndex
    while index < body.endIndex {
      let scalar = body[index]
      index += 1
      guard scalar == "\\", index < body.endIndex else {
        out.append(scalar)
        continue
      }
      let kind = body[index]
      index += 1
      switch kind {
      case "\n": break
      case "\\", "'", "\"": out.append(kind)
      case "n": out.append("\n")
      case "t": out.append("\t")
      case "r": out.append("\r")
      case "a": out.append("\u{7}")
      case "b": out.append("\u{8}")
      case "f": out.append("\u{c}")
      case "v": out.append("\u{b}")
      case "0"..."7": out.append(octal(body, &index))
      case "x": out.append(try hexadecimal(body, &index, digits: 2))
      case "u": out.append(contentsOf: try codeUnits(body, &index))
      case "U": out.append(try hexadecimal(body, &index, digits: 8))
      default:
        out.append("\\")
        out.append(kind)
      }
    }
    return String(out)
  }

  /// One to three octal digits; `index` stands behind the first.
  private func octal(_ body: ArraySlice<Unicode.Scalar>, _ index: inout Int) -> Unicode.Scalar {
    var value: UInt32 = body[index - 1].value - 48
    var count = 1
    while count < 3, index < body.endIndex, ("0"..."7").contains(body[index]) {
      value = value * 8 + body[index].value - 48
      index += 1
      count += 1
    }
    return Unicode.Scalar(value) ?? "\u{FFFD}"
  }

  private func hexadecimal(
    _ body: ArraySlice<Unicode.Scalar>, _ index: inout Int, digits: Int
  ) throws(Jinja.Failure) -> Unicode.Scalar {
    let value = try hexadecimalValue(body, &index, digits: digits)
    // A lone surrogate, which Python's strings can hold, is no Unicode scalar.
    return Unicode.Scalar(value) ?? "\u{FFFD}"
  }

  private func hexadecimalValue(
    _ body: ArraySlice<Unicode.Scalar>, _ index: inout Int, digits: Int
  ) throws(Jinja.Failure) -> UInt32 {
    let text = body[index...].prefix(digits)
    guard text.count == digits, text.allSatisfy({ $0.properties.isASCIIHexDigit }),
      let value = UInt32(Jinja.string(text), radix: 16), value < 0x110000
    else { throw failure("expected \(digits) hexadecimal digits after '\\'", body.startIndex - 1) }
    index += digits
    return value
  }

  /// `\uXXXX` and those that follow it: code units of UTF-16. Lone surrogates become U+FFFD.
  private func codeUnits(
    _ body: ArraySlice<Unicode.Scalar>, _ index: inout Int
  ) throws(Jinja.Failure) -> String.UnicodeScalarView {
    var units = [UInt16(try hexadecimalValue(body, &index, digits: 4))]
    while body[index...].starts(with: ["\\", "u"]) {
      index += 2
      units.append(UInt16(try hexadecimalValue(body, &index, digits: 4)))
    }
    return String(decoding: units, as: UTF16.self).unicodeScalars
  }
}
