import Basics
import Compute
import Models
import Text

/// Runs micro-batches forward and backward, all in one arena whose size is known before the first.
final class StepRunner {
  let model: Decoder
  let backend: any Backend
  let compute: DType
  /// What each layer leaves for its backward pass.
  let checkpointing: [Checkpointing]
  let plan: Plan
  /// Told how long each operation takes, when there is one.
  var timer: StepTimer?
  private let device: DeviceBatch
  private let evaluationDevice: DeviceBatch
  private let evaluation: EvaluationStep
  private let arena: Buffer

  /// Plans training and evaluation, and takes the memory for both.
  ///
  /// - Parameters:
  ///   - lines: sequences of `length` tokens a micro-batch has.
  ///   - checkpointing: nil to choose what is fastest within `arenaBudget` bytes.
  init(
    _ model: Decoder, compute: DType, lines: Int, evaluationLines: Int, length: Int,
    checkpointing: Checkpointing?, arenaBudget: Int, on backend: any Backend
  ) throws {
    self.model = model
    self.backend = backend
    self.compute = compute
    let device = try DeviceBatch(
      lines: lines, length: length, compute: compute, spec: model.spec, on: backend)
    let evaluationDevice =
      evaluationLines == lines
      ? device
      : try DeviceBatch(
        lines: evaluationLines, length: length, compute: compute, spec: model.spec, on: backend)
    func plan(_ policy: [Checkpointing]) -> Plan {
      Step.plan(on: backend) { Self.train(model, device, $0, compute, policy, dropouts: nil) }
    }
    let (chosen, chosenPlan) = try Self.choose(checkpointing, layers: model.spec.layers, arenaBudget, plan)
    self.checkpointing = chosen
    self.plan = chosenPlan
    evaluation = EvaluationStep(model, evaluationDevice, compute: compute, on: backend)
    self.device = device
    self.evaluationDevice = evaluationDevice
    arena = try backend.allocate(bytes: max(chosenPlan.bytes, evaluation.plan.bytes))
  }

  /// Bytes of the arena and of the batches.
  var activationBytes: Int { arena.count }
  var batchBytes: Int { device.bytes + (evaluationDevice === device ? 0 : evaluationDevice.bytes) }

  /// Adds the gradients of labelWeight * (sum of the batch's losses) and returns that sum of losses.
  func train(_ batch: PackedBatch, labelWeight: Float, dropouts: Dropouts) -> Double {
    device.load(batch, labelWeight: labelWeight)
    Step.run(plan, in: arena, on: backend, timer: timer) {
      Self.train(model, device, $0, compute, checkpointing, dropouts: dropouts)
    }
    return device.lossSum
  }

  /// Mean loss per label token over all of `data`.
  func evaluate(_ data: BatchPlan, at step: Int) -> EvaluationReport {
    evaluation.run(data, in: arena, at: step)
  }

  private static func train(
    _ model: Decoder, _ device: DeviceBatch, _ s: Step, _ compute: DType, _ policy: [Checkpointing],
    dropouts: Dropouts?
  ) {
    model.lossAndGradients(
      device.batch(dropouts: dropouts ?? Dropouts(seed: 0, microBatch: 0)), s, compute: compute,
      checkpointing: policy, into: device.loss)
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

extension Int {
  /// The bytes in words: "1,234 MB" of 2^20 bytes.
  public var megabytes: String { "\((self + (1 << 19)) >> 20) MB" }
}
