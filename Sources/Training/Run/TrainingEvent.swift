import Compute
import Foundation
import Models

/// What a run tells while it runs.
public enum TrainingEvent: Sendable {
  case began(RunOutline)
  case step(StepReport)
  case evaluated(EvaluationReport)
  case saved(folder: String, step: Int)
  case ended(RunReport)
}

/// Device memory by part, in bytes, known before anything runs.
public struct MemoryOutline: Sendable, Equatable {
  /// Frozen weights, mapped or converted.
  public var weights = 0
  public var parameters = 0
  public var gradients = 0
  public var optimizer = 0
  /// The arena: activations, and the kernels' workspace.
  public var activations = 0
  /// Token ids, labels and rotary tables of a micro-batch.
  public var batch = 0
  /// Of the host's memory, not the device's: locked for what layers offload, and for a head that waits there.
  public var host = 0

  /// The device's.
  public var total: Int { weights + parameters + gradients + optimizer + activations + batch }

  /// The parts with their names, largest first.
  public var parts: [(name: String, bytes: Int)] {
    [
      ("weights", weights), ("parameters", parameters), ("gradients", gradients), ("optimizer", optimizer),
      ("activations", activations), ("batch", batch),
    ].sorted { $0.1 > $1.1 }
  }
}

/// What is known of a run before its first step.
public struct RunOutline: Sendable {
  public var totalSteps: Int
  public var stepsPerEpoch: Int
  /// Steps that an earlier run did.
  public var resumedFrom: Int
  public var trainedParameters: Int
  /// What becomes of each layer between forward and backward.
  public var policies: [LayerPolicy]
  public var memory: MemoryOutline
  /// Bytes of the process at its peak, as the system will count them.
  public var predictedResident: Int
}

/// One update.
public struct StepReport: Sendable {
  public var step: Int
  public var totalSteps: Int
  public var epoch: Double
  /// Mean loss per label token of the step's micro-batches.
  public var loss: Double
  public var gradientNorm: Double
  public var learningRate: Double
  /// Tokens that are no padding, and seconds.
  public var tokens: Int
  public var seconds: Double
  /// Seconds that the rest of the run will take at this pace.
  public var secondsLeft: Double
}

public struct EvaluationReport: Sendable {
  public var step: Int
  /// Mean loss per label token.
  public var loss: Double
  public var labels: Int
  public var seconds: Double

  public var perplexity: Double { exp(loss) }
}

public struct RunReport: Sendable {
  public var steps: Int
  public var seconds: Double
  public var tokens: Int
  /// Mean of all steps' losses, those before an interruption too.
  public var loss: Double
  /// The last evaluation, if there was one.
  public var evaluation: EvaluationReport?
  public var memory: MemoryOutline
  /// The most bytes that the process had in memory, by the system's count.
  public var peakResident: Int
  /// The most bytes of the device's memory at once; nil where it is the host's.
  public var peakDevice: Int?
}
