import Compute
import Models
import Text

/// Trains and evaluates in one arena whose size is known before the first micro-batch.
final class StepRunner {
  let model: Decoder
  let update: UpdateStep
  private let evaluationDevice: DeviceBatch?
  private let evaluation: EvaluationStep?
  private let rotary: RotaryTable
  private let devices: [DeviceBatch]

  /// Plans training and evaluation, and takes the memory for both.
  ///
  /// - Parameters:
  ///   - microBatches: of an update, at most.
  ///   - checkpointing: nil to choose what is fastest within `arenaBudget` bytes.
  ///   - isOffloaded: see `GradientStep`.
  init(
    _ model: Decoder, compute: DType, on data: BatchPlan, evaluation: BatchPlan?, microBatches: Int,
    optimizer: Optimizer, checkpointing: Checkpointing?, isOffloaded: Bool?, arenaBudget: Int,
    backend: any Backend
  ) throws {
    self.model = model
    let rotary = try model.spec.rotary.table(
      positions: data.rowLength, headSize: model.spec.headSize, on: backend)
    self.rotary = rotary
    // Recorded steps read all micro-batches of an update; others are loaded one after the other.
    var devices: [DeviceBatch] = []
    for _ in 0..<(backend.hasHostMemory ? 1 : microBatches) {
      devices.append(try DeviceBatch(for: data, compute: compute, rotary: rotary, on: backend))
    }
    self.devices = devices
    evaluationDevice = try evaluation.map {
      try DeviceBatch(for: $0, compute: compute, rotary: rotary, on: backend)
    }
    self.evaluation = evaluationDevice.map { EvaluationStep(model, $0, compute: compute, on: backend) }
    let gradients = try GradientStep(
      model, devices[0], compute: compute, checkpointing: checkpointing, isOffloaded: isOffloaded,
      arenaBudget: arenaBudget, arenaBytes: self.evaluation?.plan.bytes ?? 0, on: backend)
    update = UpdateStep(gradients, devices, optimizer, on: backend)
  }

  /// Bytes of the arena and of the batches.
  var activationBytes: Int { update.gradients.arena.count }
  var batchBytes: Int {
    let table = rotary.cosine
    return devices.reduce(evaluationDevice?.bytes ?? 0) { $0 + $1.bytes }
      + 2 * table.rows * table.columns * MemoryLayout<Float>.size
  }

  /// Mean loss per label token over all of `data`, which is the evaluation data or has its shape.
  func evaluate(_ data: BatchPlan, at step: Int) throws -> EvaluationReport? {
    try evaluation?.run(data, in: update.gradients.arena, at: step)
  }
}

extension Int {
  /// The bytes in words: "1,234 MB" of 2^20 bytes.
  public var megabytes: String { "\((self + (1 << 19)) >> 20) MB" }
}
