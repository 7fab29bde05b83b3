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
  /// What becomes of each layer between its forward and its backward pass.
  public let policies: [LayerPolicy]
  public let plan: Plan
  /// Told how long each operation takes, when there is one.
  public var timer: StepTimer?
  let device: DeviceBatch
  let arena: Buffer
  /// The host's memory that layers are offloaded to.
  private let host: Buffer?
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
  ///   - isOffloaded: whether what layers leave for their backward pass waits in the host's memory; nil to choose.
  ///   - loss: nil for the sum of the labels' cross-entropies, which needs one pass over the logits instead of two.
  /// - Throws: `.outOfMemory`.
  public convenience init(
    _ model: Decoder, compute: DType, lines: Int, length: Int, checkpointing: Checkpointing? = nil,
    isOffloaded: Bool? = nil, arenaBudget: Int = .max, loss: TokenLoss? = nil, on backend: any Backend
  ) throws {
    let device = try Self.device(model, compute: compute, lines: lines, length: length, on: backend)
    try self.init(
      model, device, compute: compute, checkpointing: checkpointing, isOffloaded: isOffloaded,
      arenaBudget: arenaBudget, loss: loss, on: backend)
  }

  /// - Parameter arenaBytes: what others need of the arena between steps.
  init(
    _ model: Decoder, _ device: DeviceBatch, compute: DType, checkpointing: Checkpointing?,
    isOffloaded: Bool?, arenaBudget: Int, arenaBytes: Int = 0, loss: TokenLoss? = nil, on backend: any Backend
  ) throws {
    var planner = Self.planner(
      model, device, compute: compute, checkpointing: checkpointing, isOffloaded: isOffloaded,
      arenaBudget: arenaBudget, weigh: loss == nil ? nil : {}, on: backend)
    var choice = try planner.choose()
    var host: Buffer?
    if choice.plan.hostBytes > 0 {
      do throws(SwiftletError) {
        host = try backend.allocateOnHost(bytes: choice.plan.hostBytes)
      } catch {
        // The system may lock less than is free: what was not asked for must not end the run.
        guard isOffloaded == nil else { throw error }
        planner.isOffloaded = false
        choice = try planner.choose()
      }
    }
    (policies, plan) = choice
    self.host = host
    self.model = model
    self.device = device
    self.compute = compute
    self.loss = loss
    self.backend = backend
    arena = try backend.allocate(bytes: max(plan.bytes, arenaBytes))
  }

  /// Of the host's memory, what may be locked: a quarter of what is free is left to others.
  private static var hostBudget: Int { ProcessMemory.available.map { $0 / 4 * 3 } ?? .max }

  /// What `lines` rows of `length` tokens lie in.
  static func device(
    _ model: Decoder, compute: DType, lines: Int, length: Int, on backend: any Backend
  ) throws -> DeviceBatch {
    let rotary = try model.spec.rotary.table(
      positions: length, headSize: model.spec.headSize, on: backend)
    return try DeviceBatch(
      lines: lines, length: length, compute: compute,
      layout: backend.hasHostMemory ? .any : .packed(most: lines * length), rotary: rotary, on: backend)
  }

  private static func planner(
    _ model: Decoder, _ device: DeviceBatch, compute: DType, checkpointing: Checkpointing?,
    isOffloaded: Bool?, arenaBudget: Int, weigh: (() -> Void)?, on backend: any Backend
  ) -> PolicyPlanner {
    let batch = device.batch(trains: true)
    return PolicyPlanner(
      canOffload: (0..<model.spec.layers).map(model.canOffload), budget: arenaBudget,
      hostBudget: hostBudget, checkpointing: checkpointing, isOffloaded: isOffloaded,
      rates: { backend.rates },
      costs: { model.costs(batch, compute: compute, into: device.loss, weigh: weigh) }
    ) { policies in
      Step.plan(on: backend) { s in
        model.lossAndGradients(
          batch, s, compute: compute, policies: policies, into: device.loss, weigh: weigh)
      }
    }
  }

  /// Whether such a micro-batch can be trained on in `arenaBudget` bytes: only plans.
  static func fits(
    _ model: Decoder, _ device: DeviceBatch, compute: DType, checkpointing: Checkpointing?,
    isOffloaded: Bool?, arenaBudget: Int, on backend: any Backend
  ) -> Bool {
    let choice = try? planner(
      model, device, compute: compute, checkpointing: checkpointing, isOffloaded: isOffloaded,
      arenaBudget: arenaBudget, weigh: nil, on: backend
    ).choose()
    return choice.map { $0.plan.bytes <= arenaBudget } ?? false
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
    Step.run(plan, in: arena, host: host, on: backend, timer: timer) { s in
      model.lossAndGradients(
        device.batch(trains: true), s, compute: compute, policies: policies, into: device.loss, weigh: weigh)
    }
  }

  /// The loss by the rows' log-probabilities, which are there; its gradient becomes the rows' weights.
  private func weigh(_ batch: PackedBatch, by loss: TokenLoss, _ scale: Float) throws -> Double {
    let (value, gradient) = loss(try device.losses().map { -$0 }, batch)
    precondition(gradient.count == batch.labels.count, "a loss has a gradient for every row")
    try device.setWeights(gradient.map { Float(-$0) * scale })
    return value
  }
}
