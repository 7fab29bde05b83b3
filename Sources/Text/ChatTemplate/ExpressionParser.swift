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

  private mutating func parsePrimary() throws(Failure) -> Expression {
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

  // MARK: Subscripts, calls, filters, tests

  private mutating func parsePostfix(
    _ operand: Expression, start: Jinja.Span
  ) throws(Failure) -> Expression {
    var value = operand
    var chain = 0
    while true {
      try extend(&chain)
      if takeSymbol(".") {
        value = try parseAttribute(of: value, start: start)
      } else if takeSymbol("[") {
        value = try parseSubscript(of: value, start: start)
      } else if isSymbol("(") {
        let arguments = try parseArguments()
        value = Expression(kind: .call(value, arguments), span: through(start))
      } else {
        return value
      }
    }
  }

  private mutating func parseAttribute(
    of operand: Expression, start: Jinja.Span
  ) throws(Failure) -> Expression {
    let token = tokens[at]
    at += 1
    switch token.kind {
    case .name(let name): return Expression(kind: .attribute(operand, name), span: through(start))
    case .int(let index):
      let key = Expression(kind: .int(index), span: token.span)
      return Expression(kind: .item(operand, key), span: through(start))
    default:
      at -= 1
      throw unexpected("a name or a number after '.'")
    }
  }

  private mutating func parseSubscript(
    of operand: Expression, start: Jinja.Span
  ) throws(Failure) -> Expression {
    func part(_ parser: inout Self) throws(Failure) -> Expression? {
      parser.isSymbol(":") || parser.isSymbol("]") ? nil : try parser.parseExpression()
    }
    let first = try part(&self)
    if takeSymbol(":") {
      let stop = try part(&self)
      let step = takeSymbol(":") ? try part(&self) : nil
      try expectSymbol("]")
      return Expression(kind: .slice(operand, start: first, stop: stop, step: step), span: through(start))
    }
    guard let key = first else { throw unexpected("a subscript") }
    try expectSymbol("]")
    return Expression(kind: .item(operand, key), span: through(start))
  }

  mutating func parseArguments() throws(Failure) -> Jinja.Arguments {
    try expectSymbol("(")
    var arguments = Jinja.Arguments()
    while !takeSymbol(")") {
      if !arguments.isEmpty {
        try expectSymbol(",")
        if takeSymbol(")") { break }
      }
      let start = span
      if takeSymbol("*") {
        arguments.spread = try parseExpression()
      } else if takeSymbol("**") {
        arguments.spreadNamed = try parseExpression()
      } else if case .name(let name) = tokens[at].kind, tokens[at + 1].kind == .symbol("=") {
        at += 2
        arguments.named.append((name, try parseExpression()))
      } else {
        arguments.positional.append(try parseExpression())
        if !arguments.named.isEmpty || arguments.spread != nil || arguments.spreadNamed != nil {
          throw Failure("a positional argument follows a named one", at: through(start))
        }
      }
    }
    return arguments
  }

  /// The filters, tests and calls behind `operand`; `pipeConsumed` for a filter block, which has no first `|`.
  mutating func parseFilters(
    of operand: Expression?, start: Jinja.Span, pipeConsumed: Bool = false
  ) throws(Failure) -> Expression {
    var value = operand
    var first = pipeConsumed
    var chain = 0
    while true {
      try extend(&chain)
      if first || takeSymbol("|") {
        first = false
        let name = try expectName()
        let arguments = isSymbol("(") ? try parseArguments() : Jinja.Arguments()
        value = Expression(kind: .filter(value, name, arguments), span: through(start))
      } else if let tested = value, takeName("is") {
        value = try parseTest(of: tested, start: start)
      } else if let called = value, isSymbol("(") {
        let arguments = try parseArguments()
        value = Expression(kind: .call(called, arguments), span: through(start))
      } else if let value {
        return value
      } else {
        throw unexpected("a filter")
      }
    }
  }

  private mutating func parseTest(of operand: Expression, start: Jinja.Span) throws(Failure) -> Expression {
    let negated = takeName("not")
    let name = try expectName()
    var arguments = Jinja.Arguments()
    if isSymbol("(") {
      arguments = try parseArguments()
    } else if beginsTestArgument {
      let argumentStart = span
      arguments.positional = [try parsePostfix(try parsePrimary(), start: argumentStart)]
    }
    let test = Expression(kind: .test(operand, name, arguments), span: through(start))
    return negated ? Expression(kind: .not(test), span: through(start)) : test
  }

  /// `x is divisibleby 3`: a test takes one argument without parentheses.
  private var beginsTestArgument: Bool {
    switch tokens[at].kind {
    case .name(let name): !["else", "or", "and", "is", "if", "in", "not"].contains(name)
    case .string, .int, .double, .symbol("["), .symbol("{"): true
    default: false
    }
  }
}

extension Jinja.Arguments {
  var isEmpty: Bool { positional.isEmpty && named.isEmpty && spread == nil && spreadNamed == nil }
}
