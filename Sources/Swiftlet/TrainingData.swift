import Basics
import Text
import Training

/// The rows that a configuration's run trains on, and those that it is measured on.
public struct TrainingData: Sendable {
  /// All of the training files' sequences, those set aside for evaluation included.
  public let sequences: TokenizedDataset
  public let training: BatchPlan
  public let evaluation: BatchPlan?

  /// Reads and tokenises the files, or finds the result of an earlier time in the cache.
  ///
  /// - Parameters:
  ///   - configuration: the files, how rows become tokens, and the batches' size.
  ///   - text: the model's, with the chat template that `configuration` names.
  ///   - progress: called with the rows done and the rows there are.
  public init(
    _ configuration: TrainingConfiguration, _ text: LanguageModelText,
    progress: @escaping @Sendable (_ done: Int, _ total: Int) -> Void = { _, _ in }
  ) throws(SwiftletError) {
    let options = try Self.options(configuration)
    let cache = configuration.cacheFolder ?? ModelCache.root + "/datasets"
    func build(_ paths: [String]) throws(SwiftletError) -> TokenizedDataset {
      try TokenizedDataset.build(
        files: try paths.map { path throws(SwiftletError) in try DataFile(path: path) },
        tokenizer: text.tokenizer, chatTemplate: text.chatTemplate, options: options, cacheFolder: cache,
        progress: progress)
    }
    func plan(_ dataset: TokenizedDataset, lines: Int, _ order: BatchPlan.Order) -> BatchPlan {
      BatchPlan(
        dataset, batchSize: lines, rowLength: options.maxSequenceLength, isPacked: configuration.packing,
        order: order, paddingID: text.paddingID)
    }
    sequences = try build(configuration.trainFiles)
    var (train, held): (TokenizedDataset, TokenizedDataset?) = (sequences, nil)
    if !configuration.evaluationFiles.isEmpty {
      held = try build(configuration.evaluationFiles)
    } else if configuration.evaluationSplit > 0 {
      (train, held) = try Self.split(sequences, configuration)
    }
    let lines = configuration.trainBatchSize
    training = plan(train, lines: lines, .shuffled(seed: configuration.run.seed))
    evaluation = held.map { plan($0, lines: configuration.evaluationBatchSize ?? lines, .fixed) }
  }

  /// The options of tokenising that `configuration` names.
  public static func options(_ configuration: TrainingConfiguration) throws(SwiftletError) -> DatasetOptions {
    var options = configuration.dataset
    options.format = try configuration.rowFormat()
    return options
  }

  private static func split(
    _ sequences: TokenizedDataset, _ configuration: TrainingConfiguration
  ) throws(SwiftletError) -> (TokenizedDataset, TokenizedDataset) {
    let parts = sequences.split(
      evaluationFraction: configuration.evaluationSplit, seed: configuration.run.seed)
    guard parts.training.count > 0, parts.evaluation.count > 0 else {
      throw SwiftletError(
        .invalidConfiguration,
        "eval_split is \(configuration.evaluationSplit): of \(sequences.count) sequences it leaves "
          + "\(parts.training.count) to train on and \(parts.evaluation.count) to evaluate on",
        remedy: "Choose another eval_split, or give an eval_file.")
    }
    return parts
  }
}
