import Compute
import Foundation
import Text
import Training

extension PreparedModel {
  /// How the operations of an update are started.
  enum StepMode {
    /// As training does: recorded and started again as one, where the backend can.
    case recorded
    /// One by one, each waited for.
    case eager
  }

  /// Trains on `data` for three updates, of which the second has fewer micro-batches than the others, and evaluates.
  ///
  /// - Returns: losses and gradients' norms, update by update.
  func train(
    on data: BatchPlan, _ optimizer: Optimizer.Kind, compute: DType, _ mode: StepMode = .recorded
  ) throws -> [Outcome] {
    let folder = FileManager.default.temporaryDirectory.appending(path: "swiftlet-\(UUID().uuidString)").path
    defer { try? FileManager.default.removeItem(atPath: folder) }
    var settings = TrainerSettings(outputFolder: folder)
    settings.compute = compute
    settings.checkpointing = .keep
    // Otherwise the head would not stay in the host's memory, where there is room for it.
    if decoder.headStream != nil { (settings.checkpointing, settings.offloadsActivations) = (.sliced, true) }
    settings.optimizer = Optimizer.Settings(kind: optimizer, weightDecay: 0.1)
    settings.learningRate = 5e-3
    settings.maximumSteps = 3
    settings.gradientAccumulation = data.batchesPerEpoch / 2 + 1
    settings.evaluationSteps = 2
    let trainer = try Trainer(
      decoder, training: parameters, on: data, evaluation: data, settings, backend: backend
    ) { _ in }
    if mode == .eager { trainer.timer = StepTimer() }
    var (losses, norms, evaluations): ([Double], [Double], [Double]) = ([], [], [])
    _ = try trainer.run(report: { event in
      switch event {
      case .step(let report):
        losses.append(report.loss)
        norms.append(report.gradientNorm)
      case .evaluated(let report): evaluations.append(report.loss)
      default: break
      }
    })
    return [
      Outcome("losses", losses), Outcome("losses of evaluations", evaluations),
      Outcome("gradients' norms", norms),
    ]
  }
}
