import Basics
import Foundation

/// What to look for in a text: by normalizers, to replace it, and by pre-tokenizers, to split there.
enum TextPattern: Sendable {
  /// Every character of a class is a match of its own.
  case characters(CharacterClass)
  case literal([UInt8])
  case words(WordPattern)
  case regex(NSRegularExpression)

  enum CharacterClass: Sendable {
    /// `\p{N}`
    case number
    /// White_Space
    case whitespace
    /// `\p{P}`, and the ASCII symbols.
    case punctuation

    func contains(_ scalar: Unicode.Scalar) -> Bool {
      switch self {
      case .number: return ScalarKind.of(scalar.value) == .number
      case .whitespace: return ScalarKind.of(scalar.value).isWhitespace
      case .punctuation:
        if scalar.isASCII {
          return ScalarKind.of(scalar.value) == .other && scalar.value > 0x20 && scalar.value < 0x7F
        }
        switch scalar.properties.generalCategory {
        case .connectorPunctuation, .dashPunctuation, .openPunctuation, .closePunctuation,
          .initialPunctuation, .finalPunctuation, .otherPunctuation:
          return true
        default: return false
        }
      }
    }
  }

  struct Part {
    var range: Range<Int>
    var isMatch: Bool
  }

  /// Whose idea of `\w` a regular expression has.
  enum Dialect {
    /// Patterns in tokenizer.json.
    case oniguruma
    /// Unicode Technical Standard 18, Annex C: ICU, and Rust's `regex`.
    case unicode
  }

  /// - Throws: `.unsupported` for a regular expression that ICU cannot read.
  init(regex: String, dialect: Dialect = .oniguruma) throws(SwiftletError) {
    if let known = WordPattern(regex: regex) {
      self = .words(known)
      return
    }
    let pattern = dialect == .oniguruma ? Self.icuPattern(regex) : regex
    do { self = .regex(try NSRegularExpression(pattern: pattern)) } catch {
      throw SwiftletError(.unsupported, "tokenizer: the regular expression '\(regex)' cannot be read")
    }
  }

  /// Spells out Oniguruma's `\w`: it holds no zero-width joiners, but the superscripts and fractions of Latin-1.
  private static func icuPattern(_ regex: String) -> String {
    let word = #"\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\u00B2\u00B3\u00B9\u00BC-\u00BE"#
    var pattern = ""
    var rest = regex[...]
    while let escape = rest.firstIndex(of: "\\") {
      pattern += rest[..<escape]
      switch rest[escape...].prefix(2) {
      case #"\w"#: pattern += "[\(word)]"
      case #"\W"#: pattern += "[^\(word)]"
      case let other: pattern += other
      }
      rest = rest[escape...].dropFirst(2)
    }
    return pattern + rest
  }

  /// `bytes[range]` cut into matches and what lies between them; parts are never empty.
  func parts(of bytes: [UInt8], _ range: Range<Int>) -> [Part] {
    var parts: [Part] = []
    var at = range.lowerBound
    func add(_ match: Range<Int>) {
      if match.lowerBound > at { parts.append(Part(range: at..<match.lowerBound, isMatch: false)) }
      if !match.isEmpty { parts.append(Part(range: match, isMatch: true)) }
      at = match.upperBound
    }
    switch self {
    case .characters(let characters):
      var place = range.lowerBound
      while place < range.upperBound {
        let (value, length) = decodeScalar(bytes, place)
        if let scalar = Unicode.Scalar(value), characters.contains(scalar) { add(place..<place + length) }
        place += length
      }
    case .literal(let literal):
      for match in Self.occurrences(of: literal, in: bytes, range) { add(match) }
    case .words(let pattern):
      var pieces: [Range<Int>] = []
      pattern.split(bytes, range, into: &pieces)
      return pieces.map { Part(range: $0, isMatch: true) }
    case .regex(let regex):
      for match in Self.matches(of: regex, in: bytes, range) { add(match) }
    }
    if at < range.upperBound { parts.append(Part(range: at..<range.upperBound, isMatch: false)) }
    return parts
  }

  private static func occurrences(
    of literal: [UInt8], in bytes: [UInt8], _ range: Range<Int>
  ) -> [Range<Int>] {
    guard let first = literal.first else { return [] }
    var found: [Range<Int>] = []
    var at = range.lowerBound
    while at + literal.count <= range.upperBound {
      if bytes[at] == first, bytes[at..<at + literal.count].elementsEqual(literal) {
        found.append(at..<at + literal.count)
        at += literal.count
      } else {
        at += 1
      }
    }
    return found
  }

  private static func matches(
    of regex: NSRegularExpression, in bytes: [UInt8], _ range: Range<Int>
  ) -> [Range<Int>] {
    let text = String(decoding: bytes[range], as: UTF8.self)
    // Foundation counts in UTF-16; matches ascend, so one walk turns all their bounds into UTF-8.
    var utf16 = 0
    var utf8 = range.lowerBound
    func advance(to target: Int) -> Int {
      while utf16 < target {
        let length = scalarLength(bytes[utf8])
        utf8 += length
        utf16 += length == 4 ? 2 : 1
      }
      return utf8
    }
    return regex.matches(in: text, range: NSRange(location: 0, length: text.utf16.count)).map { match in
      let start = advance(to: match.range.location)
      return start..<advance(to: match.range.location + match.range.length)
    }
  }
}
