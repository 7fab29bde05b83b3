import Basics
import Compute
import Text

/// One update of the parameters: the forward and backward passes of its micro-batches, clipping and the optimiser. On a
/// GPU all of it is one recording, started by one call.
final class UpdateStep {
  let gradients: GradientStep
  private let optimizer: Optimizer
  /// One for each micro-batch of an update.
  private let devices: [DeviceBatch]
  private let backend: any Backend
  /// By the number of micro-batches: an epoch's last update may have fewer.
  private var recorders: [Int: StepRecorder] = [:]

  init(
    _ gradients: GradientStep, _ devices: [DeviceBatch], _ optimizer: Optimizer, on backend: any Backend
  ) {
    self.gradients = gradients
    self.devices = devices
    self.optimizer = optimizer
    self.backend = backend
  }

  /// - Parameters:
  ///   - scale: what each label counts for.
  ///   - seed: of dropout.
  ///   - first: number of the first micro-batch over the whole run.
  ///   - isInterrupted: asked before each micro-batch; before all where they are recorded.
  /// - Returns: the sum of the labels' losses, and the gradient's norm before clipping; nil when interrupted, with the
  ///   parameters as they were.
  func run(
    _ batches: [PackedBatch], scale: Float, seed: UInt64, first: Int, learningRate: Double,
    isInterrupted: () -> Bool
  ) throws -> (loss: Double, norm: Double)? {
    guard backend.hasHostMemory || gradients.timer != nil else {
      if isInterrupted() { return nil }
      return try runRecorded(batches, scale: scale, seed: seed, first: first, learningRate: learningRate)
    }
    var loss = 0.0
    for (index, batch) in batches.enumerated() {
      if isInterrupted() {
        optimizer.parameters.clearGradients()
        return nil
      }
      loss += try gradients.run(batch, scale: scale, seed: seed, microBatch: first + index)
    }
    return (loss, try optimizer.update(learningRate: learningRate))
  }

  private func runRecorded(
    _ batches: [PackedBatch], scale: Float, seed: UInt64, first: Int, learningRate: Double
  ) throws -> (loss: Double, norm: Double) {
    let used = devices.prefix(batches.count)
    for (index, (device, batch)) in zip(used, batches).enumerated() {
      try device.load(batch, labelWeight: scale, seed: seed, microBatch: first + index)
    }
    try optimizer.begin(learningRate: learningRate)
    let recorder = recorders[batches.count] ?? StepRecorder(on: backend)
    recorders[batches.count] = recorder
    try recorder.run {
      for device in used { gradients.start(device) }
      optimizer.start()
    }
    let loss = try used.reduce(0) { try $0 + $1.lossSum() }
    return (loss, try optimizer.norm())
  }
}
