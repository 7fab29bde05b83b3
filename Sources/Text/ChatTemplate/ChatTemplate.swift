import Basics
import Foundation

/// A chat template: the Jinja program of a model folder that writes a conversation as the text the model
/// was trained on.
///
/// The environment is the one transformers gives its templates (`trim_blocks`, `lstrip_blocks`, `break` and
/// `continue`, `raise_exception`, `strftime_now`, a `tojson` that does not escape HTML, and the
/// `{% generation %}` blocks that mark what the assistant wrote).
public struct ChatTemplate: Sendable {
  /// The default of `variables`: none beyond what the parameters give.
  public static let noVariables: JSON.Object = [:]

  /// What error messages call the template.
  public let name: String
  /// Whether the template marks the assistant's text with `{% generation %}` blocks.
  public let marksGeneration: Bool
  let source: String
  /// What `strftime_now` reads.
  var clock: @Sendable () -> Date = { Date() }

  /// Parses a template.
  ///
  /// - Throws: `SwiftletError` with code `.template` (what is no Jinja, with the line) or `.unsupported`
  ///   (`include`, `import`, `extends`: a chat template is one file).
  public init(source: String, name: String = "chat_template") throws(SwiftletError) {
    self.name = name
    self.source = source
    marksGeneration = false
  }

  /// The text of a conversation.
  ///
  /// - Parameters:
  ///   - messages: an array of objects with `role`, `content` and whatever else the template knows.
  ///   - addGenerationPrompt: whether to end with the opening of the assistant's next turn.
  ///   - tools: an array of JSON schemas of functions; nil is Jinja's `none`.
  ///   - variables: whatever else the template may see: `bos_token`, `eos_token`, `documents`,
  ///     `enable_thinking`...
  /// - Throws: `SwiftletError` with code `.template`, naming line and expression.
  public func render(
    messages: JSON, addGenerationPrompt: Bool, tools: JSON? = nil, variables: JSON.Object = noVariables
  ) throws(SwiftletError) -> String {
    try renderWithGenerationRanges(
      messages: messages, addGenerationPrompt: addGenerationPrompt, tools: tools, variables: variables
    ).text
  }

  /// The text of a conversation and the UTF-8 byte ranges of it that stand inside `{% generation %}` blocks.
  public func renderWithGenerationRanges(
    messages: JSON, addGenerationPrompt: Bool, tools: JSON? = nil, variables: JSON.Object = noVariables
  ) throws(SwiftletError) -> (text: String, ranges: [Range<Int>]) {
    throw SwiftletError(.unsupported, "\(name): chat templates are being written")
  }

  /// The chat template of a model folder, or nil when it has none.
  ///
  /// - Parameter named: which of several templates (`tool_use`, `rag`...); nil is the default one.
  public static func load(folder: String, named: String? = nil) throws(SwiftletError) -> ChatTemplate? {
    throw SwiftletError(.unsupported, "\(folder): chat templates are being written")
  }
}
