import Basics

/// A grammar's automata in one table. A text's state is a set of stacks of their states.
///
/// Entries: the state that a byte leads to, plus 1, times 2; odd when the byte may also enter a rule or leave one. Most
/// bytes of a JSON text do neither, and cost one look into the table.
struct PushdownMachine: Sendable {
  struct Call: Sendable {
    let start: Int32
    /// Where the caller goes on; nil when nothing is left for it to do, so that nothing need be remembered.
    let target: Int32?
    /// Whether the rule can begin with a byte, by class.
    let begins: [Bool]
  }

  let classes: ByteClasses
  private let table: [Int32]
  private let calls: [[Call]]
  let isAccepting: [Bool]

  var stateCount: Int { isAccepting.count }

  /// The state and where its rule was called from.
  struct Frame: Sendable, Equatable {
    var state: Int32
    /// Place of the calling frame in the stacks; `Stacks.bottom` for none.
    var caller: Int32
  }

  /// Frames that wait for a rule's end. Callers come before what they called.
  struct Stacks: Sendable {
    static let bottom: Int32 = -1
    private(set) var frames: [Frame] = []

    mutating func push(_ state: Int32, on caller: Int32) -> Int32 {
      frames.append(Frame(state: state, caller: caller))
      return Int32(frames.count - 1)
    }

    mutating func removeAll(from count: Int) { frames.removeLast(frames.count - count) }

    subscript(place: Int32) -> Frame { frames[Int(place)] }

    /// Whether two places hold the same frames all the way down.
    func areSame(_ a: Int32, _ b: Int32) -> Bool {
      var (a, b) = (a, b)
      while a != b {
        guard a != Self.bottom, b != Self.bottom, self[a].state == self[b].state else { return false }
        (a, b) = (self[a].caller, self[b].caller)
      }
      return true
    }
  }

  // MARK: - Steps

  static let start = Frame(state: 0, caller: Stacks.bottom)

  @inline(__always)
  func entry(_ state: Int32, _ byte: UInt8) -> Int32 {
    table[Int(state) * classes.count + Int(classes.ofByte[Int(byte)])]
  }

  /// Adds to `reached` the frames to which `byte` leads from `frame`.
  func step(_ frame: Frame, _ byte: UInt8, _ stacks: inout Stacks, into reached: inout [Frame]) {
    let entry = entry(frame.state, byte)
    if entry >> 1 > 0 {
      let next = Frame(state: entry >> 1 - 1, caller: frame.caller)
      let isKnown = reached.contains { $0.state == next.state && stacks.areSame($0.caller, next.caller) }
      if !isKnown { reached.append(next) }
    }
    guard entry & 1 == 1 else { return }
    let column = Int(classes.ofByte[Int(byte)])
    for call in calls[Int(frame.state)] where call.begins[column] {
      let caller = call.target.map { stacks.push($0, on: frame.caller) } ?? frame.caller
      step(Frame(state: call.start, caller: caller), byte, &stacks, into: &reached)
    }
    if isAccepting[Int(frame.state)], frame.caller != Stacks.bottom {
      step(stacks[frame.caller], byte, &stacks, into: &reached)
    }
  }

  /// Whether the text may end in `frame`.
  func isComplete(_ frame: Frame, _ stacks: Stacks) -> Bool {
    var frame = frame
    while isAccepting[Int(frame.state)] {
      if frame.caller == Stacks.bottom { return true }
      frame = stacks[frame.caller]
    }
    return false
  }
}

// MARK: - Compiling

extension PushdownMachine {
  /// - Throws: `.unsupported` for a grammar that is too large, allows no text at all, or has a rule that calls itself
  ///   before any byte.
  init(_ grammar: Grammar) throws(SwiftletError) {
    var sets: Set<ByteSet> = []
    for rule in grammar.rules { rule.collectSets(into: &sets) }
    let classes = ByteClasses(telling: sets)
    var automata: [ByteAutomaton] = []
    var count = 0
    for rule in grammar.rules {
      let automaton = try ByteAutomaton(rule, classes)
      count += automaton.states.count
      if count > ByteAutomaton.maximumStates { throw ByteAutomaton.tooLarge }
      automata.append(automaton)
    }
    guard Self.cutDeadEnds(&automata)[0] else {
      throw SwiftletError(.unsupported, "The JSON schema allows no value at all")
    }
    let begins = try Self.beginnings(automata, classes.count)
    self.init(automata, classes, begins)
  }

  private init(_ automata: [ByteAutomaton], _ classes: ByteClasses, _ begins: [[Bool]]) {
    var starts: [Int32] = []
    for automaton in automata {
      let count = starts.last.map { $0 + Int32(automata[starts.count - 1].states.count) }
      starts.append(count ?? 0)
      precondition(!automaton.states[0].isAccepting, "a rule allows the empty string")
    }
    var table: [Int32] = []
    var calls: [[Call]] = []
    for (automaton, start) in zip(automata, starts) {
      for state in automaton.states {
        let entered = state.calls.map { call in
          let target = automaton.states[Int(call.target)]
          let isDone = target.isAccepting && target.calls.isEmpty && target.next.allSatisfy { $0 < 0 }
          return Call(
            start: starts[call.rule], target: isDone ? nil : start + call.target, begins: begins[call.rule])
        }
        calls.append(entered)
        for (column, next) in state.next.enumerated() {
          let branches = state.isAccepting || entered.contains { $0.begins[column] }
          table.append((next < 0 ? 0 : next + start + 1) << 1 | (branches ? 1 : 0))
        }
      }
    }
    self.classes = classes
    self.table = table
    self.calls = calls
    isAccepting = automata.flatMap { $0.states.map(\.isAccepting) }
  }

  /// Takes out every way that cannot lead to a text's end, so that no state allows nothing. Returns which rules allow
  /// anything.
  private static func cutDeadEnds(_ automata: inout [ByteAutomaton]) -> [Bool] {
    var isProductive = [Bool](repeating: false, count: automata.count)
    var isChanging = true
    while isChanging {
      isChanging = false
      for index in automata.indices where !isProductive[index] {
        var trial = automata[index]
        isProductive[index] = trial.cutDeadEnds { isProductive[$0] }
        isChanging = isChanging || isProductive[index]
      }
    }
    for index in automata.indices { automata[index].cutDeadEnds { isProductive[$0] } }
    return isProductive
  }

  /// Which classes of bytes each rule can begin with.
  private static func beginnings(
    _ automata: [ByteAutomaton], _ classCount: Int
  ) throws(SwiftletError) -> [[Bool]] {
    var known = [[Bool]?](repeating: nil, count: automata.count)
    var isOpen = [Bool](repeating: false, count: automata.count)
    func find(_ rule: Int) throws(SwiftletError) -> [Bool] {
      if let begins = known[rule] { return begins }
      if isOpen[rule] {
        throw SwiftletError(.unsupported, "The JSON schema refers to itself as one of its own alternatives")
      }
      isOpen[rule] = true
      let start = automata[rule].states[0]
      var begins = start.next.map { $0 >= 0 }
      for call in start.calls {
        for (column, can) in try find(call.rule).enumerated() where can { begins[column] = true }
      }
      known[rule] = begins
      return begins
    }
    var all: [[Bool]] = []
    for rule in automata.indices { all.append(try find(rule)) }
    return all
  }
}
