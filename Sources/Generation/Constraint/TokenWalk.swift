/// Walks the vocabulary's trie with a machine and marks the tokens whose bytes it takes.
struct TokenWalk {
  typealias Frame = PushdownMachine.Frame
  typealias Stacks = PushdownMachine.Stacks

  let machine: PushdownMachine
  let vocabulary: TokenVocabulary
  var stacks: Stacks
  /// A bit for each token that was taken.
  var mask: [UInt32]
  /// Nodes at which the lowest frame's rule may end. Its caller, which is not known here, goes on from there.
  private(set) var exits: [Int32] = []
  /// State after each byte on the way to the present node; of use while there is one frame only.
  private var path: [Int32] = []

  init(_ machine: PushdownMachine, _ vocabulary: TokenVocabulary, _ stacks: Stacks, _ mask: [UInt32]) {
    self.machine = machine
    self.vocabulary = vocabulary
    self.stacks = stacks
    self.mask = mask
  }

  /// Marks the tokens below `node`, which `frame` has reached.
  mutating func follow(_ node: Int32, _ frame: Frame) {
    let depth = Int(vocabulary.depths[Int(node)])
    setPath(depth, frame.state)
    var at = node + 1
    let end = vocabulary.ends[Int(node)]
    while at < end {
      let depth = Int(vocabulary.depths[Int(at)])
      let byte = vocabulary.bytes[Int(at)]
      let entry = machine.entry(path[depth - 1], byte)
      if entry & 1 == 1 {
        let before = stacks.frames.count
        var reached: [Frame] = []
        machine.step(Frame(state: path[depth - 1], caller: frame.caller), byte, &stacks, into: &reached)
        arrive(at, reached)
        stacks.removeAll(from: before)
        at = vocabulary.ends[Int(at)]
      } else if entry == 0 {
        at = vocabulary.ends[Int(at)]
      } else {
        let state = entry >> 1 - 1
        setPath(depth, state)
        mark(at)
        if frame.caller == Stacks.bottom, machine.isAccepting[Int(state)] { leave(at) }
        at += 1
      }
    }
  }

  /// Marks the tokens at and below `node`, which all of `frames` have reached.
  private mutating func arrive(_ node: Int32, _ frames: [Frame]) {
    if frames.isEmpty { return }
    mark(node)
    if frames.contains(where: { $0.caller == Stacks.bottom && machine.isAccepting[Int($0.state)] }) {
      leave(node)
    }
    if frames.count == 1 { return follow(node, frames[0]) }
    var child = node + 1
    let end = vocabulary.ends[Int(node)]
    while child < end {
      let before = stacks.frames.count
      var reached: [Frame] = []
      for frame in frames {
        machine.step(frame, vocabulary.bytes[Int(child)], &stacks, into: &reached)
      }
      arrive(child, reached)
      stacks.removeAll(from: before)
      child = vocabulary.ends[Int(child)]
    }
  }

  private mutating func setPath(_ depth: Int, _ state: Int32) {
    while path.count <= depth { path.append(0) }
    path[depth] = state
  }

  private mutating func mark(_ node: Int32) {
    for place in vocabulary.firstTokens[Int(node)]..<vocabulary.firstTokens[Int(node) + 1] {
      let id = vocabulary.ids[Int(place)]
      mask[Int(id >> 5)] |= 1 << UInt32(id & 31)
    }
  }

  private mutating func leave(_ node: Int32) {
    // Without continuations there is nothing for the caller to do.
    if vocabulary.ends[Int(node)] > node + 1 { exits.append(node) }
  }
}
