import Compute
import Models
import Text

/// Trains and evaluates in one arena whose size is known before the first micro-batch.
final class StepRunner {
  let model: Decoder
  let gradients: GradientStep
  private let evaluationDevice: DeviceBatch
  private let evaluation: EvaluationStep

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
    let device = try DeviceBatch(
      lines: lines, length: length, compute: compute, spec: model.spec, on: backend)
    evaluationDevice =
      evaluationLines == lines
      ? device
      : try DeviceBatch(
        lines: evaluationLines, length: length, compute: compute, spec: model.spec, on: backend)
    evaluation = EvaluationStep(model, evaluationDevice, compute: compute, on: backend)
    gradients = try GradientStep(
      model, device, compute: compute, checkpointing: checkpointing, arenaBudget: arenaBudget,
      arenaBytes: evaluation.plan.bytes, on: backend)
  }

  /// Bytes of the arena and of the batches.
  var activationBytes: Int { gradients.arena.count }
  var batchBytes: Int {
    gradients.device.bytes + (evaluationDevice === gradients.device ? 0 : evaluationDevice.bytes)
  }

  /// Mean loss per label token over all of `data`.
  func evaluate(_ data: BatchPlan, at step: Int) -> EvaluationReport {
    evaluation.run(data, in: gradients.arena, at: step)
  }
}

extension Int {
  /// The bytes in words: "1,234 MB" of 2^20 bytes.
  public var megabytes: String { "\((self + (1 << 19)) >> 20) MB" }
}
