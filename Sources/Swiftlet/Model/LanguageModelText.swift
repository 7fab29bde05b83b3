import Basics
import Models
import Text

/// A model's tokenizer and chat template without its weights: for work on text alone.
public struct LanguageModelText: Sendable {
  public let tokenizer: Tokenizer
  public let chatTemplate: ChatTemplate?

  /// - Parameter name: as `LanguageModel` takes it.
  public init(_ name: String) throws(SwiftletError) {
    let parts = try TextParts(ModelFile(path: ModelCache.path(of: name)))
    tokenizer = parts.tokenizer
    chatTemplate = parts.chatTemplate
  }

  /// What chat templates see of the tokenizer.
  public var templateVariables: JSON.Object { tokenizer.templateVariables }
}

extension Tokenizer {
  /// What chat templates see of a tokenizer: its begin- and end-of-text tokens.
  var templateVariables: JSON.Object {
    var variables: JSON.Object = [:]
    for (name, token) in [("bos_token", bosToken), ("eos_token", eosToken)] {
      if let token { variables[name] = .string(token.text) }
    }
    return variables
  }
}
