import Basics
import Compute
import Foundation
import Models
import Text

/// A language model ready for use: weights, tokenizer, chat template, and adapters if it has any.
///
/// ```swift
/// let model = try LanguageModel("SmolLM2-135M-Instruct.Q4_1.gguf")
/// try model.addLoRA(LoRAConfiguration())
/// ```
public final class LanguageModel {
  public let path: String
  public let backend: any Backend
  public let tokenizer: Tokenizer
  /// nil for a base model that was never taught to chat.
  public private(set) var chatTemplate: ChatTemplate?
  /// Tokens that end a text or a turn.
  public let stopTokens: Set<Int32>
  /// The network, with its adapters.
  public private(set) var decoder: Decoder
  /// What training changes; nil before `addLoRA`, `loadAdapter` or `trainAllWeights`.
  public private(set) var parameters: Parameters?
  /// The adapter's settings, when there is one.
  public private(set) var lora: LoRAConfiguration?
  let file: ModelFile

  /// Opens a model.
  ///
  /// - Parameters:
  ///   - name: a GGUF file, a folder as on Hugging Face, or the name of either in the cache.
  ///   - weights: what the matrices are held as.
  ///   - backend: the device; by default this machine's processor.
  ///   - progress: called with the layers loaded and of all.
  public init(
    _ name: String, weights: BaseWeights = .file, backend: (any Backend)? = nil,
    progress: (Int, Int) -> Void = { _, _ in }
  ) throws(SwiftletError) {
    path = try ModelCache.path(of: name)
    if FileManager.default.fileExists(atPath: path + "/adapter_config.json"),
      !FileManager.default.fileExists(atPath: path + "/config.json")
    {
      throw SwiftletError(
        .invalidConfiguration, "\(path) is an adapter, not a model",
        remedy: "Name the base model as the model, and this folder as the adapter.")
    }
    let file = try ModelFile(path: path)
    self.file = file
    let text = try TextParts(file)
    tokenizer = text.tokenizer
    chatTemplate = text.chatTemplate
    stopTokens = text.stopTokens
    let device: any Backend
    if let backend { device = backend } else { device = try CPU() }
    self.backend = device
    decoder = try Decoder(file, weights: weights, on: device, progress: progress)
    guard tokenizer.vocabularySize <= decoder.spec.vocabularySize else {
      throw SwiftletError(
        .mismatch,
        "\(path): the tokenizer has \(tokenizer.vocabularySize) tokens, the embedding "
          + "\(decoder.spec.vocabularySize) rows",
        remedy: "Tokenizer and weights are not of one model.")
    }
  }

  /// Gives the model new adapters, which leave its answers as they are until they are trained.
  public func addLoRA(_ configuration: LoRAConfiguration, seed: UInt64 = 42) throws(SwiftletError) {
    parameters = try decoder.addLoRA(configuration, seed: seed, on: backend)
    lora = configuration
  }

  /// Uses another chat template than the model's own.
  public func useChatTemplate(_ template: ChatTemplate) { chatTemplate = template }

  /// A conversation as the model takes it, up to where it is to answer.
  ///
  /// - Parameter messages: objects with `role` and `content`.
  public func chatTokens(_ messages: [JSON]) throws(SwiftletError) -> [Int32] {
    guard let chatTemplate else {
      throw SwiftletError(
        .unsupported, "\(path) has no chat template", remedy: "Give the model plain text to continue.")
    }
    let text = try chatTemplate.render(
      messages: .array(messages), addGenerationPrompt: true, variables: tokenizer.templateVariables)
    return tokenizer.encode(text)
  }

  /// - Throws: `.invalidConfiguration` when the model was not made for texts of `length` tokens.
  public func checkContext(_ length: Int) throws(SwiftletError) {
    let limit = decoder.spec.maximumPositions
    guard length > limit else { return }
    throw SwiftletError(
      .invalidConfiguration, "max_seq_length is \(length), but \(path) was made for \(limit) tokens at most",
      remedy: "Set max_seq_length to \(limit) or less.")
  }

  /// The token that fills up rows; no loss counts it.
  public var paddingID: Int32 { tokenizer.padToken?.id ?? tokenizer.eosToken?.id ?? 0 }
}

/// What of a model has to do with text.
struct TextParts {
  let tokenizer: Tokenizer
  let chatTemplate: ChatTemplate?
  let stopTokens: Set<Int32>

  init(_ file: ModelFile) throws(SwiftletError) {
    switch file {
    case .gguf(let gguf): try self.init(GGUFTokenizerMetadata(gguf), path: gguf.path)
    case .folder(let folder, _): try self.init(folder: folder.path)
    }
  }

  private init(_ metadata: GGUFTokenizerMetadata, path: String) throws(SwiftletError) {
    guard let model = metadata.model else {
      throw SwiftletError(.malformedFile, "\(path): the metadata lack tokenizer.ggml.model")
    }
    func id(_ value: Int?) -> Int32? { value.flatMap { Int32(exactly: $0) } }
    tokenizer = try Tokenizer(
      gguf: GGUFVocabulary(
        model: model, pre: metadata.pre, tokens: metadata.tokens,
        scores: metadata.scores.isEmpty ? nil : metadata.scores,
        tokenTypes: metadata.tokenTypes.isEmpty
          ? nil : metadata.tokenTypes.map { Int32(truncatingIfNeeded: $0) },
        merges: metadata.merges.isEmpty ? nil : metadata.merges, bosID: id(metadata.bosID),
        eosID: id(metadata.eosID),
        unkID: id(metadata.unknownID), padID: id(metadata.paddingID), eotID: id(metadata.eotID),
        addBOS: metadata.addBOS, addEOS: metadata.addEOS, addSpacePrefix: metadata.addSpacePrefix))
    chatTemplate = try metadata.chatTemplate.map { source throws(SwiftletError) in
      try ChatTemplate(source: source, name: "tokenizer.chat_template")
    }
    stopTokens = Set([tokenizer.eosToken?.id, tokenizer.eotToken?.id].compactMap(\.self))
  }

  private init(folder: String) throws(SwiftletError) {
    tokenizer = try Tokenizer(folder: folder)
    chatTemplate = try ChatTemplate.load(folder: folder)
    var stop = Set([tokenizer.eosToken?.id].compactMap(\.self))
    let path = folder + "/generation_config.json"
    if let bytes = FileManager.default.contents(atPath: path) {
      let settings: JSON
      do { settings = try JSON(parsing: Array(bytes)) } catch {
        throw SwiftletError(error.code, "\(path): \(error.message)", remedy: error.remedy)
      }
      let eos = settings["eos_token_id"]
      stop.formUnion(
        (eos?.array ?? [eos].compactMap(\.self)).compactMap { $0.int.flatMap { Int32(exactly: $0) } })
    }
    stopTokens = stop
  }
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
  public func trainAllWeights() throws(SwiftletError) {
    parameters = try decoder.trainAll(on: backend)
  }

  /// Saves what was trained: a PEFT adapter folder, or a whole model in bfloat16 when all weights were.
  public func save(to folder: String) throws(SwiftletError) {
    if let lora, let parameters {
      try AdapterFolder.save(parameters, lora, baseModel: path, to: folder)
    } else {
      try decoder.save(to: folder, as: .bfloat16, source: file)
    }
  }
}
