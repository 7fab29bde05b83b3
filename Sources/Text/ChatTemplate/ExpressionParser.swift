/// Expressions, from the loosest binding to the tightest: `if`-`else`, `or`, `and`, `not`, comparisons,
/// `+ -`, `~`, `* / // %`, `**`, unary signs, and then subscripts, calls, filters and tests.
extension Jinja.Parser {
  typealias Expression = Jinja.Expression
  typealias Failure = Jinja.Failure

  /// An expression, or a tuple written without parentheses.
  mutating func parseTuple(
    conditional: Bool = true, endingBefore keyword: String? = nil, parenthesised: Bool = false
  ) throws(Failure) -> Expression {
    let start = span
    var items: [Expression] = []
    var isTuple = false
    while !endsTuple(keyword) {
      items.append(conditional ? try parseExpression() : try parseOr())
      guard takeSymbol(",") else { break }
      isTuple = true
    }
    if !isTuple, let only = items.first { return only }
    if items.isEmpty, !parenthesised { throw unexpected("an expression") }
    return Expression(kind: .tuple(items), span: through(start))
  }

  private func endsTuple(_ keyword: String?) -> Bool {
    switch tokens[at].kind {
    case .closeOutput, .closeBlock, .symbol(")"): true
    case .name(let name): name == keyword
    default: false
    }
  }

  mutating func parseExpression() throws(Failure) -> Expression {
    try enter()
    defer { leave() }
    let start = span
    var value = try parseOr()
    var chain = 0
    while takeName("if") {
      try extend(&chain)
      let condition = try parseOr()
      let otherwise = takeName("else") ? try parseExpression() : nil
      value = Expression(
        kind: .conditional(condition: condition, then: value, otherwise: otherwise), span: through(start))
    }
    return value
  }

  private mutating func parseOr() throws(Failure) -> Expression {
    let start = span
    var left = try parseAnd()
    var chain = 0
    while takeName("or") {
      try extend(&chain)
      left = Expression(kind: .or(left, try parseAnd()), span: through(start))
    }
    return left
  }

  private mutating func parseAnd() throws(Failure) -> Expression {
    let start = span
    var left = try parseNot()
    var chain = 0
    while takeName("and") {
      try extend(&chain)
      left = Expression(kind: .and(left, try parseNot()), span: through(start))
    }
    return left
  }

  private mutating func parseNot() throws(Failure) -> Expression {
    let start = span
    guard takeName("not") else { return try parseComparison() }
    try enter()
    defer { leave() }
    return Expression(kind: .not(try parseNot()), span: through(start))
  }

  private mutating func parseComparison() throws(Failure) -> Expression {
    let start = span
    let first = try parseArithmetic(0)
    var rest: [(Jinja.Comparison, Expression)] = []
    while let comparison = takeComparison() { rest.append((comparison, try parseArithmetic(0))) }
    return rest.isEmpty ? first : Expression(kind: .comparison(first, rest), span: through(start))
  }

  private mutating func takeComparison() -> Jinja.Comparison? {
    if takeName("in") { return .isIn }
    if tokens[at].kind == .name("not"), tokens[at + 1].kind == .name("in") {
      at += 2
      return .isNotIn
    }
    guard case .symbol(let symbol) = tokens[at].kind, let comparison = Jinja.Comparison(rawValue: symbol)
    else { return nil }
    at += 1
    return comparison
  }

  /// Left-associative operators by level; `~` stands between sums and products.
  private static let levels: [[Jinja.Arithmetic]] = [
    [.add, .subtract], [], [.multiply, .divide, .floorDivide, .modulo], [.power],
  ]
  private static let concatenationLevel = 1

  private mutating func parseArithmetic(_ level: Int) throws(Failure) -> Expression {
    if level == Self.levels.count { return try parseUnary() }
    if level == Self.concatenationLevel { return try parseConcatenation() }
    let start = span
    var left = try parseArithmetic(level + 1)
    var chain = 0
    while case .symbol(let symbol) = tokens[at].kind, let operation = Jinja.Arithmetic(rawValue: symbol),
      Self.levels[level].contains(operation)
    {
      at += 1
      try extend(&chain)
      let right = try parseArithmetic(level + 1)
      left = Expression(kind: .arithmetic(operation, left, right), span: through(start))
    }
    return left
  }

  private mutating func parseConcatenation() throws(Failure) -> Expression {
    let start = span
    var parts = [try parseArithmetic(Self.concatenationLevel + 1)]
    while takeSymbol("~") { parts.append(try parseArithmetic(Self.concatenationLevel + 1)) }
    return parts.count == 1 ? parts[0] : Expression(kind: .concatenation(parts), span: through(start))
  }

  private mutating func parseUnary(filtered: Bool = true) throws(Failure) -> Expression {
    let start = span
    var value: Expression
    if isSymbol("-") || isSymbol("+") {
      try enter()
      defer { leave() }
      let negative = takeSymbol("-")
      if !negative { at += 1 }
      let operand = try parseUnary(filtered: false)
      value = Expression(kind: negative ? .negative(operand) : .positive(operand), span: through(start))
    } else {
      value = try parsePrimary()
    }
    value = try parsePostfix(value, start: start)
    return filtered ? try parseFilters(of: value, start: start) : value
  }

  // MARK: Primaries

  mutating func parsePrimary() throws(Failure) -> Expression {
    let token = tokens[at]
    at += 1
    switch token.kind {
    case .name(let name): return Expression(kind: nameOrConstant(name), span: token.span)
    case .int(let value): return Expression(kind: .int(value), span: token.span)
    case .double(let value): return Expression(kind: .double(value), span: token.span)
    case .string(var value):
      while case .string(let more) = tokens[at].kind {
        value += more
        at += 1
      }
      return Expression(kind: .string(value), span: through(token.span))
    case .symbol("("):
      let inside = try parseTuple(parenthesised: true)
      try expectSymbol(")")
      return Expression(kind: inside.kind, span: through(token.span))
    case .symbol("["):
      let items = try parseList()
      return Expression(kind: .list(items), span: through(token.span))
    case .symbol("{"):
      let members = try parseDict()
      return Expression(kind: .dict(members), span: through(token.span))
    default:
      at -= 1
      throw unexpected("an expression")
    }
  }

  private mutating func nameOrConstant(_ name: String) -> Expression.Kind {
    switch name {
    case "true", "True": return .bool(true)
    case "false", "False": return .bool(false)
    case "none", "None": return .none
    case "varargs", "kwargs", "caller":
      if let innermost = implicitNames.indices.last { implicitNames[innermost].insert(name) }
      return .name(name)
    default: return .name(name)
    }
  }

  private mutating func parseList() throws(Failure) -> [Expression] {
    var items: [Expression] = []
    while !takeSymbol("]") {
      if !items.isEmpty {
        try expectSymbol(",")
        if takeSymbol("]") { break }
      }
      items.append(try parseExpression())
    }
    return items
  }

  private mutating func parseDict() throws(Failure) -> [(key: Expression, value: Expression)] {
    var members: [(key: Expression, value: Expression)] = []
    while !takeSymbol("}") {
      if !members.isEmpty {
        try expectSymbol(",")
        if takeSymbol("}") { break }
      }
      let key = try parseExpression()
      try expectSymbol(":")
      members.append((key, try parseExpression()))
    }
    return members
  }
}
