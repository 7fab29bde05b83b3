import Basics
import Synchronization

/// What an answer may look like: JSON that a schema allows.
///
/// Compiled once for a schema and a tokenizer, and shared by the requests that use it. The schema becomes an automaton
/// over bytes, with a stack for what is nested; `State` says which tokens it takes next. What an answer adds to the
/// schema's own text is whitespace: a space or a new line with indentation between members, as models like to write.
///
/// Keys that the schema does not name can come twice in one object: the automaton does not remember them.
public final class OutputConstraint: Sendable {
  let machine: PushdownMachine
  let vocabulary: TokenVocabulary
  /// By state, what tokens do in it without regard to what called its rule.
  private let known = Mutex<[Int32: Opening]>([:])

  /// - Throws: `.invalidConfiguration` for what is no schema, `.unsupported` for a keyword that cannot be obeyed; both
  ///   name the keyword and its place.
  public convenience init(jsonSchema: JSON, vocabulary: TokenVocabulary) throws(SwiftletError) {
    var compiler = SchemaCompiler(jsonSchema)
    self.init(machine: try PushdownMachine(try compiler.grammar()), vocabulary: vocabulary)
  }

  init(machine: PushdownMachine, vocabulary: TokenVocabulary) {
    self.machine = machine
    self.vocabulary = vocabulary
  }

  /// Any object: what a request for `json_object` means.
  public static func anyObject(vocabulary: TokenVocabulary) throws(SwiftletError) -> OutputConstraint {
    try OutputConstraint(jsonSchema: ["type": "object"], vocabulary: vocabulary)
  }

  /// The state before the answer's first token.
  public func start() -> State { State(constraint: self, frames: [PushdownMachine.start]) }

  // MARK: - Masks

  /// What tokens do in a state, up to the end of its rule.
  struct Opening {
    let mask: [UInt32]
    /// Where tokens leave the rule, to be followed in the caller.
    let exits: [Int32]
  }

  /// A mask of 150,000 tokens is 19 KB. States beyond these (those of long strings with a maximum, say) are looked at
  /// again each time.
  private static let knownLimit = 2_000

  private func opening(_ state: Int32) -> Opening {
    if let opening = known.withLock({ $0[state] }) { return opening }
    let none = [UInt32](repeating: 0, count: vocabulary.maskWords)
    var walk = TokenWalk(machine, vocabulary, PushdownMachine.Stacks(), none)
    walk.follow(0, PushdownMachine.Frame(state: state, caller: PushdownMachine.Stacks.bottom))
    let opening = Opening(mask: walk.mask, exits: walk.exits)
    known.withLock { if $0.count < Self.knownLimit { $0[state] = opening } }
    return opening
  }

  /// Adds the tokens that `frame` takes, of all those in the walk's stacks.
  fileprivate func allow(_ frame: PushdownMachine.Frame, _ walk: inout TokenWalk) {
    var frame = frame
    while true {
      let opening = opening(frame.state)
      for word in opening.mask.indices { walk.mask[word] |= opening.mask[word] }
      guard frame.caller != PushdownMachine.Stacks.bottom else { return }
      let caller = walk.stacks[frame.caller]
      for node in opening.exits { walk.follow(node, caller) }
      // Where the rule may end here and now, the caller's tokens are allowed too.
      guard machine.isAccepting[Int(frame.state)] else { return }
      frame = caller
    }
  }
}

extension OutputConstraint {
  /// How far an answer has come. A value: copy it to try tokens out.
  public struct State: Sendable {
    private let constraint: OutputConstraint
    /// The tops of the stacks, and what lies below.
    private(set) var frames: [PushdownMachine.Frame]
    private(set) var stacks = PushdownMachine.Stacks()
    private static let maximumFrames = 64

    init(constraint: OutputConstraint, frames: [PushdownMachine.Frame]) {
      self.constraint = constraint
      self.frames = frames
    }

    /// Takes the next token.
    ///
    /// - Precondition: the token was allowed. Tokens that end the answer are the caller's and do not come here.
    public mutating func advance(_ token: Int32) {
      let bytes = constraint.vocabulary.tokens[Int(token)]
      precondition(!bytes.isEmpty, "token \(token) stands for no text")
      for byte in bytes {
        var reached: [PushdownMachine.Frame] = []
        for frame in frames { constraint.machine.step(frame, byte, &stacks, into: &reached) }
        frames = reached
      }
      precondition(!frames.isEmpty, "token \(token) was not allowed")
      // Each stack leads to an end by itself. Schemas with like alternatives inside each other make ever more.
      if frames.count > Self.maximumFrames { frames.removeLast(frames.count - Self.maximumFrames) }
      // Frames that no stack holds any longer.
      let deepest = frames.reduce(PushdownMachine.Stacks.bottom) { max($0, $1.caller) }
      stacks.removeAll(from: Int(deepest) + 1)
    }

    /// Which tokens may come next: bit i of word w is token 32 w + i. Never of none unless `isComplete`, as long as
    /// the vocabulary has a token for each byte.
    public func allowed() -> [UInt32] {
      let none = [UInt32](repeating: 0, count: constraint.vocabulary.maskWords)
      var walk = TokenWalk(constraint.machine, constraint.vocabulary, stacks, none)
      for frame in frames { constraint.allow(frame, &walk) }
      return walk.mask
    }

    /// Whether the answer may end here: the tokens that end it are allowed exactly then, by the caller.
    public var isComplete: Bool { frames.contains { constraint.machine.isComplete($0, stacks) } }
  }
}
