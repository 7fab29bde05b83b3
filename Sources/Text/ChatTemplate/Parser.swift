extension Jinja {
  /// Recursive descent over the tokens. This file holds the statements; expressions are in
  /// `ExpressionParser.swift`.
  struct Parser {
    let source: [Unicode.Scalar]
    let tokens: [Token]
    var at = 0
    var depth = 0
    var loopDepth = 0
    var marksGeneration = false
    /// The opening tags of the blocks around this place.
    private var openBlocks: [Span] = []
    /// The implicit variables (`varargs`, `kwargs`, `caller`) that the macros around this place mention.
    var implicitNames: [Set<String>] = []

    /// How deep expressions and blocks may nest.
    static let maximumDepth = 64
    /// How many operators, subscripts or filters may follow one another.
    static let maximumChain = 150

    static func parse(_ text: String) throws(Failure) -> Program {
      var lexer = Lexer(text)
      let tokens = try lexer.tokenize()
      var parser = Parser(source: lexer.source, tokens: tokens)
      let body = try parser.parseBody(until: [])
      return Program(source: lexer.source, body: body, marksGeneration: parser.marksGeneration)
    }

    private init(source: [Unicode.Scalar], tokens: [Token]) {
      self.source = source
      self.tokens = tokens
    }

    // MARK: Blocks

    /// Statements up to a block whose name is in `ends`; that name is the current token afterwards.
    mutating func parseBody(until ends: [String]) throws(Failure) -> [Statement] {
      try enter()
      var body: [Statement] = []
      while true {
        let token = tokens[at]
        switch token.kind {
        case .end:
          if ends.isEmpty { return body }
          throw Failure(
            "the block is not closed: expected '\(ends.joined(separator: "' or '"))'", at: openBlocks.last)
        case .text(let text):
          at += 1
          body.append(Statement(kind: .text(text), span: token.span))
        case .openOutput:
          at += 1
          let value = try parseTuple()
          body.append(Statement(kind: .output(value), span: value.span))
          try expectClose(.closeOutput)
        default:
          at += 1
          if case .name(let name) = tokens[at].kind, ends.contains(name) {
            leave()
            return body
          }
          body.append(try parseStatement())
          try expectClose(.closeBlock)
        }
      }
    }

    /// The rest of the opening tag, a body, and the name that ends it.
    private mutating func parseBlock(until end: String) throws(Failure) -> [Statement] {
      try expectClose(.closeBlock)
      let body = try parseBody(until: [end])
      at += 1
      return body
    }

    private mutating func parseStatement() throws(Failure) -> Statement {
      let start = span
      openBlocks.append(restOfTag)
      defer { openBlocks.removeLast() }
      guard case .name(let keyword) = tokens[at].kind else { throw unexpected("a statement") }
      at += 1
      let kind: Statement.Kind
      switch keyword {
      case "if": kind = try parseIf()
      case "for": kind = try parseFor()
      case "set": kind = try parseSet()
      case "macro": kind = .macro(try parseMacro())
      case "call": kind = try parseCall()
      case "filter":
        let filters = try parseFilters(of: nil, start: start, pipeConsumed: true)
        kind = .filter(filters, try parseBlock(until: "endfilter"))
      case "with": kind = try parseWith()
      case "generation":
        marksGeneration = true
        kind = .generation(
          try outsideLoops { parser throws(Failure) in
            try parser.parseBlock(until: "endgeneration")
          })
      case "break", "continue":
        if loopDepth == 0 { throw Failure("'\(keyword)' outside a loop", at: start) }
        kind = keyword == "break" ? .leaveLoop : .nextIteration
      case "print":
        var values = [try parseExpression()]
        while takeSymbol(",") { values.append(try parseExpression()) }
        kind = .output(Expression(kind: .concatenation(values), span: through(start)))
      case "import", "from", "include", "extends", "block":
        throw Failure(
          "'\(keyword)' needs templates in several files; a chat template is one file", at: start,
          code: .unsupported)
      default: throw Failure("unknown statement '\(keyword)'", at: start)
      }
      return Statement(kind: kind, span: through(start))
    }

    /// Parses a body that runs as a function of its own, so that `break` does not reach the loop around it.
    private mutating func outsideLoops<Result>(
      _ body: (inout Parser) throws(Failure) -> Result
    ) throws(Failure) -> Result {
      let outer = loopDepth
      loopDepth = 0
      let result = try body(&self)
      loopDepth = outer
      return result
    }

    // MARK: Statements

    private mutating func parseIf() throws(Failure) -> Statement.Kind {
      var branches: [(condition: Expression, body: [Statement])] = []
      while true {
        let condition = try parseTuple(conditional: false)
        try expectClose(.closeBlock)
        branches.append((condition, try parseBody(until: ["elif", "else", "endif"])))
        if takeName("elif") { continue }
        if takeName("else") { return .branch(branches, otherwise: try parseBlock(until: "endif")) }
        at += 1
        return .branch(branches, otherwise: [])
      }
    }

    private mutating func parseFor() throws(Failure) -> Statement.Kind {
      let target = try parseTarget()
      guard takeName("in") else { throw unexpected("'in'") }
      let items = try parseTuple(conditional: false, endingBefore: "recursive")
      let condition = takeName("if") ? try parseExpression() : nil
      let recursive = takeName("recursive")
      loopDepth += 1
      try expectClose(.closeBlock)
      let body = try parseBody(until: ["endfor", "else"])
      loopDepth -= 1
      var otherwise: [Statement] = []
      if takeName("else") { otherwise = try parseBlock(until: "endfor") } else { at += 1 }
      return .loop(
        ForLoop(
          target: target, items: items, condition: condition, recursive: recursive, body: body,
          otherwise: otherwise))
    }

    private mutating func parseSet() throws(Failure) -> Statement.Kind {
      let start = span
      let target = try parseTarget(allowingAttribute: true)
      if takeSymbol("=") { return .set(target, try parseTuple()) }
      let filters = isSymbol("|") ? try parseFilters(of: nil, start: start) : nil
      return .capture(target, filters: filters, try parseBlock(until: "endset"))
    }

    private mutating func parseMacro() throws(Failure) -> Macro {
      let name = try expectName()
      return try parseMacro(named: name, parameters: try parseParameters(), end: "endmacro")
    }

    private mutating func parseCall() throws(Failure) -> Statement.Kind {
      let parameters = isSymbol("(") ? try parseParameters() : []
      let call = try parseExpression()
      guard case .call = call.kind else { throw Failure("expected a call", at: call.span) }
      return .call(call, caller: try parseMacro(named: "caller", parameters: parameters, end: "endcall"))
    }

    private mutating func parseMacro(
      named name: String, parameters: [(name: String, standard: Expression?)], end: String
    ) throws(Failure) -> Macro {
      implicitNames.append([])
      let body = try outsideLoops { parser throws(Failure) in try parser.parseBlock(until: end) }
      let used = implicitNames.removeLast().subtracting(parameters.map(\.name))
      if let outer = implicitNames.indices.last { implicitNames[outer].formUnion(used) }
      return Macro(
        name: name, parameters: parameters, body: body, usesVarargs: used.contains("varargs"),
        usesKwargs: used.contains("kwargs"), usesCaller: used.contains("caller"))
    }

    private mutating func parseParameters() throws(Failure) -> [(name: String, standard: Expression?)] {
      try expectSymbol("(")
      var parameters: [(name: String, standard: Expression?)] = []
      while !takeSymbol(")") {
        if !parameters.isEmpty { try expectSymbol(",") }
        let start = span
        let name = try expectName()
        let standard = takeSymbol("=") ? try parseExpression() : nil
        if standard == nil, parameters.last?.standard != nil {
          throw Failure("the parameter '\(name)' without a default follows one with a default", at: start)
        }
        parameters.append((name, standard))
      }
      return parameters
    }

    private mutating func parseWith() throws(Failure) -> Statement.Kind {
      var assignments: [(Target, Expression)] = []
      while tokens[at].kind != .closeBlock {
        if !assignments.isEmpty { try expectSymbol(",") }
        let target = try parseTarget()
        try expectSymbol("=")
        assignments.append((target, try parseExpression()))
      }
      return .with(assignments, try parseBlock(until: "endwith"))
    }

    // MARK: Targets

    /// `a`, `a, b`, `(a, (b, c))`, and `namespace.attribute` where a `set` allows it.
    private mutating func parseTarget(allowingAttribute: Bool = false) throws(Failure) -> Target {
      var targets: [Target] = []
      var isTuple = false
      while true {
        targets.append(try parseSingleTarget(allowingAttribute))
        guard takeSymbol(",") else { break }
        isTuple = true
        if case .name("in") = tokens[at].kind { break }
        if isSymbol("=") || isSymbol(")") { break }
      }
      return isTuple ? .tuple(targets) : targets[0]
    }

    private mutating func parseSingleTarget(_ allowingAttribute: Bool) throws(Failure) -> Target {
      if takeSymbol("(") {
        try enter()
        let target = try parseTarget(allowingAttribute: allowingAttribute)
        leave()
        try expectSymbol(")")
        return target
      }
      let start = span
      let name = try expectName()
      if ["true", "false", "none", "True", "False", "None"].contains(name) {
        throw Failure("cannot assign to '\(name)'", at: start)
      }
      guard allowingAttribute, takeSymbol(".") else { return .name(name) }
      return .attribute(namespace: name, try expectName())
    }
  }
}
