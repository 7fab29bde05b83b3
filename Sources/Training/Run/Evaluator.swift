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
    let rotary = try model.spec.rotary.table(
      positions: data.rowLength, headSize: model.spec.headSize, on: backend)
    let device = try DeviceBatch(for: data, compute: compute, rotary: rotary, on: backend)
    let step = EvaluationStep(model, device, compute: compute, on: backend)
    let arena = try backend.allocate(bytes: step.plan.bytes)
    return try step.run(data, in: arena, at: 0, progress: progress)
  }
}

extension DeviceBatch {
  /// Room for the micro-batches of `data`.
  convenience init(
    for data: BatchPlan, compute: DType, rotary: RotaryTable, on backend: any Backend
  ) throws(SwiftletError) {
    let layout: SequenceLayout =
      backend.hasHostMemory ? .any : data.isPacked ? .packed(most: data.mostSequences) : .lines
    try self.init(
      lines: data.batchSize, length: data.rowLength, compute: compute, layout: layout, rotary: rotary,
      on: backend)
  }
}

/// The planned forward pass of one micro-batch, always in the same arena.
struct EvaluationStep {
  let plan: Plan
  private let model: Decoder
  private let device: DeviceBatch
  private let compute: DType
  private let backend: any Backend
  private let recorder: StepRecorder

  init(_ model: Decoder, _ device: DeviceBatch, compute: DType, on backend: any Backend) {
    self.model = model
    self.device = device
    self.compute = compute
    self.backend = backend
    plan = Step.plan(on: backend) {
      model.loss(device.batch(trains: false), $0, compute: compute, into: device.loss)
    }
    recorder = StepRecorder(on: backend)
  }

  func run(
    _ data: BatchPlan, in arena: Buffer, at step: Int, progress: (Int, Int) -> Void = { _, _ in }
  ) throws -> EvaluationReport {
    let clock = ContinuousClock()
    let start = clock.now
    let epoch = data.epoch(0)
    var (loss, labels) = (0.0, 0)
    for index in 0..<epoch.count {
      let batch = epoch[index]
      try device.load(batch, labelWeight: 1)
      try recorder.run {
        Step.run(plan, in: arena, on: backend) {
          model.loss(device.batch(trains: false), $0, compute: compute, into: device.loss)
        }
      }
      loss += try device.lossSum()
      labels += batch.labelCount
      progress(index + 1, epoch.count)
    }
    return EvaluationReport(
      step: step, loss: loss / Double(max(1, labels)), labels: labels, seconds: (clock.now - start).seconds)
  }
}
