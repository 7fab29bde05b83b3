import Basics
import Compute
import Foundation
import Models
import Text

/// Everything that a run can be told: the one type behind a YAML file, command-line settings and Swift code. The keys in
/// files are the names that transformers, PEFT and TRL use (`ConfigurationKey.all` lists them).
public struct TrainingConfiguration: Sendable {
  /// Which of a model's weights are trained.
  public enum FineTuning: String, Sendable, CaseIterable {
    case lora
    case full
  }

  /// The type of the products.
  public enum Precision: String, Sendable, CaseIterable {
    /// bf16 where the processor has instructions for it, f32 elsewhere.
    case auto
    case bfloat16
    case float32
  }

  /// Where a run's arithmetic is done.
  public enum Device: String, Sendable, CaseIterable {
    /// The best there is: the processor, in this version.
    case auto
    case cpu
  }

  // MARK: Model

  /// A GGUF file, a folder, or the name of a model in the cache.
  public var model = ""
  /// A PEFT adapter to continue training.
  public var adapter: String?
  public var baseWeights = BaseWeights.file
  public var device = Device.auto
  public var precision = Precision.auto

  // MARK: Data

  public var trainFiles: [String] = []
  public var evaluationFiles: [String] = []
  /// Share of the training data that is set aside for evaluation; 0: none.
  public var evaluationSplit = 0.0
  public var datasetFormat = DatasetFormat.auto
  /// Text with {columns}: how a row becomes text, instead of a format.
  public var datasetTemplate: String?
  /// The text of `datasetTemplate` behind which the response begins.
  public var responseTemplate: String?
  public var dataset = DatasetOptions()
  /// A chat template's file, in place of the model's own.
  public var chatTemplate: String?
  public var packing = true
  public var cacheFolder: String?

  /// How rows of a data set are laid out.
  public enum DatasetFormat: String, Sendable, CaseIterable {
    case auto, messages, sharegpt, alpaca
    case promptCompletion = "prompt_completion"
    case text
  }

  // MARK: Training

  public var fineTuning = FineTuning.lora
  public var lora = LoRAConfiguration()
  public var trainBatchSize = 4
  public var evaluationBatchSize: Int?
  public var resume = Resume.no
  /// Keys of other programs that the file held and that change nothing here, with the reason.
  public private(set) var ignoredKeys: [(key: String, reason: String)] = []
  public var run = TrainerSettings(outputFolder: "")

  /// Where a run begins.
  public enum Resume: Sendable, Equatable {
    case no
    /// The newest checkpoint in the output folder, if there is one.
    case newest
    case folder(String)
  }

  public init() {
    lora.r = 16
    lora.alpha = 16
  }
}

// MARK: - From JSON and back

extension TrainingConfiguration {
  /// Reads a configuration file's content, then `overrides`, key by key.
  ///
  /// - Parameters:
  ///   - values: an object of keys and values; null stands for the default.
  ///   - source: what to name in errors: the file.
  /// - Throws: `.invalidConfiguration` for an unknown key (with the nearest known), a wrong type or range, or keys
  ///   that contradict each other.
  public init(_ values: JSON, overrides: [(key: String, value: JSON)] = [], source: String)
    throws(SwiftletError)
  {
    self.init()
    guard let object = values.object else {
      throw SwiftletError(.invalidConfiguration, "\(source): expected keys and values")
    }
    try Self.checkNames(object.keys, source)
    try Self.checkNames(overrides.map(\.key), "--set")
    // A null that comes later takes back what the file says.
    let resets = Set(overrides.filter(\.value.isNull).map { ConfigurationKey.named($0.key)?.name })
    var seen: [String: String] = [:]
    for (key, value) in object where !resets.contains(ConfigurationKey.named(key)?.name ?? key) {
      let name = ConfigurationKey.named(key)?.name ?? key
      if let other = seen.updateValue(key, forKey: name) {
        throw SwiftletError(.invalidConfiguration, "\(source): '\(other)' and '\(key)' are the same key")
      }
      try set(key, to: value, source: source)
    }
    for (key, weights) in [("load_in_4bit", BaseWeights.nf4), ("load_in_8bit", .int8)]
    where object[key] == true && baseWeights != weights {
      throw SwiftletError(
        .invalidConfiguration, "\(source): \(key) contradicts base_weights: \(baseWeights.rawValue)")
    }
    for (key, value) in overrides { try set(key, to: value, source: "--set") }
    try validate(source)
    if adapter != nil { ignoreAdapterKeys() }
  }

  /// An adapter made before has its own rank, scale and targets.
  private mutating func ignoreAdapterKeys() {
    let defaults = TrainingConfiguration()
    for key in ConfigurationKey.adapter where key.read(self) != key.read(defaults) {
      ignoredKeys.append((key.name, "the adapter in adapter_name_or_path has its own"))
    }
  }

  /// Sees that all keys are known; names those that are not, with what may have been meant.
  private static func checkNames(_ names: [String], _ source: String) throws(SwiftletError) {
    let unknown = names.filter { ConfigurationKey.named($0) == nil && ForeignKey.named($0) == nil }
    if unknown.isEmpty { return }
    let known = ConfigurationKey.all.flatMap { [$0.name] + $0.aliases }
    let suggestions = unknown.compactMap { name in nearest(to: name, in: known).map { (name, $0) } }
    let remedy =
      switch (unknown.count, suggestions.first) {
      case (1, let suggestion?): "Did you mean '\(suggestion.1)'?"
      case (_, nil): "`swiftlet train --keys` lists all keys."
      default: "Did you mean \(suggestions.map { "'\($0.1)' by '\($0.0)'" }.joined(separator: ", "))?"
      }
    throw SwiftletError(
      .invalidConfiguration,
      "\(source): unknown key\(unknown.count > 1 ? "s" : "") "
        + unknown.map { "'\($0)'" }.joined(separator: ", "), remedy: remedy)
  }

  private mutating func set(_ name: String, to value: JSON, source: String) throws(SwiftletError) {
    if let foreign = ForeignKey.named(name) {
      try foreign.check(name, value, source: source)
      ignoredKeys.append((name, foreign.reason))
      return
    }
    guard let key = ConfigurationKey.named(name), !value.isNull else { return }
    guard try key.apply(&self, value) else {
      throw SwiftletError(
        .invalidConfiguration, "\(source): \(name) is \(value.text(.spaced)), expected \(key.expected)")
    }
  }

  /// What can be checked without opening a file.
  private func validate(_ source: String) throws(SwiftletError) {
    func check(_ holds: Bool, _ what: String) throws(SwiftletError) {
      if !holds { throw SwiftletError(.invalidConfiguration, "\(source): \(what)") }
    }
    try check(!model.isEmpty, "model_name_or_path is missing")
    try check(!trainFiles.isEmpty, "train_file is missing")
    try check(!run.outputFolder.isEmpty, "output_dir is missing")
    try check(run.maximumSteps != nil || run.epochs > 0, "num_train_epochs is 0, and max_steps is not set")
    try check(
      datasetTemplate != nil || responseTemplate == nil, "response_template needs a dataset_template")
    try check(
      datasetTemplate == nil || datasetFormat == .auto,
      "dataset_template and dataset_format exclude each other")
    try check(
      evaluationFiles.isEmpty || evaluationSplit == 0, "eval_file and eval_split exclude each other")
    try check(
      run.evaluationStrategy ?? .no == .no || !evaluationFiles.isEmpty || evaluationSplit > 0,
      "eval_strategy needs eval_file or eval_split")
    try check(
      fineTuning == .lora || adapter == nil, "adapter_name_or_path needs finetuning_type: lora")
    try check(
      fineTuning == .lora || baseWeights != .nf4 && baseWeights != .int8,
      "full fine-tuning trains float32 weights: base_weights cannot be \(baseWeights.rawValue)")
  }

  /// All keys that differ from their defaults, as a configuration file would hold them.
  public var json: JSON {
    let defaults = TrainingConfiguration()
    var object: JSON.Object = [:]
    for key in ConfigurationKey.all {
      let value = key.read(self)
      if value != key.read(defaults) { object[key.name] = value }
    }
    return .object(object)
  }

  /// The template that `chat_template` names; nil to use the model's own.
  public func ownChatTemplate() throws(SwiftletError) -> ChatTemplate? {
    guard let chatTemplate else { return nil }
    guard let bytes = FileManager.default.contents(atPath: chatTemplate) else {
      throw SwiftletError(.unreadable, "chat_template: \(chatTemplate) cannot be read")
    }
    return try ChatTemplate(source: String(decoding: bytes, as: UTF8.self), name: chatTemplate)
  }

  /// The row format that `dataset_format` and `dataset_template` name; nil to recognise it.
  public func rowFormat() throws(SwiftletError) -> RowFormat? {
    if let datasetTemplate {
      return .template(try RowTemplate(datasetTemplate, responseMarker: responseTemplate))
    }
    switch datasetFormat {
    case .auto: return nil
    case .messages: return .messages(column: "messages")
    case .sharegpt: return .shareGPT(column: "conversations")
    case .alpaca: return .alpaca
    case .promptCompletion: return .promptCompletion(prompt: "prompt", completion: "completion")
    case .text: return .text(column: "text")
    }
  }
}

extension TrainingConfiguration.Precision {
  /// The type of the products on this machine's processor.
  public var dtype: DType {
    switch self {
    case .bfloat16: .bf16
    case .float32: .f32
    case .auto: CPU.multipliesBF16 ? .bf16 : .f32
    }
  }
}
