import Basics
import Compute
import Foundation
import Models
import Text
import Training

/// A language model ready for use: weights, tokenizer, chat template, and adapters if it has any.
///
/// ```swift
/// let model = try LanguageModel("SmolLM2-135M-Instruct.Q4_1.gguf")
/// try model.addLoRA(LoRAConfiguration())
/// ```
public final class LanguageModel {
  public let path: String
  public let backend: any Backend
  public private(set) var text: LanguageModelText
  /// The network, with its adapters.
  public internal(set) var decoder: Decoder
  /// What training changes; nil before `addLoRA`, `loadAdapter` or `trainAllWeights`.
  public private(set) var parameters: Parameters?
  /// The adapter's settings, when there is one.
  public private(set) var lora: LoRAConfiguration?
  /// What the matrices are held as.
  public let weights: BaseWeights
  let file: ModelFile

  /// Opens a model.
  ///
  /// - Parameters:
  ///   - name: a GGUF file, a folder as on Hugging Face, or the name of either in the cache.
  ///   - weights: what the matrices are held as.
  ///   - streamsHead: whether the head may wait in the host's memory, where the device has its own: for a `Trainer`, which
  ///     decides.
  ///   - backend: the device; by default this machine's processor.
  ///   - progress: called with the layers loaded and of all.
  public init(
    _ name: String, weights: BaseWeights = .file, streamsHead: Bool = false, backend: (any Backend)? = nil,
    progress: (Int, Int) -> Void = { _, _ in }
  ) throws(SwiftletError) {
    let file = try ModelFile(named: name)
    self.file = file
    self.weights = weights
    path = file.path
    text = try LanguageModelText(file)
    let (tokens, rows) = (text.tokenizer.vocabularySize, try file.spec().vocabularySize)
    // Embeddings are often padded; tokens without a row are another model's.
    guard tokens <= rows else {
      throw SwiftletError(
        .mismatch, "\(path): the tokenizer has \(tokens) tokens, the embedding \(rows) rows",
        remedy: "Tokenizer and weights are not of one model.")
    }
    let device: any Backend
    if let backend { device = backend } else { device = try CPU() }
    self.backend = device
    decoder = try Decoder(file, weights: weights, streamsHead: streamsHead, on: device, progress: progress)
  }

  /// Gives the model new adapters, which leave its answers as they are until they are trained.
  public func addLoRA(_ configuration: LoRAConfiguration, seed: UInt64 = 42) throws(SwiftletError) {
    parameters = try decoder.addLoRA(configuration, seed: seed, on: backend)
    lora = configuration
  }

  /// Prepares for products of type `precision`: float8 needs what is trained to be attached.
  ///
  /// - Throws: `.unsupported` when the device or the model has no such products.
  public func use(_ precision: TrainingConfiguration.Precision) throws {
    try precision.check(on: backend)
    decoder.dropFloat8()
    if precision == .fp8 { try decoder.useFloat8() }
  }

  public var tokenizer: Tokenizer { text.tokenizer }
  public var chatTemplate: ChatTemplate? { text.chatTemplate }
  public var stopTokens: Set<Int32> { text.stopTokens }

  /// Uses another chat template than the model's own: a file's, or the text itself.
  public func useChatTemplate(_ template: String) throws(SwiftletError) { try text.useChatTemplate(template) }
}

// MARK: - What training changes

extension LanguageModel {
  /// Attaches a PEFT adapter folder: to use it, or to train it on.
  ///
  /// - Throws: `.mismatch` when the adapter does not fit this model.
  public func loadAdapter(_ folder: String) throws(SwiftletError) {
    let adapter = try AdapterFolder(path: folder)
    parameters = try decoder.addLoRA(adapter, on: backend)
    lora = adapter.configuration
  }

  /// Makes every weight trainable, as float32.
  ///
  /// - Throws: `.unsupported` when the result could not be saved.
  public func trainAllWeights() throws(SwiftletError) {
    try decoder.checkSave(source: file)
    parameters = try decoder.trainAll(on: backend)
  }

  /// Saves what was trained: a PEFT adapter folder, or a whole model in bfloat16 when all weights were.
  public func save(to folder: String) throws(SwiftletError) {
    if let lora, let parameters {
      try AdapterFolder.save(parameters, lora, baseModel: path, to: folder)
    } else {
      try decoder.save(to: folder, as: .bfloat16, source: file)
      try writeTokenizer(to: folder)
    }
  }

  /// The most tokens of a text that the model was made for.
  public var contextLength: Int { decoder.spec.maximumPositions }

  /// - Throws: `.invalidConfiguration` when the model was not made for texts of `length` tokens.
  public func checkContext(_ length: Int) throws(SwiftletError) {
    guard length > contextLength else { return }
    throw SwiftletError(
      .invalidConfiguration,
      "max_seq_length is \(length), but \(path) was made for \(contextLength) tokens at most",
      remedy: "Set max_seq_length to \(contextLength) or less.")
  }
}
