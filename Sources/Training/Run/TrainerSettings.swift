import Compute
import Models

/// How a run goes, in the terms of transformers' TrainingArguments.
public struct TrainerSettings: Sendable {
  public var outputFolder: String
  public var seed: UInt64 = 42
  /// Type of the products: f32 or bf16.
  public var compute = DType.f32
  /// What each layer keeps for its backward pass; nil: the fastest within the memory budget.
  public var checkpointing: Checkpointing?
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
  /// Steps between evaluations; nil: at the end of each epoch when there is data for it.
  public var evaluationSteps: Int?
  /// Steps between checkpoints; nil: none but on interruption.
  public var saveSteps: Int?
  /// Checkpoints kept, the newest; nil: all.
  public var savedCheckpoints: Int?

  public init(outputFolder: String) {
    self.outputFolder = outputFolder
  }
}
