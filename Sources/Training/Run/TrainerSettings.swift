import Compute
import Models

/// When something is done over a run.
public enum IntervalStrategy: String, Sendable, CaseIterable {
  case no
  case steps
  case epoch
}

/// How a run goes, in the terms of transformers' TrainingArguments.
public struct TrainerSettings: Sendable {
  public var outputFolder: String
  public var seed: UInt64 = 42
  /// Type of the products: f32 or bf16.
  public var compute = DType.f32
  /// What each layer keeps for its backward pass; nil: the fastest within the memory budget.
  public var checkpointing: Checkpointing?
  /// Whether it waits in the host's memory meanwhile; nil: where that is fastest. Means nothing on the CPU.
  public var offloadsActivations: Bool?
  /// Bytes for everything on the device; nil: what is free.
  public var memoryBudget: Int?

  public var optimizer = Optimizer.Settings()
  public var schedule = LearningRateSchedule.Shape.linear
  public var learningRate = 2e-4
  /// Steps of warm-up; when 0, the share `warmupRatio` of all steps.
  public var warmupSteps = 0
  public var warmupRatio = 0.0

  public var gradientAccumulation = 1
  public var epochs = 3.0
  /// Overrides `epochs` when not nil.
  public var maximumSteps: Int?

  public var loggingSteps = 1
  /// When evaluation data is measured; nil: every `evaluationSteps` if set, else after each epoch. The end of the
  /// run always is, unless this is `.no`.
  public var evaluationStrategy: IntervalStrategy?
  /// Steps between evaluations; nil with `.steps`: as `loggingSteps`.
  public var evaluationSteps: Int?
  /// When a checkpoint is saved; nil: every `saveSteps` if set, else only when the run is interrupted.
  public var saveStrategy: IntervalStrategy?
  /// Steps between checkpoints; nil with `.steps`: 500, as in transformers.
  public var saveSteps: Int?
  /// Checkpoints kept, the newest; nil: all.
  public var savedCheckpoints: Int?

  public init(outputFolder: String) {
    self.outputFolder = outputFolder
  }
}

extension TrainerSettings {
  /// Whether all is asked for that saves the device's memory: then a frozen head that is not there yet stays away.
  var wantsLeastMemory: Bool { checkpointing == .sliced && offloadsActivations == true }

  /// Whether a frozen head is to be loaded into the host's memory. Within a budget, `Trainer` brings it to the device if a
  /// step fits beside it.
  public var loadsHeadOnHost: Bool { wantsLeastMemory || memoryBudget != nil }

  /// Whether evaluation data is measured after update `step` of `total`.
  func isEvaluationDue(after step: Int, of total: Int, stepsPerEpoch: Int) -> Bool {
    let strategy = evaluationStrategy ?? (evaluationSteps == nil ? .epoch : .steps)
    if strategy != .no, step == total { return true }
    return strategy.isDue(after: step, every: evaluationSteps ?? loggingSteps, stepsPerEpoch: stepsPerEpoch)
  }

  /// Whether a checkpoint is saved after update `step` of `total`. The last update's result is the run's own.
  func isSaveDue(after step: Int, of total: Int, stepsPerEpoch: Int) -> Bool {
    let strategy = saveStrategy ?? (saveSteps == nil ? .no : .steps)
    return step < total && strategy.isDue(after: step, every: saveSteps ?? 500, stepsPerEpoch: stepsPerEpoch)
  }
}

extension IntervalStrategy {
  fileprivate func isDue(after step: Int, every steps: Int, stepsPerEpoch: Int) -> Bool {
    switch self {
    case .no: false
    case .steps: step % steps == 0
    case .epoch: step % stepsPerEpoch == 0
    }
  }
}
