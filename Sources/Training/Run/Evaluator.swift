import Basics
import Compute
import Models
import Text

/// Measures a model's loss: the forward pass alone, planned.
public final class Evaluator {
  private let model: Decoder
  private let compute: DType
  private let backend: any Backend

  public init(_ model: Decoder, compute: DType, on backend: any Backend) {
    self.model = model
    self.compute = compute
    self.backend = backend
  }

  /// Mean loss per label token over all of `data`.
  ///
  /// - Parameter progress: called with the batches done and of all.
  public func run(_ data: BatchPlan, progress: (Int, Int) -> Void = { _, _ in }) throws -> EvaluationReport {
    let device = try DeviceBatch(
      lines: data.batchSize, length: data.rowLength, compute: compute, spec: model.spec, on: backend)
    let step = EvaluationStep(model, device, compute: compute, on: backend)
    let arena = try backend.allocate(bytes: step.plan.bytes)
    return step.run(data, in: arena, at: 0, progress: progress)
  }
}

/// The planned forward pass of one micro-batch.
struct EvaluationStep {
  let plan: Plan
  private let model: Decoder
  private let device: DeviceBatch
  private let compute: DType
  private let backend: any Backend

  init(_ model: Decoder, _ device: DeviceBatch, compute: DType, on backend: any Backend) {
    self.model = model
    self.device = device
    self.compute = compute
    self.backend = backend
    plan = Step.plan(on: backend) {
      model.loss(device.batch(dropouts: nil), $0, compute: compute, into: device.loss)
    }
  }

  func run(
    _ data: BatchPlan, in arena: Buffer, at step: Int, progress: (Int, Int) -> Void = { _, _ in }
  ) -> EvaluationReport {
    let clock = ContinuousClock()
    let start = clock.now
    let epoch = data.epoch(0)
    var (loss, labels) = (0.0, 0)
    for index in 0..<epoch.count {
      let batch = epoch[index]
      device.load(batch, labelWeight: 1)
      Step.run(plan, in: arena, on: backend) {
        model.loss(device.batch(dropouts: nil), $0, compute: compute, into: device.loss)
      }
      loss += device.lossSum
      labels += batch.labelCount
      progress(index + 1, epoch.count)
    }
    return EvaluationReport(
      step: step, loss: loss / Double(max(1, labels)), labels: labels, seconds: (clock.now - start).seconds)
  }
}
