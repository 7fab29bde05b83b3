import Basics
import Compute
import Foundation
import Models
import Synchronization
import Text
import Training

/// Supervised fine-tuning: everything from a configuration to a saved adapter.
///
/// ```swift
/// var configuration = TrainingConfiguration()
/// configuration.model = "SmolLM2-135M-Instruct.Q4_1.gguf"
/// configuration.trainFiles = ["train.jsonl"]
/// configuration.run.outputFolder = "adapter"
/// for try await event in try SFTTrainer(configuration).run() {
///   if case .step(let step) = event { print(step.step, step.loss) }
/// }
/// ```
public final class SFTTrainer: Sendable {
  /// Opened, planned and ready; used by one thread at a time, the one that runs.
  private struct Prepared: @unchecked Sendable {
    let trainer: Trainer
    let evaluation: BatchPlan?
  }

  public let configuration: TrainingConfiguration
  public let outline: RunOutline
  /// Of the training data.
  public let statistics: TokenizedDataset.Statistics
  /// Share of a row that is padding, over all rows.
  public let paddingShare: Double
  private let prepared: Prepared
  private let interruption = Atomic(false)
  private let activity = Mutex(Activity())

  /// Runs on threads of their own, and who waits for their end.
  private struct Activity {
    var runs = 0
    var waiting: [CheckedContinuation<Void, Never>] = []
  }

  /// Opens model and data, plans the run and takes its memory.
  ///
  /// - Parameters:
  ///   - configuration: what to train, on what and how.
  ///   - progress: told what is being done and how much of it, for long preparations.
  public convenience init(
    _ configuration: TrainingConfiguration, progress: @escaping @Sendable (Preparation) -> Void = { _ in }
  ) throws {
    // Before the model is loaded, which may take its time.
    try configuration.validate()
    try RunFolder.check(configuration)
    try Trainer.makeWritable(configuration.run.outputFolder)
    for path in configuration.trainFiles + configuration.evaluationFiles
    where !FileManager.default.isReadableFile(atPath: path) {
      throw SwiftletError.unreadable(path)
    }
    let backend = try configuration.device.open()
    try configuration.precision.check(on: backend)
    let model = try LanguageModel(
      configuration.model, weights: configuration.baseWeights, streamsHead: configuration.streamsHead,
      backend: backend
    ) {
      progress(.loading(layer: $0, of: $1))
    }
    try self.init(configuration, model: model, progress: progress)
  }

  /// The same with a model that is open already, perhaps on a device of the caller's; `configuration.model` is not
  /// read.
  public init(
    _ configuration: TrainingConfiguration, model: LanguageModel,
    progress: @escaping @Sendable (Preparation) -> Void = { _ in }
  ) throws {
    self.configuration = configuration
    try configuration.validate()
    try RunFolder.check(configuration)
    if let template = configuration.chatTemplate { try model.useChatTemplate(template) }
    try model.checkContext(configuration.dataset.maxSequenceLength)
    let data = try TrainingData(configuration, model.text) { progress(.tokenizing(rows: $0, of: $1)) }
    if model.parameters == nil { try Self.prepare(model, configuration) }
    guard let parameters = model.parameters else {
      throw SwiftletError(.invalidConfiguration, "nothing of the model is trained")
    }
    try model.use(configuration.precision)
    var settings = configuration.run
    settings.compute = configuration.precision.dtype(on: model.backend)
    let trainer = try Trainer(
      model.decoder, training: parameters, on: data.training, evaluation: data.evaluation, settings,
      resume: Self.checkpoint(configuration), backend: model.backend,
      saveModel: { try model.save(to: $0) })
    model.decoder = trainer.model
    prepared = Prepared(trainer: trainer, evaluation: data.evaluation)
    outline = trainer.outline
    statistics = data.sequences.statistics
    paddingShare = 1 - data.training.packing.efficiency
  }

  /// Trains on a thread of its own and tells what happens. Ending the iteration early interrupts the run as
  /// `interrupt` does; `ended` then waits for the checkpoint.
  public func run() -> AsyncThrowingStream<TrainingEvent, any Error> {
    activity.withLock { $0.runs += 1 }
    return AsyncThrowingStream { continuation in
      continuation.onTermination = { [weak self] in if case .cancelled = $0 { self?.interrupt() } }
      let thread = Thread { [self] in
        defer { runEnded() }
        do {
          _ = try runHere { continuation.yield($0) }
          continuation.finish()
        } catch { continuation.finish(throwing: error) }
      }
      thread.name = "swiftlet.training"
      thread.stackSize = 8 << 20
      thread.start()
    }
  }

  /// Returns when all that `run` started has ended and its checkpoint is written.
  public func ended() async {
    await withCheckedContinuation { continuation in
      let isIdle = activity.withLock {
        if $0.runs > 0 { $0.waiting.append(continuation) }
        return $0.runs == 0
      }
      if isIdle { continuation.resume() }
    }
  }

  private func runEnded() {
    let waiting = activity.withLock { activity -> [CheckedContinuation<Void, Never>] in
      activity.runs -= 1
      guard activity.runs == 0 else { return [] }
      defer { activity.waiting = [] }
      return activity.waiting
    }
    for continuation in waiting { continuation.resume() }
  }

  /// Trains on the calling thread.
  public func runHere(report: (TrainingEvent) throws -> Void) throws -> RunReport {
    try RunFolder.prepare(configuration)
    return try prepared.trainer.run(
      isInterrupted: { interruption.load(ordering: .relaxed) }, report: report)
  }

  /// The evaluation data's loss as the model is now; nil when there are none.
  public func evaluate() throws -> EvaluationReport? {
    try prepared.trainer.evaluate()
  }

  /// Ends the run before its next micro-batch, with a checkpoint. Safe to call from any thread.
  public func interrupt() { interruption.store(true, ordering: .relaxed) }

  // MARK: Preparation

  /// What is being prepared.
  public enum Preparation: Sendable {
    case loading(layer: Int, of: Int)
    case tokenizing(rows: Int, of: Int)
  }

  private static func prepare(_ model: LanguageModel, _ configuration: TrainingConfiguration) throws {
    if let adapter = configuration.adapter {
      try model.loadAdapter(adapter)
    } else if configuration.fineTuning == .full {
      try model.trainAllWeights()
    } else {
      try model.addLoRA(configuration.lora, seed: configuration.run.seed)
    }
  }

  private static func checkpoint(_ configuration: TrainingConfiguration) throws(SwiftletError) -> String? {
    switch configuration.resume {
    case .no: nil
    case .folder(let folder): folder
    case .newest: Trainer.newestCheckpoint(in: configuration.run.outputFolder)
    }
  }
}
