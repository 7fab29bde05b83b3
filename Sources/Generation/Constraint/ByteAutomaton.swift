import Basics

/// A deterministic automaton for one rule: bytes and calls of rules lead from state to state. State 0 is the start.
struct ByteAutomaton: Sendable {
  struct State: Sendable {
    /// By class of bytes; -1 where no way leads on.
    var next: [Int32]
    /// Rules that may come here, and where each returns to.
    var calls: [(rule: Int, target: Int32)] = []
    var isAccepting = false
  }

  var states: [State] = []

  /// What `first` accepts and `second` accepts too (`true`) or does not (`false`).
  ///
  /// - Precondition: neither calls rules.
  init(
    _ first: ByteAutomaton, whereSecond accepts: Bool, _ second: ByteAutomaton
  ) throws(SwiftletError) {
    // -1 is the state of a text of which the second accepts no continuation.
    struct Pair: Hashable {
      let first: Int32
      let second: Int32
    }
    var numbers: [Pair: Int32] = [Pair(first: 0, second: 0): 0]
    var pairs = [Pair(first: 0, second: 0)]
    var at = 0
    while at < pairs.count {
      if pairs.count > Self.maximumStates { throw Self.tooLarge }
      let pair = pairs[at]
      at += 1
      let left = first.states[Int(pair.first)]
      let right = pair.second < 0 ? nil : second.states[Int(pair.second)]
      precondition(left.calls.isEmpty && right?.calls.isEmpty ?? true)
      var state = State(next: [])
      state.isAccepting = left.isAccepting && (right?.isAccepting ?? false) == accepts
      for (column, target) in left.next.enumerated() {
        let other = right?.next[column] ?? -1
        guard target >= 0, other >= 0 || !accepts else {
          state.next.append(-1)
          continue
        }
        let reached = Pair(first: target, second: other)
        if numbers[reached] == nil {
          numbers[reached] = Int32(pairs.count)
          pairs.append(reached)
        }
        state.next.append(numbers[reached] ?? -1)
      }
      states.append(state)
    }
    cutDeadEnds { _ in true }
  }

  init(states: [State]) { self.states = states }

  /// Takes out the ways from which no accepting state can be reached.
  ///
  /// - Parameter isProductive: whether a rule allows anything at all.
  /// - Returns: whether the start is left.
  @discardableResult
  mutating func cutDeadEnds(isProductive: (Int) -> Bool) -> Bool {
    var sources = [[Int32]](repeating: [], count: states.count)
    for (index, state) in states.enumerated() {
      for target in Set(state.next) where target >= 0 { sources[Int(target)].append(Int32(index)) }
      for call in state.calls where isProductive(call.rule) {
        sources[Int(call.target)].append(Int32(index))
      }
    }
    var lives = states.map(\.isAccepting)
    var open = states.indices.filter { states[$0].isAccepting }
    while let index = open.popLast() {
      for source in sources[index] where !lives[Int(source)] {
        lives[Int(source)] = true
        open.append(Int(source))
      }
    }
    for index in states.indices {
      for column in states[index].next.indices {
        let target = states[index].next[column]
        if target >= 0, !lives[Int(target)] { states[index].next[column] = -1 }
      }
      states[index].calls.removeAll { !lives[Int($0.target)] || !isProductive($0.rule) }
    }
    return lives[0]
  }
}
