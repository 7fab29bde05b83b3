import Foundation

extension Jinja {
  /// `int`, `float`, `abs` and `round`.
  enum NumberFilter {
    static func apply(
      _ filter: TextFilter, _ value: Value, _ arguments: CallArguments
    ) throws(Failure) -> Value {
      if case .undefined(let missing) = value { throw Failure(missing.message) }
      switch filter {
      case .int:
        let bound = try arguments.bound(to: ["default", "base"], in: "int")
        return integer(value, base: try bound.int(1, else: 10)) ?? bound[0] ?? .int(0)
      case .float:
        let bound = try arguments.bound(to: ["default"], in: "float")
        return real(value).map { .double($0) } ?? bound[0] ?? .double(0)
      case .abs:
        _ = try arguments.bound(to: [], in: "abs")
        if case .double(let number) = value { return .double(abs(number)) }
        guard let number = value.asInt else {
          throw Failure("bad operand type for abs(): '\(value.typeName)'")
        }
        return number < 0 ? try Value.int(number).negated() : .int(number)
      default: return try round(value, arguments)
      }
    }

    private static func integer(_ value: Value, base: Int) -> Value? {
      if let int = value.asInt { return .int(int) }
      if case .string(let text) = value, let int = parse(text, base: base) { return .int(int) }
      guard let number = real(value) else { return nil }
      return Int(exactly: number.rounded(.towardZero)).map { .int($0) }
    }

    private static func parse(_ text: String, base: Int) -> Int? {
      var digits = text.stripped().replacingOccurrences(of: "_", with: "").lowercased()
      let negative = digits.hasPrefix("-")
      if negative || digits.hasPrefix("+") { digits.removeFirst() }
      let prefixes = [2: "0b", 8: "0o", 16: "0x"]
      if let prefix = prefixes[base], digits.hasPrefix(prefix) { digits.removeFirst(2) }
      guard (2...36).contains(base), digits.first != "+", digits.first != "-" else { return nil }
      return Int((negative ? "-" : "") + digits, radix: base)
    }

    private static func real(_ value: Value) -> Double? {
      if let number = value.asDouble { return number }
      guard case .string(let text) = value else { return nil }
      let plain = text.stripped().replacingOccurrences(of: "_", with: "").lowercased()
      // Swift would read hexadecimal floats too.
      return plain.contains("x") ? nil : Double(plain)
    }

    private static func round(_ value: Value, _ arguments: CallArguments) throws(Failure) -> Value {
      let bound = try arguments.bound(to: ["precision", "method"], in: "round")
      let precision = try bound.int(0, else: 0)
      guard let number = value.asDouble else {
        throw Failure("round expects a number, not \(value.typeName)")
      }
      guard abs(precision) <= 300 else { throw Failure("round: the precision must be within ±300") }
      let scale = pow(10, Double(precision))
      switch try bound.optionalString(1) ?? "common" {
      case "ceil": return .double((number * scale).rounded(.up) / scale)
      case "floor": return .double((number * scale).rounded(.down) / scale)
      case "common":
        if let int = value.asInt, precision >= 0 { return .int(int) }
        return .double(nearest(number, precision))
      default: throw Failure("round: the method must be common, ceil or floor")
      }
    }

    /// Halves go to the even neighbour, and 2.675 is below its half: the decimal digits of the exact value
    /// decide, not the product with a power of ten.
    private static func nearest(_ number: Double, _ precision: Int) -> Double {
      if precision < 0 {
        let unit = pow(10, Double(-precision))
        return (number / unit).rounded(.toNearestOrEven) * unit
      }
      return number.isFinite ? Double(String(format: "%.\(precision)f", number)) ?? number : number
    }
  }
}
