import Basics
import Compute
import Models
import Text

/// A loss as a pure function: from the log-probability of every row's label, 0 where a row has none, to the loss and
/// its gradient by each of them. Labels and where sequences begin stand in the batch.
public typealias TokenLoss = (_ logp: [Double], _ batch: PackedBatch) -> (loss: Double, gradient: [Double])

/// A micro-batch's forward and backward pass, planned once and run in memory that is taken once: what `Trainer` repeats,
/// and what a loop of one's own is built from, with `Optimizer.update` between.
public final class GradientStep {
  /// What each layer leaves for its backward pass.
  public let checkpointing: [Checkpointing]
  public let plan: Plan
  /// Told how long each operation takes, when there is one.
  public var timer: StepTimer?
  let device: DeviceBatch
  let arena: Buffer
  private let model: Decoder
  private let compute: DType
  private let loss: TokenLoss?
  private let backend: any Backend

  /// Plans the step and takes its memory.
  ///
  /// - Parameters:
  ///   - model: with adapters or trainable weights attached.
  ///   - compute: the products' type.
  ///   - lines: rows of `length` tokens that a micro-batch has: the `BatchPlan`'s batch size.
  ///   - checkpointing: nil to choose what is fastest within `arenaBudget` bytes.
  ///   - loss: nil for the sum of the labels' cross-entropies, which needs one pass over the logits instead of two.
  /// - Throws: `.outOfMemory`.
  public convenience init(
    _ model: Decoder, compute: DType, lines: Int, length: Int, checkpointing: Checkpointing? = nil,
    arenaBudget: Int = .max, loss: TokenLoss? = nil, on backend: any Backend
  ) throws {
    let device = try DeviceBatch(
      lines: lines, length: length, compute: compute, spec: model.spec, on: backend)
    try self.init(
      model, device, compute: compute, checkpointing: checkpointing, arenaBudget: arenaBudget, loss: loss,
      on: backend)
  }

  /// - Parameter arenaBytes: what others need of the arena between steps.
  init(
    _ model: Decoder, _ device: DeviceBatch, compute: DType, checkpointing: Checkpointing?, arenaBudget: Int,
    arenaBytes: Int = 0, loss: TokenLoss? = nil, on backend: any Backend
  ) throws {
    let weigh = loss == nil ? nil : {}
    (self.checkpointing, plan) = try Self.choose(checkpointing, layers: model.spec.layers, arenaBudget) {
      policy in
      Step.plan(on: backend) { s in
        model.lossAndGradients(
          device.batch(dropouts: Dropouts(seed: 0, microBatch: 0)), s, compute: compute,
          checkpointing: policy,
          into: device.loss, weigh: weigh)
      }
    }
    self.model = model
    self.device = device
    self.compute = compute
    self.loss = loss
    self.backend = backend
    arena = try backend.allocate(bytes: max(plan.bytes, arenaBytes))
  }

  /// Adds the gradients of `scale` times the batch's loss to the parameters', and returns the loss.
  ///
  /// - Parameters:
  ///   - scale: 1 / (labels of all the update's micro-batches) makes a sum over labels their mean.
  ///   - dropouts: other masks for every micro-batch.
  public func run(_ batch: PackedBatch, scale: Float, dropouts: Dropouts) -> Double {
    device.load(batch, labelWeight: scale)
    var total: Double?
    let weigh = loss.map { loss in
      {
        let (value, gradient) = loss(self.device.losses.map { -$0 }, batch)
        precondition(gradient.count == batch.labels.count, "a loss has a gradient for every row")
        self.device.setWeights(gradient.lazy.map { Float(-$0) * scale })
        total = value
      }
    }
    Step.run(plan, in: arena, on: backend, timer: timer) { s in
      model.lossAndGradients(
        device.batch(dropouts: dropouts), s, compute: compute, checkpointing: checkpointing,
        into: device.loss,
        weigh: weigh)
    }
    return total ?? device.lossSum
  }

  /// The fastest mixture of policies whose plan fits: everything kept, else element-wise parts computed again, else
  /// as few whole layers again as will do. The first layers go first: what they keep lives longest.
  private static func choose(
    _ fixed: Checkpointing?, layers: Int, _ budget: Int, _ plan: ([Checkpointing]) -> Plan
  ) throws(SwiftletError) -> ([Checkpointing], Plan) {
    if let fixed {
      let policy = Array(repeating: fixed, count: layers)
      return (policy, plan(policy))
    }
    for uniform in [Checkpointing.keep, .elementwise] {
      let policy = Array(repeating: uniform, count: layers)
      let candidate = plan(policy)
      if candidate.bytes <= budget { return (policy, candidate) }
    }
    func mixed(_ full: Int) -> [Checkpointing] {
      (0..<layers).map { $0 < full ? .full : .elementwise }
    }
    var (low, high) = (1, layers)
    while low < high {
      let middle = (low + high) / 2
      if plan(mixed(middle)).bytes <= budget { high = middle } else { low = middle + 1 }
    }
    let candidate = plan(mixed(low))
    guard candidate.bytes <= budget else {
      throw SwiftletError(
        .outOfMemory,
        "a step needs \(candidate.bytes.megabytes) for activations even when every layer is computed again; "
          + "\(max(0, budget).megabytes) are left of the memory budget",
        remedy: "Lower per_device_train_batch_size or max_seq_length, or raise memory_budget.")
    }
    return (mixed(low), candidate)
  }
}
