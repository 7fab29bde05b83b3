import Basics
import Foundation
import Models
import Text

/// What of a model has to do with text: tokenizer, chat template and the tokens that end an answer. For work that
/// needs no weights, it opens in a moment.
public struct LanguageModelText: Sendable {
  public let tokenizer: Tokenizer
  /// nil for a base model that was never taught to chat.
  public var chatTemplate: ChatTemplate?
  /// Tokens that end a text or a turn.
  public let stopTokens: Set<Int32>

  /// - Parameter name: as `LanguageModel` takes it.
  public init(_ name: String) throws(SwiftletError) { try self.init(try ModelFile(named: name)) }

  init(_ file: ModelFile) throws(SwiftletError) {
    switch file {
    case .gguf(let gguf): try self.init(GGUFTokenizerMetadata(gguf), path: gguf.path)
    case .folder(let folder, let config): try self.init(folder: folder.path, config: config)
    }
  }

  /// Uses the chat template that a configuration names: a file, or the template itself.
  public mutating func useChatTemplate(_ text: String) throws(SwiftletError) {
    let isTemplate = text.contains("{{") || text.contains("{%")
    chatTemplate =
      isTemplate
      ? try ChatTemplate(source: text, name: "chat_template") : try ChatTemplate.load(file: text)
  }

  /// What chat templates see of the tokenizer.
  public var templateVariables: JSON.Object { tokenizer.templateVariables }

  /// The token that fills up rows; no loss counts it.
  public var paddingID: Int32 { tokenizer.padToken?.id ?? tokenizer.eosToken?.id ?? 0 }

  /// A conversation as the model takes it, up to where it is to answer.
  ///
  /// - Parameter messages: objects with `role` and `content`.
  public func chatTokens(_ messages: [JSON]) throws(SwiftletError) -> [Int32] {
    guard let chatTemplate else {
      throw SwiftletError(
        .unsupported, "the model has no chat template", remedy: "Give the model plain text to continue.")
    }
    let text = try chatTemplate.render(
      messages: .array(messages), addGenerationPrompt: true, variables: templateVariables)
    return tokenizer.encode(text)
  }
}

// MARK: - Opening

extension LanguageModelText {
  private init(_ metadata: GGUFTokenizerMetadata, path: String) throws(SwiftletError) {
    let vocabulary = try metadata.vocabulary(path: path)
    do {
      tokenizer = try Tokenizer(gguf: vocabulary)
    } catch { throw SwiftletError(error.code, "\(path): \(error.message)", remedy: error.remedy) }
    chatTemplate = try metadata.chatTemplate.map { source throws(SwiftletError) in
      try ChatTemplate(source: source, name: "\(path) (tokenizer.chat_template)")
    }
    stopTokens = Set([tokenizer.eosToken?.id, tokenizer.eotToken?.id].compactMap(\.self))
  }

  private init(folder: String, config: JSON) throws(SwiftletError) {
    do { tokenizer = try Tokenizer(folder: folder) } catch {
      let message = error.message.hasPrefix(folder) ? error.message : "\(folder): \(error.message)"
      throw SwiftletError(error.code, message, remedy: error.remedy)
    }
    chatTemplate = try ChatTemplate.load(folder: folder)
    // What the model generates with goes before what it was configured with, as in transformers.
    let generation = try Self.generationConfig(folder)
    let stop = Self.ids(generation?["eos_token_id"]) ?? Self.ids(config["eos_token_id"]) ?? []
    stopTokens = Set(stop + [tokenizer.eosToken?.id].compactMap(\.self))
  }

  /// nil when there is none.
  private static func generationConfig(_ folder: String) throws(SwiftletError) -> JSON? {
    let path = folder + "/generation_config.json"
    guard let bytes = FileManager.default.contents(atPath: path) else { return nil }
    do { return try JSON(parsing: Array(bytes)) } catch {
      throw SwiftletError(error.code, "\(path): \(error.message)")
    }
  }

  /// An id or a list of them; nil when there is neither.
  private static func ids(_ value: JSON?) -> [Int32]? {
    guard let value, !value.isNull else { return nil }
    return (value.array ?? [value]).compactMap { $0.int.flatMap { Int32(exactly: $0) } }
  }
}
