/// Which byte strings may stand in a place: regular expressions, and calls of rules where JSON nests.
indirect enum ByteExpression: Sendable {
  /// One byte of the set.
  case byte(ByteSet)
  /// One after the other; of none, the empty string.
  case sequence([ByteExpression])
  /// Any of them; of none, nothing at all.
  case choice([ByteExpression])
  /// So many times; without a maximum any number from the minimum on.
  case repeated(ByteExpression, min: Int, max: Int?)
  /// What the rule of this number allows.
  case rule(Int)
  /// The labels along a path through the graph.
  case graph(Graph)
  /// What both allow. Neither may call a rule.
  case both(ByteExpression, ByteExpression)
  /// What the first allows and the second does not. Neither may call a rule.
  case except(ByteExpression, ByteExpression)

  /// Shares what comes after a branch, which expressions alone would repeat. Paths begin at state 0.
  struct Graph: Sendable {
    var edges: [(from: Int, label: ByteExpression, to: Int)] = []
    var accepting: [Int] = []
    var stateCount: Int {
      1 + max(edges.reduce(0) { max($0, $1.from, $1.to) }, accepting.max() ?? 0)
    }
  }

  static let nothing = choice([])
  static let empty = sequence([])
  static let digit = byte(.digits)

  static func range(_ bytes: ClosedRange<UInt8>) -> ByteExpression { .byte(ByteSet(bytes)) }

  static func literal(_ text: String) -> ByteExpression {
    .sequence(text.utf8.map { .byte(ByteSet(CollectionOfOne($0))) })
  }

  static func optional(_ expression: ByteExpression) -> ByteExpression { .choice([expression, .empty]) }
}

extension ByteExpression {
  /// Every set of bytes in the expression.
  func collectSets(into sets: inout Set<ByteSet>) {
    switch self {
    case .byte(let set): sets.insert(set)
    case .sequence(let parts), .choice(let parts):
      for part in parts { part.collectSets(into: &sets) }
    case .repeated(let body, _, _): body.collectSets(into: &sets)
    case .rule: break
    case .graph(let graph):
      for edge in graph.edges { edge.label.collectSets(into: &sets) }
    case .both(let first, let second), .except(let first, let second):
      first.collectSets(into: &sets)
      second.collectSets(into: &sets)
    }
  }
}

/// Rules that call each other; a text is what rule 0 allows. No rule allows the empty string.
struct Grammar: Sendable {
  private(set) var rules: [ByteExpression] = []

  /// Makes room for a rule, so that what it holds can call it.
  mutating func reserve() -> Int {
    rules.append(.nothing)
    return rules.count - 1
  }

  mutating func define(_ rule: Int, as expression: ByteExpression) { rules[rule] = expression }
}
