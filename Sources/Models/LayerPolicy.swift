import Compute

/// What a layer leaves for its backward pass; what it drops is computed again there. In the order of what that costs.
public enum Checkpointing: String, Sendable, CaseIterable, Codable {
  /// Everything that backward reads.
  case keep
  /// All products; norms and activations are computed again: a third of the memory for a few percent of time.
  case elementwise
  /// All products but gate and up, the widest; they, norms and activations are computed again.
  case narrow
  /// Only the layer's input: the whole layer runs again.
  case full
  /// The same, and feed-forward runs in slices of rows, forward and backward: least memory while a layer runs. On a GPU
  /// each slice expands the layer's weights anew.
  case sliced
}

/// What becomes of a layer between its forward and its backward pass. No choice changes what is computed: on the CPU not a bit
/// of any result, on a GPU no more than the choice of kernels, which depends on where a matrix lies. Slices alone change the
/// order of sums: over rows, in the gradients of what is trained in feed-forward; every row's own results are the same.
public struct LayerPolicy: Hashable, Sendable {
  public var checkpointing: Checkpointing
  /// Whether what it leaves waits in the host's memory, copied beside the computation of other layers.
  public var isOffloaded: Bool

  public init(_ checkpointing: Checkpointing, isOffloaded: Bool = false) {
    self.checkpointing = checkpointing
    self.isOffloaded = isOffloaded
  }
}

extension LayerPolicy: CaseIterable {
  /// In the order of cost.
  public static var allCases: [LayerPolicy] {
    Checkpointing.allCases.flatMap { [LayerPolicy($0), LayerPolicy($0, isOffloaded: true)] }
  }
}

extension LayerPolicy: CustomStringConvertible {
  /// "narrow", "narrow offloaded"
  public var description: String { checkpointing.rawValue + (isOffloaded ? " offloaded" : "") }
}

extension [LayerPolicy] {
  /// How many layers have each policy, in the order of cost.
  public var counted: [(policy: LayerPolicy, count: Int)] {
    LayerPolicy.allCases.map { policy in (policy, count { $0 == policy }) }
  }

  /// "8 narrow, 20 narrow offloaded"
  public var summary: String {
    counted.filter { $0.count > 0 }.map { "\($0.count) \($0.policy)" }.joined(separator: ", ")
  }
}

/// What forward leaves of a layer.
enum LayerState {
  case saved(Block.Saved)
  case input(Tensor)

  func saved(again: (Tensor) -> Block.Saved) -> Block.Saved {
    switch self {
    case .saved(let saved): saved
    case .input(let x): again(x)
    }
  }

  func map(_ transform: (Tensor) -> Tensor) -> LayerState {
    switch self {
    case .saved(let saved): .saved(saved.map(transform))
    case .input(let x): .input(transform(x))
    }
  }

  var tensors: [Tensor] {
    var tensors: [Tensor] = []
    _ = map {
      tensors.append($0)
      return $0
    }
    return tensors
  }
}

extension Block {
  /// What is left of `saved` for the backward pass, and read there.
  func state(_ saved: Saved, _ checkpointing: Checkpointing, _ s: Step) -> LayerState {
    guard checkpointing != .full, checkpointing != .sliced else { return .input(saved.x) }
    var saved = saved.kept(checkpointing, s)
    if !qkv.isTrained { saved.n1 = nil }
    if !gateUp.isTrained { saved.feedForward?.n2 = nil }
    if !down.isTrained { saved.feedForward?.activated = nil }
    return .saved(saved)
  }
}

/// The layers' states from forward, which pushes them, to backward, which pops them.
///
/// At most two offloaded ones are on the device at once: on its way to the host is the last pushed until the next is,
/// and on its way back is the next to be popped. So a copy may take as long as the layers between two that are
/// offloaded.
struct LayerStack {
  private struct Entry {
    var state: LayerState
    var parked: Parked?
  }

  private let s: Step
  private var entries: [Entry] = []
  private var parking: Parked?
  private var recalled: Recalled?

  init(_ s: Step) { self.s = s }

  mutating func push(_ state: LayerState, isOffloaded: Bool) {
    if isOffloaded {
      finishPushing()
      parking = s.park(state.tensors)
    }
    entries.append(Entry(state: state, parked: isOffloaded ? parking : nil))
  }

  /// Waits for what is on its way to the host.
  mutating func finishPushing() {
    if let parking { s.finishParking(parking) }
    parking = nil
  }

  /// Has the first offloaded state that is needed come back.
  mutating func beginPopping() {
    let parked = entries.reversed().lazy.compactMap(\.parked).first
    recalled = parked.map { s.recall($0) }
  }

  mutating func pop() -> LayerState {
    let entry = entries.removeLast()
    guard entry.parked != nil, let recalled else { return entry.state }
    s.finishRecall(recalled)
    beginPopping()
    return entry.state.map { recalled($0) }
  }
}
