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

  /// Sees that data and output folder are there, opens the model, plans the run and takes its memory.
  ///
  /// - Parameter progress: told what is being done and how much of it, for long preparations.
  public convenience init(
    _ configuration: TrainingConfiguration, progress: @escaping @Sendable (Preparation) -> Void = { _ in }
  ) throws {
    try Self.checkFiles(configuration)
    try OutputFolder.prepare(
      configuration.run.outputFolder,
      keepsResults: configuration.resume == .no && !configuration.run.overwritesOutput)
    try self.init(configuration, opening: configuration.model, progress)
  }

  /// What a run would take, without a trace on disk.
  public static func outline(of configuration: TrainingConfiguration) throws -> RunOutline {
    var configuration = configuration
    configuration.resume = .no
    try checkFiles(configuration)
    return try SFTTrainer(configuration, opening: configuration.model) { _ in }.outline
  }

  private convenience init(
    _ configuration: TrainingConfiguration, opening name: String,
    _ progress: @escaping @Sendable (Preparation) -> Void
  ) throws {
    let model = try LanguageModel(name, weights: configuration.baseWeights) {
      progress(.loading(layer: $0, of: $1))
    }
    try self.init(configuration, model: model, progress: progress)
  }

  /// Prepares a run of a model that is open already, perhaps on a device of the caller's.
  public init(
    _ configuration: TrainingConfiguration, model: LanguageModel,
    progress: @escaping @Sendable (Preparation) -> Void = { _ in }
  ) throws {
    self.configuration = configuration
    if let template = try configuration.ownChatTemplate() { model.useChatTemplate(template) }
    try model.checkContext(configuration.dataset.maxSequenceLength)
    let data = try TrainingData(configuration, model: model, progress: progress)
    if model.parameters == nil { try Self.prepare(model, configuration) }
    guard let parameters = model.parameters else {
      throw SwiftletError(.invalidConfiguration, "nothing of the model is trained")
    }
    var settings = configuration.run
    settings.compute = configuration.precision.dtype
    let trainer = try Trainer(
      model.decoder, training: parameters, on: data.training, evaluation: data.evaluation, settings,
      resume: Self.checkpoint(configuration), backend: model.backend,
      saveModel: { try model.save(to: $0) })
    prepared = Prepared(trainer: trainer, evaluation: data.evaluation)
    outline = trainer.outline
    statistics = data.statistics
    paddingShare = 1 - data.training.packing.efficiency
  }

  /// Trains on a thread of its own and tells what happens. Ending the iteration early interrupts the run as
  /// `interrupt` does.
  public func run() -> AsyncThrowingStream<TrainingEvent, any Error> {
    AsyncThrowingStream { continuation in
      continuation.onTermination = { [weak self] _ in self?.interrupt() }
      let thread = Thread { [self] in
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

  /// Trains on the calling thread.
  public func runHere(report: (TrainingEvent) throws -> Void) throws -> RunReport {
    try prepared.trainer.run(isInterrupted: { interruption.load(ordering: .relaxed) }, report: report)
  }

  /// The evaluation data's loss as the model is now; nil when there are none.
  public func evaluate() throws -> EvaluationReport? {
    try prepared.evaluation.map { try prepared.trainer.evaluate(on: $0) }
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

  /// Fails before the model is loaded, which may take its time.
  private static func checkFiles(_ configuration: TrainingConfiguration) throws(SwiftletError) {
    for path in configuration.trainFiles + configuration.evaluationFiles
    where !FileManager.default.isReadableFile(atPath: path) {
      throw SwiftletError(.unreadable, "\(path): there is no such file, or it may not be read")
    }
  }

  private static func checkpoint(_ configuration: TrainingConfiguration) throws(SwiftletError) -> String? {
    switch configuration.resume {
    case .no: return nil
    case .folder(let folder): return folder
    case .newest:
      guard let newest = Trainer.newestCheckpoint(in: configuration.run.outputFolder) else {
        throw SwiftletError(
          .unreadable, "there is no checkpoint in \(configuration.run.outputFolder) to resume from",
          remedy: "Leave --resume and resume_from_checkpoint out to begin anew.")
      }
      return newest
    }
  }
}

/// The rows that a run trains on and those that it is measured on.
private struct TrainingData {
  let training: BatchPlan
  let evaluation: BatchPlan?
  let statistics: TokenizedDataset.Statistics

  init(
    _ configuration: TrainingConfiguration, model: LanguageModel,
    progress: @escaping @Sendable (SFTTrainer.Preparation) -> Void
  ) throws {
    var options = configuration.dataset
    options.format = try configuration.rowFormat()
    let cache = configuration.cacheFolder ?? ModelCache.root + "/datasets"
    func build(_ paths: [String]) throws -> TokenizedDataset {
      try TokenizedDataset.build(
        files: paths.map { try DataFile(path: $0) }, tokenizer: model.tokenizer,
        chatTemplate: model.chatTemplate,
        options: options, cacheFolder: cache, progress: { progress(.tokenizing(rows: $0, of: $1)) })
    }
    func plan(_ dataset: TokenizedDataset, lines: Int, _ order: BatchPlan.Order) -> BatchPlan {
      BatchPlan(
        dataset, batchSize: lines, rowLength: options.maxSequenceLength, isPacked: configuration.packing,
        order: order, paddingID: model.paddingID)
    }
    let all = try build(configuration.trainFiles)
    statistics = all.statistics
    var (train, held): (TokenizedDataset, TokenizedDataset?) = (all, nil)
    if !configuration.evaluationFiles.isEmpty {
      held = try build(configuration.evaluationFiles)
    } else if configuration.evaluationSplit > 0 {
      let parts = all.split(evaluationFraction: configuration.evaluationSplit, seed: configuration.run.seed)
      guard parts.training.count > 0, parts.evaluation.count > 0 else {
        throw SwiftletError(
          .invalidData,
          "eval_split \(configuration.evaluationSplit) of \(all.count) sequences leaves "
            + "\(parts.training.count) to train on and \(parts.evaluation.count) to evaluate on")
      }
      (train, held) = (parts.training, parts.evaluation)
    }
    let lines = configuration.trainBatchSize
    training = plan(train, lines: lines, .shuffled(seed: configuration.run.seed))
    evaluation = held.map { plan($0, lines: configuration.evaluationBatchSize ?? lines, .fixed) }
  }
}
