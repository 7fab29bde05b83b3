extension Jinja {
  /// A parsed template.
  struct Program: Sendable {
    /// With `\n` as the only line end; spans count in it.
    let source: [Unicode.Scalar]
    let body: [Statement]
    /// Whether a `{% generation %}` block stands anywhere.
    let marksGeneration: Bool
  }

  struct Statement: Sendable {
    let kind: Kind
    let span: Span

    indirect enum Kind: Sendable {
      case text(String)
      case output(Expression)
      case branch([(condition: Expression, body: [Statement])], otherwise: [Statement])
      case loop(ForLoop)
      case set(Target, Expression)
      /// `{% set x | filter %}...{% endset %}`
      case capture(Target, filters: Expression?, [Statement])
      case macro(Macro)
      /// `{% call(parameters) f() %}...{% endcall %}`: `caller` is the block as a macro.
      case call(Expression, caller: Macro)
      case filter(Expression, [Statement])
      case with([(Target, Expression)], [Statement])
      case generation([Statement])
      case leaveLoop
      case nextIteration
    }
  }

  struct ForLoop: Sendable {
    let target: Target
    let items: Expression
    let condition: Expression?
    let recursive: Bool
    let body: [Statement]
    /// The `else` branch: run when no item was.
    let otherwise: [Statement]
  }

  struct Macro: Sendable {
    let name: String
    let parameters: [(name: String, standard: Expression?)]
    let body: [Statement]
    /// Which of the implicit variables the body mentions; only those are bound.
    let usesVarargs: Bool
    let usesKwargs: Bool
    let usesCaller: Bool
  }

  /// What an assignment or a loop writes to.
  indirect enum Target: Sendable {
    case name(String)
    case tuple([Target])
    case attribute(namespace: String, String)
  }

  struct Expression: Sendable {
    let kind: Kind
    let span: Span

    indirect enum Kind: Sendable {
      case none
      case bool(Bool)
      case int(Int)
      case double(Double)
      case string(String)
      case list([Expression])
      case tuple([Expression])
      case dict([(key: Expression, value: Expression)])
      case name(String)
      case attribute(Expression, String)
      case item(Expression, Expression)
      case slice(Expression, start: Expression?, stop: Expression?, step: Expression?)
      case call(Expression, Arguments)
      /// A nil operand is the text of the block that the filter is applied to.
      case filter(Expression?, String, Arguments)
      case test(Expression, String, Arguments)
      case not(Expression)
      case negative(Expression)
      case positive(Expression)
      case and(Expression, Expression)
      case or(Expression, Expression)
      case arithmetic(Arithmetic, Expression, Expression)
      /// `a ~ b ~ c`
      case concatenation([Expression])
      /// `a < b < c`: every neighbouring pair must hold.
      case comparison(Expression, [(Comparison, Expression)])
      case conditional(condition: Expression, then: Expression, otherwise: Expression?)
    }
  }

  struct Arguments: Sendable {
    var positional: [Expression] = []
    var named: [(name: String, value: Expression)] = []
    /// `*expression`
    var spread: Expression?
    /// `**expression`
    var spreadNamed: Expression?
  }

  enum Arithmetic: String, Sendable {
    case add = "+"
    case subtract = "-"
    case multiply = "*"
    case divide = "/"
    case floorDivide = "//"
    case modulo = "%"
    case power = "**"
  }

  enum Comparison: String, Sendable {
    case equal = "=="
    case notEqual = "!="
    case less = "<"
    case lessOrEqual = "<="
    case greater = ">"
    case greaterOrEqual = ">="
    case isIn = "in"
    case isNotIn = "not in"
  }
}
