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
  /// The Jinja source, as it was given.
  public let source: String
  /// Whether the template marks the assistant's text with `{% generation %}` blocks.
  public let marksGeneration: Bool
  private let program: Jinja.Program
  /// What `strftime_now` reads.
  var clock: @Sendable () -> Date = { Date() }
  /// How many steps a rendering may take: see `Jinja.Limits`.
  var stepBudget = Jinja.Limits.steps

  /// Parses a template.
  ///
  /// - Throws: `SwiftletError` with code `.template` (what is no Jinja, with the line) or `.unsupported`
  ///   (`include`, `import`, `extends`: a chat template is one file).
  public init(source: String, name: String = "chat_template") throws(SwiftletError) {
    self.name = name
    self.source = source
    do {
      program = try Jinja.Parser.parse(source)
    } catch {
      throw error.error(in: name, source: Jinja.Lexer(source).source)
    }
    marksGeneration = program.marksGeneration
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
    try run(Self.variables(messages, addGenerationPrompt, tools, variables)).text
  }

  /// The text of a conversation and the UTF-8 byte ranges of it that stand inside `{% generation %}` blocks.
  ///
  /// - Throws: what `render` throws, and `.unsupported` when such a block stands inside a macro or a block
  ///   `set`, where its place in the text is unknown.
  public func renderWithGenerationRanges(
    messages: JSON, addGenerationPrompt: Bool, tools: JSON? = nil, variables: JSON.Object = noVariables
  ) throws(SwiftletError) -> (text: String, ranges: [Range<Int>]) {
    let (text, interpreter) = try run(Self.variables(messages, addGenerationPrompt, tools, variables))
    if let place = interpreter.capturedGeneration {
      throw SwiftletError(
        .unsupported,
        "\(name), line \(place.line): a 'generation' block inside a macro or a block 'set' or 'filter'",
        remedy: "Move the block to where its text is written.")
    }
    return (text, interpreter.generationRanges)
  }

  private func run(
    _ variables: [String: Jinja.Value]
  ) throws(SwiftletError) -> (text: String, interpreter: Jinja.Interpreter) {
    let interpreter = Jinja.Interpreter(program, clock: clock, stepBudget: stepBudget)
    do {
      return (try interpreter.run(variables: variables), interpreter)
    } catch {
      throw error.error(in: name, source: program.source)
    }
  }

  private static func variables(
    _ messages: JSON, _ addGenerationPrompt: Bool, _ tools: JSON?, _ others: JSON.Object
  ) -> [String: Jinja.Value] {
    var variables: [String: Jinja.Value] = ["documents": .null]
    for (name, value) in others { variables[name] = Jinja.Value(value) }
    variables["messages"] = Jinja.Value(withReasoningNames(messages))
    variables["tools"] = tools.map { Jinja.Value($0) } ?? .null
    variables["add_generation_prompt"] = .bool(addGenerationPrompt)
    return variables
  }

  /// Messages whose reasoning goes by every name that templates read: `reasoning_content`, and `thinking`.
  /// Source: transformers 5, `chat_template_utils`.
  private static func withReasoningNames(_ messages: JSON) -> JSON {
    guard case .array(let list) = messages else { return messages }
    return .array(
      list.map { message in
        guard case .object(var members) = message,
          let reasoning = ["reasoning_content", "thinking", "reasoning"].lazy
            .compactMap({ members[$0] }).first(where: { !$0.isNull })
        else { return message }
        if members["thinking"] == nil { members["thinking"] = reasoning }
        members["reasoning_content"] = reasoning
        return .object(members)
      })
  }
}
