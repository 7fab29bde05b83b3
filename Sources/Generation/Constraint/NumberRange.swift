import Basics

/// Numbers between two bounds, written as decimals.
///
/// They have at most 15 digits, so that no two of them are the same double and none is greater than a bound only by a
/// reader's rounding. Integers have up to 18, and so fit 64 bits.
struct NumberRange {
  var minimum: Bound?
  var maximum: Bound?
  var isInteger: Bool
  /// Most digits after the point.
  var fractionLimit = 14

  struct Bound {
    var value: DecimalDigits
    var isExclusive: Bool
  }

  var expression: ByteExpression {
    var signs: [ByteExpression] = []
    let zero = DecimalDigits(isNegative: false, whole: [0], fraction: [])
    // Of the numbers from zero on, those between the bounds.
    if maximum.map({ !$0.value.isNegative }) ?? true {
      let low = minimum.flatMap { $0.value.isNegative ? nil : $0 }
      signs.append(magnitudes(from: low, to: maximum))
    }
    // And of those below, by their magnitudes.
    if minimum.map({ $0.value.isNegative }) ?? true {
      let low = maximum.flatMap { $0.value.isNegative ? $0 : nil }
      let magnitudes = magnitudes(from: low ?? Bound(value: zero, isExclusive: true), to: minimum)
      signs.append(.sequence([.literal("-"), magnitudes]))
    }
    let isBounded = minimum != nil || maximum != nil
    if !isInteger, !isBounded, fractionLimit == 14 { signs.append(Self.scientific) }
    return .choice(signs)
  }

  /// A number with an exponent, which has no bounds.
  private static let scientific = ByteExpression.sequence([
    .optional(.literal("-")), .range(UInt8(ascii: "1")...UInt8(ascii: "9")),
    .optional(.sequence([.literal("."), .repeated(.digit, min: 1, max: 14)])),
    .byte(ByteSet("eE")), .optional(.byte(ByteSet("+-"))), .repeated(.digit, min: 1, max: 2),
  ])

  private func magnitudes(from low: Bound?, to high: Bound?) -> ByteExpression {
    let digits = max(
      isInteger ? 18 : 15, low?.value.whole.count ?? 0, high?.value.whole.count ?? 0)
    var options: [ByteExpression] = []
    for length in 1...digits {
      if let low, length < low.value.whole.count { continue }
      if let high, length > high.value.whole.count { continue }
      let walk = DigitWalk(
        low: low.flatMap { $0.value.whole.count == length ? $0 : nil },
        high: high.flatMap { $0.value.whole.count == length ? $0 : nil }, length: length,
        fractionLimit: isInteger ? 0 : max(0, min(fractionLimit, 15 - length)))
      options.append(walk.whole(0, onLow: walk.low != nil, onHigh: walk.high != nil))
    }
    return .choice(options)
  }
}

/// Digits of numbers with `length` digits before the point. While all digits so far are a bound's, the next are held to
/// it.
private struct DigitWalk {
  let low: NumberRange.Bound?
  let high: NumberRange.Bound?
  let length: Int
  let fractionLimit: Int

  func whole(_ place: Int, onLow: Bool, onHigh: Bool) -> ByteExpression {
    if place == length {
      let rest = ByteExpression.sequence([.literal("."), fraction(0, onLow: onLow, onHigh: onHigh)])
      let options: [ByteExpression] = mayEnd(0, onLow, onHigh) ? [.empty] : []
      return .choice(fractionLimit > 0 ? options + [rest] : options)
    }
    if !onLow, !onHigh, place > 0 {
      let tail = ByteExpression.sequence([
        .literal("."), .repeated(.digit, min: 1, max: fractionLimit),
      ])
      return .sequence([
        .repeated(.digit, min: length - place, max: length - place),
        fractionLimit > 0 ? .optional(tail) : .empty,
      ])
    }
    let least: UInt8 = place == 0 && length > 1 ? 1 : 0
    return digit(
      from: onLow ? max(least, low?.value.whole[place] ?? 0) : least, onLow,
      to: onHigh ? high?.value.whole[place] ?? 9 : 9, onHigh
    ) { whole(place + 1, onLow: $0, onHigh: $1) }
  }

  private func fraction(_ place: Int, onLow: Bool, onHigh: Bool) -> ByteExpression {
    if !onLow, !onHigh { return .repeated(.digit, min: place == 0 ? 1 : 0, max: fractionLimit - place) }
    let end: [ByteExpression] = place > 0 && mayEnd(place, onLow, onHigh) ? [.empty] : []
    if place == fractionLimit { return .choice(end) }
    let next = digit(
      from: onLow ? low?.value.fraction(at: place) ?? 0 : 0, onLow,
      to: onHigh ? high?.value.fraction(at: place) ?? 9 : 9, onHigh
    ) { fraction(place + 1, onLow: $0, onHigh: $1) }
    return .choice(end + [next])
  }

  /// A digit of a range, and what follows: the first and the last may still be on the bounds.
  private func digit(
    from first: UInt8, _ onLow: Bool, to last: UInt8, _ onHigh: Bool,
    then rest: (_ onLow: Bool, _ onHigh: Bool) -> ByteExpression
  ) -> ByteExpression {
    if first > last { return .nothing }
    var options: [ByteExpression] = []
    var (inner, outer) = (Int(first), Int(last))
    func digits(_ range: ClosedRange<Int>) -> ByteExpression {
      .range(UInt8(ascii: "0") + UInt8(range.lowerBound)...UInt8(ascii: "0") + UInt8(range.upperBound))
    }
    if first == last { return .sequence([digits(inner...inner), rest(onLow, onHigh)]) }
    if onLow {
      options.append(.sequence([digits(inner...inner), rest(true, false)]))
      inner += 1
    }
    if onHigh {
      options.append(.sequence([digits(outer...outer), rest(false, true)]))
      outer -= 1
    }
    if inner <= outer { options.append(.sequence([digits(inner...outer), rest(false, false)])) }
    return .choice(options)
  }

  /// Whether a number with so many digits after the point lies between the bounds.
  private func mayEnd(_ place: Int, _ onLow: Bool, _ onHigh: Bool) -> Bool {
    if onLow, let low, place < low.value.fraction.count || low.isExclusive { return false }
    if onHigh, let high, place >= high.value.fraction.count, high.isExclusive { return false }
    return true
  }
}

/// A number by its decimal digits.
struct DecimalDigits: Equatable {
  var isNegative: Bool
  /// Without leading zeros; zero is [0].
  var whole: [UInt8]
  /// Without zeros at the end.
  var fraction: [UInt8]

  func fraction(at place: Int) -> UInt8 { place < fraction.count ? fraction[place] : 0 }

  var isZero: Bool { whole == [0] && fraction.isEmpty }
}

extension DecimalDigits {
  /// The shortest decimal that reads as `value`; nil when it has more than 40 digits on one side of the point.
  init?(_ value: JSON) {
    let text =
      switch value {
      case .int(let value): String(value)
      case .double(let value) where value.isFinite: value.description
      default: ""
      }
    // Digits, and where the point stands among them.
    let parts = text.lowercased().split(separator: "e")
    guard let mantissa = parts.first, let exponent = parts.count > 1 ? Int(parts[1]) : 0 else { return nil }
    let sides = mantissa.drop { $0 == "-" }.split(separator: ".")
    var digits = sides.joined().utf8.map { $0 - UInt8(ascii: "0") }
    var point = sides[0].utf8.count + exponent
    guard abs(point) <= 40 else { return nil }
    if point < 1 {
      digits = Array(repeating: 0, count: 1 - point) + digits
      point = 1
    }
    digits += Array(repeating: 0, count: max(0, point - digits.count))
    whole = Array(digits[..<point].drop { $0 == 0 })
    if whole.isEmpty { whole = [0] }
    fraction = Array(digits[point...])
    while fraction.last == 0 { fraction.removeLast() }
    isNegative = mantissa.hasPrefix("-")
    if isZero { isNegative = false }
  }

  static func < (a: DecimalDigits, b: DecimalDigits) -> Bool {
    if a.isNegative != b.isNegative { return a.isNegative }
    if a == b { return false }
    return a.isNegative != a.isSmaller(than: b)
  }

  private func isSmaller(than other: DecimalDigits) -> Bool {
    if whole.count != other.whole.count { return whole.count < other.whole.count }
    return (whole + fraction).lexicographicallyPrecedes(other.whole + other.fraction)
  }
}
