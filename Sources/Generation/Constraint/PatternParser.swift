import Basics

/// Regular expressions of JSON Schema (ECMA-262's with the flag u) as expressions over the bytes of a JSON string.
///
/// Known are literals, `.`, classes, `\d \w \s` and their opposites, escapes, groups, alternatives and repetition; `^`
/// and `$` around the whole pattern or around its alternatives. Look-around, back-references, word boundaries and
/// Unicode properties are refused.
struct PatternParser {
  private let pattern: [Unicode.Scalar]
  private let place: String
  private var at = 0
  private var depth = 0

  /// The strings that hold a match of `pattern`.
  ///
  /// - Parameter place: where in the schema the pattern stands, for errors.
  static func parse(_ pattern: String, place: String) throws(SwiftletError) -> ByteExpression {
    var parser = PatternParser(pattern: Array(pattern.unicodeScalars), place: place)
    let expression = try parser.parseAlternatives()
    if parser.at < parser.pattern.count { throw parser.error("has a ')' too many") }
    return expression
  }

  private init(pattern: [Unicode.Scalar], place: String) {
    self.pattern = pattern
    self.place = place
  }

  private static let anything = ByteExpression.repeated(ScalarSet.all.inString, min: 0, max: nil)

  // MARK: Structure

  private mutating func parseAlternatives() throws(SwiftletError) -> ByteExpression {
    var options = [try parseAlternative()]
    while take("|") { options.append(try parseAlternative()) }
    return .choice(options)
  }

  private mutating func parseAlternative() throws(SwiftletError) -> ByteExpression {
    let isOutermost = depth == 0
    var parts: [ByteExpression] = []
    if isOutermost, !take("^") { parts.append(Self.anything) }
    while let next = peek, next != "|", next != ")" {
      if isOutermost, next == "$" {
        at += 1
        guard peek == nil || peek == "|" else { throw error("has '$' before its end") }
        return .sequence(parts)
      }
      parts.append(try parseRepetition(of: try parseAtom()))
    }
    if isOutermost { parts.append(Self.anything) }
    return .sequence(parts)
  }

  private mutating func parseRepetition(
    of atom: ByteExpression
  ) throws(SwiftletError) -> ByteExpression {
    let bounds: (min: Int, max: Int?)
    if take("*") {
      bounds = (0, nil)
    } else if take("+") {
      bounds = (1, nil)
    } else if take("?") {
      bounds = (0, 1)
    } else if peek == "{" {
      bounds = try parseBounds()
    } else {
      return atom
    }
    // Greedy or not, the strings are the same.
    _ = take("?")
    if let next = peek, "*+?{".unicodeScalars.contains(next) { throw error("repeats a repetition") }
    return .repeated(atom, min: bounds.min, max: bounds.max)
  }

  private mutating func parseBounds() throws(SwiftletError) -> (min: Int, max: Int?) {
    at += 1
    guard let min = takeNumber() else { throw error("has a '{' that is no repetition") }
    var max: Int? = min
    if take(",") { max = takeNumber() }
    guard take("}"), max ?? min >= min else { throw error("has a '{' that is no repetition") }
    return (min, max)
  }

  private mutating func parseAtom() throws(SwiftletError) -> ByteExpression {
    let next = pattern[at]
    at += 1
    switch next {
    case "(": return try parseGroup()
    case "[": return try parseClass().inString
    case ".": return ScalarSet("\n\r\u{2028}\u{2029}").inverted.inString
    case "\\": return try parseEscape().inString
    case "^", "$": throw error("has '\(next)' elsewhere than around the whole")
    case "*", "+", "?", "{", "}", "]": throw error("has a bare '\(next)'")
    default: return ScalarSet(String(next)).inString
    }
  }

  private mutating func parseGroup() throws(SwiftletError) -> ByteExpression {
    if take("?") {
      if take("<"), let next = peek, next != "=", next != "!" {
        while let next = peek, next != ">" { at += 1 }
        at += 1
      } else if !take(":") {
        throw error("looks around, which is not supported")
      }
    }
    depth += 1
    if depth > 100 { throw error("is nested too deeply") }
    let body = try parseAlternatives()
    depth -= 1
    guard take(")") else { throw error("has a '(' that is not closed") }
    return body
  }

  // MARK: Characters

  private mutating func parseClass() throws(SwiftletError) -> ScalarSet {
    let isInverted = take("^")
    var set = ScalarSet([])
    while !take("]") {
      let first = try parseClassMember()
      // A '-' before the end stands for itself, as does one beside a set like \d.
      if peek == "-", at + 1 < pattern.count, pattern[at + 1] != "]" {
        at += 1
        let last = try parseClassMember()
        guard let low = first.single, let high = last.single, low <= high else {
          throw error("has a class with a range out of order")
        }
        set = set.union(ScalarSet([low...high]))
      } else {
        set = set.union(first)
      }
    }
    return isInverted ? set.inverted : set
  }

  private mutating func parseClassMember() throws(SwiftletError) -> ScalarSet {
    guard let next = peek else { throw error("has a '[' that is not closed") }
    at += 1
    guard next == "\\" else { return ScalarSet(String(next)) }
    if take("b") { return ScalarSet("\u{8}") }
    if take("-") { return ScalarSet("-") }
    return try parseEscape()
  }

  /// What stands after a backslash.
  private mutating func parseEscape() throws(SwiftletError) -> ScalarSet {
    guard let next = peek else { throw error("ends with a backslash") }
    at += 1
    switch next {
    case "d": return Self.digits
    case "D": return Self.digits.inverted
    case "w": return Self.word
    case "W": return Self.word.inverted
    case "s": return Self.space
    case "S": return Self.space.inverted
    case "n": return ScalarSet("\n")
    case "r": return ScalarSet("\r")
    case "t": return ScalarSet("\t")
    case "f": return ScalarSet("\u{C}")
    case "v": return ScalarSet("\u{B}")
    case "0": return ScalarSet("\0")
    case "x": return try parseHex(2)
    case "u": return take("{") ? try parseHex(nil) : try parseHex(4)
    case _ where next.properties.isASCIIHexDigit || next.properties.isAlphabetic:
      throw error("has \\\(next), which is not supported")
    default: return ScalarSet(String(next))
    }
  }

  /// So many hexadecimal digits, or those up to a brace.
  private mutating func parseHex(_ count: Int?) throws(SwiftletError) -> ScalarSet {
    var text = ""
    while let next = peek, text.unicodeScalars.count < count ?? 6, next.properties.isASCIIHexDigit {
      text.unicodeScalars.append(next)
      at += 1
    }
    guard count.map({ $0 == text.count }) ?? take("}"), let value = UInt32(text, radix: 16),
      let scalar = UnicodeScalar(value)
    else { throw error("has an escape that is no character") }
    return ScalarSet(String(scalar))
  }

  private static let digits = ScalarSet([0x30...0x39])
  private static let word = ScalarSet([0x30...0x39, 0x41...0x5A, 0x5F...0x5F, 0x61...0x7A])
  /// ECMA-262's WhiteSpace and LineTerminator.
  private static let space = ScalarSet([
    0x09...0x0D, 0x20...0x20, 0xA0...0xA0, 0x1680...0x1680, 0x2000...0x200A, 0x2028...0x2029,
    0x202F...0x202F, 0x205F...0x205F, 0x3000...0x3000, 0xFEFF...0xFEFF,
  ])

  // MARK: Reading

  private var peek: Unicode.Scalar? { at < pattern.count ? pattern[at] : nil }

  private mutating func take(_ scalar: Unicode.Scalar) -> Bool {
    guard peek == scalar else { return false }
    at += 1
    return true
  }

  /// A number of at most six digits: more would be too large an automaton.
  private mutating func takeNumber() -> Int? {
    var value: Int?
    while let next = peek, let digit = next.properties.numericType == .decimal ? Int(String(next)) : nil,
      value ?? 0 < 100_000
    {
      value = (value ?? 0) * 10 + digit
      at += 1
    }
    return value
  }

  private func error(_ what: String) -> SwiftletError {
    var text = ""
    text.unicodeScalars.append(contentsOf: pattern)
    return SwiftletError(
      .unsupported, "JSON schema, \(place): the pattern '\(text)' \(what) (character \(at))")
  }
}

extension ScalarSet {
  /// The only member of a set of one.
  fileprivate var single: UInt32? {
    ranges.count == 1 && ranges[0].count == 1 ? ranges[0].lowerBound : nil
  }
}
