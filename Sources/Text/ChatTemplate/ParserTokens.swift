/// Looking at tokens and taking them.
extension Jinja.Parser {
  var span: Jinja.Span { tokens[at].span }

  /// From `start` to the token before the current one.
  func through(_ start: Jinja.Span) -> Jinja.Span {
    Jinja.Span(start: start.start, end: max(start.end, tokens[max(0, at - 1)].span.end), line: start.line)
  }

  /// From the current token to the end of its tag.
  var restOfTag: Jinja.Span {
    let last = tokens[at...].firstIndex { $0.kind == .closeBlock || $0.kind == .end } ?? at
    return Jinja.Span(
      start: span.start, end: max(span.end, tokens[max(at, last - 1)].span.end), line: span.line)
  }

  func isSymbol(_ symbol: String) -> Bool { tokens[at].kind == .symbol(symbol) }

  mutating func takeSymbol(_ symbol: String) -> Bool {
    if isSymbol(symbol) { at += 1 } else { return false }
    return true
  }

  mutating func takeName(_ name: String) -> Bool {
    if tokens[at].kind == .name(name) { at += 1 } else { return false }
    return true
  }

  mutating func expectSymbol(_ symbol: String) throws(Jinja.Failure) {
    if !takeSymbol(symbol) { throw unexpected("'\(symbol)'") }
  }

  mutating func expectName() throws(Jinja.Failure) -> String {
    guard case .name(let name) = tokens[at].kind else { throw unexpected("a name") }
    at += 1
    return name
  }

  mutating func expectClose(_ kind: Jinja.Token.Kind) throws(Jinja.Failure) {
    guard tokens[at].kind == kind else {
      throw unexpected(kind == .closeBlock ? "the end of the statement" : "the end of the expression")
    }
    at += 1
  }

  func unexpected(_ expected: String) -> Jinja.Failure {
    let found =
      switch tokens[at].kind {
      case .end: "the end of the template"
      case .closeBlock: "'%}'"
      case .closeOutput: "'}}'"
      default: "'\(Jinja.string(source[span.start..<span.end]))'"
      }
    return Jinja.Failure("expected \(expected), found \(found)", at: span)
  }

  mutating func enter() throws(Jinja.Failure) {
    depth += 1
    if depth > Self.maximumDepth {
      throw Jinja.Failure("nested deeper than \(Self.maximumDepth) levels", at: span)
    }
  }

  mutating func leave() { depth -= 1 }

  /// Counts a link of a chain such as `a + b + c` or `a.b.c`: each nests the tree one deeper.
  func extend(_ chain: inout Int) throws(Jinja.Failure) {
    chain += 1
    if chain > Self.maximumChain {
      throw Jinja.Failure("an expression of more than \(Self.maximumChain) links", at: span)
    }
  }
}
