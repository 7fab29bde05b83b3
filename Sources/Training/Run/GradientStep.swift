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
    let rotary = try model.spec.rotary.table(
      positions: length, headSize: model.spec.headSize, on: backend)
    let device = try DeviceBatch(
      lines: lines, length: length, compute: compute,
      layout: backend.hasHostMemory ? .any : .packed(most: lines * length), rotary: rotary, on: backend)
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
          device.batch(trains: true), s, compute: compute, checkpointing: policy, into: device.loss,
          weigh: weigh)
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
  ///   - seed: of dropout.
  ///   - microBatch: counts over the whole run: other masks for each.
  /// - Throws: what failed on the device.
  public func run(
    _ batch: PackedBatch, scale: Float, seed: UInt64, microBatch: Int
  ) throws -> Double {
    try device.load(batch, labelWeight: scale, seed: seed, microBatch: microBatch)
    var result: Result<Double, any Error>?
    let weigh = loss.map { loss in
      { result = Result { try self.weigh(batch, by: loss, scale) } }
    }
    start(device, weigh: weigh)
    return try result?.get() ?? device.lossSum()
  }

  /// Starts the pass over a batch that was loaded into `device`.
  func start(_ device: DeviceBatch, weigh: (() -> Void)? = nil) {
    Step.run(plan, in: arena, on: backend, timer: timer) { s in
      model.lossAndGradients(
        device.batch(trains: true), s, compute: compute, checkpointing: checkpointing, into: device.loss,
        weigh: weigh)
    }
  }

  /// The loss by the rows' log-probabilities, which are there; its gradient becomes the rows' weights.
  private func weigh(_ batch: PackedBatch, by loss: TokenLoss, _ scale: Float) throws -> Double {
    let (value, gradient) = loss(try device.losses().map { -$0 }, batch)
    precondition(gradient.count == batch.labels.count, "a loss has a gradient for every row")
    try device.setWeights(gradient.map { Float(-$0) * scale })
    return value
  }

  /// The fastest mixture of policies whose plan fits: of two that follow one another in cost, as few layers as will do
  /// have the dearer. The first layers go first: what they keep lives longest.
  private static func choose(
    _ fixed: Checkpointing?, layers: Int, _ budget: Int, _ plan: ([Checkpointing]) -> Plan
  ) throws(SwiftletError) -> ([Checkpointing], Plan) {
    func planned(_ count: Int, _ first: Checkpointing, _ others: Checkpointing) -> ([Checkpointing], Plan) {
      let policy = (0..<layers).map { $0 < count ? first : others }
      return (policy, plan(policy))
    }
    if let fixed { return planned(layers, fixed, fixed) }
    var best = planned(layers, .keep, .keep)
    for (cheap, dear) in zip(Checkpointing.allCases, Checkpointing.allCases.dropFirst()) {
      if best.1.bytes <= budget { return best }
      best = planned(layers, dear, cheap)
      guard best.1.bytes <= budget else { continue }
      var (low, high) = (1, layers)
      while low < high {
        let middle = (low + high) / 2
        let candidate = planned(middle, dear, cheap)
        if candidate.1.bytes <= budget { (high, best) = (middle, candidate) } else { low = middle + 1 }
      }
      return best
    }
    throw SwiftletError(
      .outOfMemory,
      "a step needs \(best.1.bytes.megabytes) for activations even when every layer is computed again; "
        + "\(max(0, budget).megabytes) are left of the memory budget",
      remedy: "Lower per_device_train_batch_size or max_seq_length, or raise memory_budget.")
  }
}
