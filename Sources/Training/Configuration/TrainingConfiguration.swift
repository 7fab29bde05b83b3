import Basics
import Compute
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
    /// bf16 where the device has instructions for it, f32 elsewhere.
    case auto
    case bfloat16
    case float32
    /// Products with frozen weights in float8 with a scale for each row, all else in bf16; on GPUs that have it.
    case fp8
  }

  // MARK: Model

  /// A GGUF file, a folder, or the name of a model in the cache.
  public var model = ""
  /// A PEFT adapter to continue training.
  public var adapter: String?
  public var baseWeights = BaseWeights.file
  public var device = DeviceChoice.auto
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
  /// Whether a run may begin anew in an output folder that holds one already.
  public var overwritesOutputFolder = false
  /// Keys that were given and change nothing, with the reason.
  public internal(set) var ignoredKeys: [(key: String, reason: String)] = []
  public var run = TrainerSettings(outputFolder: "")

  /// Where a run begins.
  public enum Resume: Sendable, Equatable {
    case no
    /// The newest checkpoint in the output folder; it is an error when there is none.
    case newest
    case folder(String)
  }

  public init() {
    lora.r = 16
    lora.alpha = 16
  }
}

extension TrainingConfiguration {
  /// Whether the head is loaded into the host's memory: see `TrainerSettings.loadsHeadOnHost`. One that is trained is not.
  ///
  /// - Throws: when `adapter` cannot be read.
  public var streamsHead: Bool {
    get throws(SwiftletError) {
      guard run.loadsHeadOnHost, fineTuning == .lora else { return false }
      let lora = try adapter.map { path throws(SwiftletError) in try AdapterFolder(path: path).configuration }
      return try !(lora ?? self.lora).trainsHead
    }
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
  /// - Throws: `.unsupported` when `backend` has no such products.
  public func check(on backend: any Backend) throws(SwiftletError) {
    guard self == .fp8, let reason = backend.float8Refusal else { return }
    throw SwiftletError(.unsupported, "compute: fp8: \(reason)", remedy: "Set compute: bfloat16.")
  }

  /// The type of the products on `backend`.
  public func dtype(on backend: any Backend) -> DType {
    switch self {
    case .bfloat16, .fp8: .bf16
    case .float32: .f32
    case .auto: backend.multipliesBF16 ? .bf16 : .f32
    }
  }
}
