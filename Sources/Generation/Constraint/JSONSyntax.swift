import Basics

/// The parts of JSON text (RFC 8259) as expressions.
enum JSONSyntax {
  /// Whitespace between members: none, a space, or a new line with indentation. Limited, since a model that may write
  /// spaces forever sometimes does.
  static let space = ByteExpression.optional(
    .choice([
      .literal(" "),
      .sequence([
        .literal("\n"),
        .choice([
          .repeated(.literal(" "), min: 0, max: 16), .repeated(.literal("\t"), min: 1, max: 4),
        ]),
      ]),
    ]))

  static let comma = ByteExpression.sequence([.literal(","), space])
  static let colon = ByteExpression.sequence([.literal(":"), .optional(.literal(" "))])

  static func bracketed(_ open: String, _ body: ByteExpression, _ close: String) -> ByteExpression {
    .sequence([.literal(open), space, body, space, .literal(close)])
  }

  // MARK: Strings

  static func quoted(_ body: ByteExpression) -> ByteExpression {
    .sequence([.literal("\""), body, .literal("\"")])
  }

  /// A character that stands for itself.
  static let plainCharacter = ScalarSet.all.subtracting(.escaped).utf8

  /// A character spelled with a backslash. Halves of surrogate pairs come in pairs.
  static let escapedCharacter: ByteExpression = {
    let hex = ByteExpression.byte(.hexDigits)
    func unit(_ first: String, _ second: ByteSet) -> ByteExpression {
      .sequence([.byte(ByteSet(first)), .byte(second), hex, hex])
    }
    return .sequence([
      .literal("\\"),
      .choice([
        .byte(ByteSet("\"\\/bfnrt")),
        .sequence([
          .literal("u"),
          .choice([
            unit("0123456789abcefABCEF", .hexDigits),
            unit("dD", ByteSet("01234567")),
            .sequence([
              unit("dD", ByteSet("89abAB")), .literal("\\u"), unit("dD", ByteSet("cdefCDEF")),
            ]),
          ]),
        ]),
      ]),
    ])
  }()

  /// Any string, spelled in any way.
  static let string = quoted(
    .repeated(.choice([plainCharacter, escapedCharacter]), min: 0, max: nil))

  /// Any key that is none of `names`. Keys and names are spelled in one way only, or a key could be a name in disguise.
  static func key(excluding names: [String]) -> ByteExpression {
    let any = quoted(.repeated(ScalarSet.all.inString, min: 0, max: nil))
    return names.isEmpty ? any : .except(any, .choice(names.map { literal(.string($0)) }))
  }

  // MARK: Values

  /// `value` as it stands.
  static func literal(_ value: JSON) -> ByteExpression {
    switch value {
    case .array(let elements):
      return bracketed("[", joined(elements.map(literal)), "]")
    case .object(let members):
      return bracketed(
        "{", joined(members.map { .sequence([literal(.string($0.key)), colon, literal($0.value)]) }), "}")
    default: return .literal(value.text())
    }
  }

  private static func joined(_ parts: [ByteExpression]) -> ByteExpression {
    .sequence(parts.enumerated().flatMap { $0.offset == 0 ? [$0.element] : [comma, $0.element] })
  }
}
