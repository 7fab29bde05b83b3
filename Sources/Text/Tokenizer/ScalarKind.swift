/// What split patterns ask of a character: its Unicode general category, as coarsely as they need it.
enum ScalarKind: UInt8, Sendable {
  /// `\p{Lu}`, `\p{Lt}`
  case upper
  /// `\p{Ll}`
  case lower
  /// `\p{Lm}`, `\p{Lo}`
  case uncased
  /// `\p{M}`
  case mark
  /// `\p{N}`
  case number
  /// Carriage return and line feed.
  case newline
  /// The rest of `\s` (Unicode's White_Space).
  case space
  case other

  var isLetter: Bool { rawValue <= ScalarKind.uncased.rawValue }
  var isWhitespace: Bool { self == .space || self == .newline }

  private static let ascii: [ScalarKind] = (0..<0x80).map { compute($0) }

  @inline(__always)
  static func of(_ scalar: UInt32) -> ScalarKind { scalar < 0x80 ? ascii[Int(scalar)] : compute(scalar) }

  private static func compute(_ value: UInt32) -> ScalarKind {
    guard let scalar = Unicode.Scalar(value) else { return .other }
    switch value {
    case 0x0A, 0x0D: return .newline
    case 0x09, 0x0B, 0x0C, 0x85: return .space
    default: break
    }
    switch scalar.properties.generalCategory {
    case .uppercaseLetter, .titlecaseLetter: return .upper
    case .lowercaseLetter: return .lower
    case .modifierLetter, .otherLetter: return .uncased
    case .nonspacingMark, .spacingMark, .enclosingMark: return .mark
    case .decimalNumber, .letterNumber, .otherNumber: return .number
    case .spaceSeparator, .lineSeparator, .paragraphSeparator: return .space
    default: return .other
    }
  }
}
