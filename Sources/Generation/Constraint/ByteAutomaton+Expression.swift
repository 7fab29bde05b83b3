import Basics

extension ByteAutomaton {
  /// More would take too long to make for a request.
  static let maximumStates = 50_000
  /// Members of all states together, for the same reason.
  fileprivate static let maximumMembers = 1_000_000

  static let tooLarge = SwiftletError(
    .unsupported, "The JSON schema needs an automaton of too many states",
    remedy: "Lower its largest maxLength, minLength, maxItems or minItems, or simplify its patterns.")

  /// The automaton of an expression (Thompson's construction, then Rabin and Scott's).
  ///
  /// - Throws: `.unsupported` when it would have more than `maximumStates` states.
  init(_ expression: ByteExpression, _ classes: ByteClasses) throws(SwiftletError) {
    var parts = Nondeterministic(classes: classes)
    let (start, end) = (parts.addState(), parts.addState())
    try parts.add(expression, start, end)
    try self.init(parts, from: start, to: end)
  }

  /// Its states are sets of the nondeterministic automaton's.
  private init(_ parts: Nondeterministic, from start: Int32, to end: Int32) throws(SwiftletError) {
    var closures = Closures(parts, end: end)
    var numbers: [[Int32]: Int32] = [:]
    var sets: [[Int32]] = []
    var members = 0
    func number(_ set: [Int32]) -> Int32 {
      if let known = numbers[set] { return known }
      members += set.count
      numbers[set] = Int32(sets.count)
      sets.append(set)
      return Int32(sets.count - 1)
    }
    var states: [State] = []
    _ = number(try closures.of([start]))
    while states.count < sets.count {
      if sets.count > Self.maximumStates || members > Self.maximumMembers { throw Self.tooLarge }
      let set = sets[states.count]
      let ways = parts.ways(from: set)
      var state = State(next: [], isAccepting: set.contains(end))
      var reached: [Int32] = []
      for targets in ways.targets { reached.append(targets.isEmpty ? -1 : number(try closures.of(targets))) }
      state.next = ways.columns.map { reached[$0] }
      for call in ways.calls { state.calls.append((call.rule, number(try closures.of(call.targets)))) }
      states.append(state)
    }
    self.init(states: states)
  }
}

/// Which states can be reached without a byte, leaving out those that only lead on: sets that differ in these alone
/// mean the same.
private struct Closures {
  private let parts: Nondeterministic
  private let end: Int32
  /// Looked at in all.
  private var members = 0
  private var known: [Int32: [Int32]] = [:]
  private var knownSets: [[Int32]: [Int32]] = [:]

  init(_ parts: Nondeterministic, end: Int32) {
    self.parts = parts
    self.end = end
  }

  mutating func of(_ states: [Int32]) throws(SwiftletError) -> [Int32] {
    if let set = knownSets[states] { return set }
    var all: Set<Int32> = []
    for state in states { all.formUnion(try of(state)) }
    let set = all.sorted()
    knownSets[states] = set
    return set
  }

  private mutating func of(_ state: Int32) throws(SwiftletError) -> [Int32] {
    if let set = known[state] { return set }
    var reached: Set<Int32> = [state]
    var open = [state]
    while let next = open.popLast() {
      for target in parts.silent[Int(next)] where reached.insert(target).inserted { open.append(target) }
    }
    let set = reached.filter { $0 == end || !parts.edges[Int($0)].isEmpty }.sorted()
    known[state] = set
    members += reached.count
    if members > ByteAutomaton.maximumMembers { throw ByteAutomaton.tooLarge }
    return set
  }
}

/// States between which an expression's parts are edges.
private struct Nondeterministic {
  enum Label {
    case classes([UInt8])
    case rule(Int)
  }

  let classes: ByteClasses
  private(set) var edges: [[(label: Label, to: Int32)]] = []
  /// Edges that take no byte.
  private(set) var silent: [[Int32]] = []
  private var columns: [ByteSet: [UInt8]] = [:]

  init(classes: ByteClasses) { self.classes = classes }

  mutating func addState() -> Int32 {
    edges.append([])
    silent.append([])
    return Int32(edges.count - 1)
  }

  /// Adds the ways from `start` to `end` that `expression` allows.
  mutating func add(
    _ expression: ByteExpression, _ start: Int32, _ end: Int32
  ) throws(SwiftletError) {
    // Each state of the deterministic automaton needs few of these.
    if edges.count > 8 * ByteAutomaton.maximumStates { throw ByteAutomaton.tooLarge }
    switch expression {
    case .byte(let set):
      let members = columns[set] ?? classes.classes(in: set)
      columns[set] = members
      edges[Int(start)].append((.classes(members), end))
    case .rule(let rule): edges[Int(start)].append((.rule(rule), end))
    case .sequence(let parts):
      var at = start
      for part in parts.dropLast() {
        let next = addState()
        try add(part, at, next)
        at = next
      }
      if let last = parts.last { try add(last, at, end) } else { silent[Int(start)].append(end) }
    case .choice(let options): for option in options { try add(option, start, end) }
    case .repeated(let body, let min, let max): try addRepeated(body, min, max, start, end)
    case .graph(let graph): try add(graph, start, end)
    case .both(let first, let second):
      add(try combined(first, second, accepts: true), start, end)
    case .except(let first, let second):
      add(try combined(first, second, accepts: false), start, end)
    }
  }

  /// Where bytes and rules lead from a set of states. Columns that lead to the same states share a place in `targets`.
  func ways(
    from set: [Int32]
  ) -> (columns: [Int], targets: [[Int32]], calls: [(rule: Int, targets: [Int32])]) {
    var byColumn = [[Int32]](repeating: [], count: classes.count)
    var calls: [(rule: Int, targets: [Int32])] = []
    for member in set {
      for edge in edges[Int(member)] {
        switch edge.label {
        case .classes(let columns): for column in columns { byColumn[Int(column)].append(edge.to) }
        case .rule(let rule):
          if let known = calls.firstIndex(where: { $0.rule == rule }) {
            calls[known].targets.append(edge.to)
          } else {
            calls.append((rule, [edge.to]))
          }
        }
      }
    }
    var targets: [[Int32]] = []
    let columns = byColumn.map { reached in
      if let known = targets.firstIndex(of: reached) { return known }
      targets.append(reached)
      return targets.count - 1
    }
    return (columns, targets, calls)
  }

  private mutating func addRepeated(
    _ body: ByteExpression, _ min: Int, _ max: Int?, _ start: Int32, _ end: Int32
  ) throws(SwiftletError) {
    var at = addState()
    silent[Int(start)].append(at)
    for count in 0..<(max ?? min) {
      if count >= min { silent[Int(at)].append(end) }
      let next = addState()
      try add(body, at, next)
      at = next
    }
    if max == nil {
      // A state of its own: nothing else may run round the loop.
      let loop = addState()
      silent[Int(at)].append(loop)
      try add(body, loop, loop)
      at = loop
    }
    silent[Int(at)].append(end)
  }

  private mutating func add(
    _ graph: ByteExpression.Graph, _ start: Int32, _ end: Int32
  ) throws(SwiftletError) {
    let states = (0..<graph.stateCount).map { _ in addState() }
    silent[Int(start)].append(states[0])
    for edge in graph.edges { try add(edge.label, states[edge.from], states[edge.to]) }
    for state in graph.accepting { silent[Int(states[state])].append(end) }
  }

  private func combined(
    _ first: ByteExpression, _ second: ByteExpression, accepts: Bool
  ) throws(SwiftletError) -> ByteAutomaton {
    let first = try ByteAutomaton(first, classes)
    let second = try ByteAutomaton(second, classes)
    return try ByteAutomaton(first, whereSecond: accepts, second)
  }

  private mutating func add(_ automaton: ByteAutomaton, _ start: Int32, _ end: Int32) {
    let states = automaton.states.map { _ in addState() }
    silent[Int(start)].append(states[0])
    for (state, from) in zip(automaton.states, states) {
      if state.isAccepting { silent[Int(from)].append(end) }
      var labels: [Int32: [UInt8]] = [:]
      for (column, target) in state.next.enumerated() where target >= 0 {
        labels[target, default: []].append(UInt8(column))
      }
      for (target, columns) in labels.sorted(by: { $0.key < $1.key }) {
        edges[Int(from)].append((.classes(columns), states[Int(target)]))
      }
    }
  }
}
