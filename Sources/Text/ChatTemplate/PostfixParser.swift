/// What stands behind an operand: subscripts, calls, filters and tests.
extension Jinja.Parser {
  mutating func parsePostfix(
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
