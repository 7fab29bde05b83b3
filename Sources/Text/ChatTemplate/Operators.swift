import Foundation

/// Python's operators.
extension Jinja.Value {
  func holds(_ comparison: Jinja.Comparison, _ other: Value) throws(Failure) -> Bool {
    switch comparison {
    case .equal: return try equals(other)
    case .notEqual: return try !equals(other)
    case .isIn: return try other.contains(self)
    case .isNotIn: return try !other.contains(self)
    case .less: return try compare(other, "<").less
    case .lessOrEqual:
      let (less, equal) = try compare(other, "<=")
      return less || equal
    case .greater: return try other.compare(self, ">").less
    case .greaterOrEqual:
      let (less, equal) = try other.compare(self, ">=")
      return less || equal
    }
  }

  func asNumber(_ sign: String) throws(Failure) -> Value {
    if case .undefined(let missing) = self { throw Failure(missing.message) }
    if let int = asInt { return .int(int) }
    guard case .double = self else { throw Failure("bad operand type for unary \(sign): '\(typeName)'") }
    return self
  }

  func negated() throws(Failure) -> Value {
    switch try asNumber("-") {
    case .int(let value):
      let (result, overflow) = Int(0).subtractingReportingOverflow(value)
      return .int(try Self.checked(result, overflow))
    case .double(let value): return .double(-value)
    default: preconditionFailure("asNumber gives a number")
    }
  }

  func arithmetic(_ operation: Jinja.Arithmetic, _ other: Value) throws(Failure) -> Value {
    for case .undefined(let missing) in [self, other] { throw Failure(missing.message) }
    if let a = asInt, let b = other.asInt { return try Self.compute(operation, a, b) }
    if let a = asDouble, let b = other.asDouble { return .double(try Self.compute(operation, a, b)) }
    switch (operation, self, other) {
    case (.add, .string(let a), .string(let b)):
      try Jinja.Limits.check(text: a.utf8.count + b.utf8.count)
      return .string(a + b)
    case (.add, .list(let a), .list(let b)): return .list(a.items + b.items)
    case (.add, .tuple(let a), .tuple(let b)): return .tuple(a.items + b.items)
    case (.modulo, .string(let format), _): return .string(try Jinja.PercentFormat.format(format, other))
    case (.multiply, _, _):
      if let count = other.asInt, let repeated = try repeating(count) { return repeated }
      if let count = asInt, let repeated = try other.repeating(count) { return repeated }
    default: break
    }
    throw Failure(
      "unsupported operand type(s) for \(operation.rawValue): '\(typeName)' and '\(other.typeName)'")
  }

  /// `count` copies of a string or a sequence after one another.
  private func repeating(_ count: Int) throws(Failure) -> Value? {
    func repeated(_ items: [Value]) throws(Failure) -> [Value] {
      try Jinja.Limits.check(text: max(1, items.count) * 16, times: count)
      return Array(repeatElement(items, count: max(0, count)).joined())
    }
    switch self {
    case .string(let text):
      try Jinja.Limits.check(text: text.utf8.count, times: count)
      return .string(String(repeating: text, count: max(0, count)))
    case .list(let list): return .list(try repeated(list.items))
    case .tuple(let list): return .tuple(try repeated(list.items))
    default: return nil
    }
  }

  private static func checked(_ value: Int, _ overflow: Bool) throws(Failure) -> Int {
    if overflow { throw Failure("an integer of more than 64 bits") }
    return value
  }

  private static func compute(
    _ operation: Jinja.Arithmetic, _ a: Int, _ b: Int
  ) throws(Failure) -> Value {
    let (result, overflow): (Int, Bool)
    switch operation {
    case .add: (result, overflow) = a.addingReportingOverflow(b)
    case .subtract: (result, overflow) = a.subtractingReportingOverflow(b)
    case .multiply: (result, overflow) = a.multipliedReportingOverflow(by: b)
    case .divide: return .double(try compute(.divide, Double(a), Double(b)))
    case .floorDivide, .modulo: return .int(try floorDivide(a, b, remainder: operation == .modulo))
    case .power:
      if b < 0 { return .double(try compute(.power, Double(a), Double(b))) }
      return .int(try power(a, b))
    }
    return .int(try checked(result, overflow))
  }

  /// Rounds towards minus infinity; the remainder has the sign of the divisor.
  private static func floorDivide(_ a: Int, _ b: Int, remainder: Bool) throws(Failure) -> Int {
    if b == 0 { throw Failure("division by zero") }
    let (quotient, overflow) = a.dividedReportingOverflow(by: b)
    if overflow { return remainder ? 0 : try checked(0, true) }
    let rest = a % b
    let towardsMinus = rest != 0 && (rest < 0) != (b < 0)
    if remainder { return towardsMinus ? rest + b : rest }
    return towardsMinus ? quotient - 1 : quotient
  }

  private static func power(_ base: Int, _ exponent: Int) throws(Failure) -> Int {
    if base == 0 || base == 1 { return exponent == 0 ? 1 : base }
    if base == -1 { return exponent % 2 == 0 ? 1 : -1 }
    var result = 1
    for _ in 0..<exponent {
      // Any other base overflows within 64 rounds.
      let (next, overflow) = result.multipliedReportingOverflow(by: base)
      result = try checked(next, overflow)
    }
    return result
  }

  private static func compute(
    _ operation: Jinja.Arithmetic, _ a: Double, _ b: Double
  ) throws(Failure) -> Double {
    if b == 0, [.divide, .floorDivide, .modulo].contains(operation) { throw Failure("division by zero") }
    switch operation {
    case .add: return a + b
    case .subtract: return a - b
    case .multiply: return a * b
    case .divide: return a / b
    case .floorDivide: return (a / b).rounded(.down)
    case .modulo:
      let rest = a.truncatingRemainder(dividingBy: b)
      return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest
    case .power:
      let result = pow(a, b)
      if a.isFinite, b.isFinite, !result.isFinite { throw Failure("the power is out of range") }
      return result
    }
  }
}
