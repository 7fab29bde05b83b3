import Basics

/// Turns a row's columns into text and marks what the loss counts.
struct RowRenderer: Sendable {
  private let format: RowFormat
  private let responsesOnly: Bool
  private let systemPrompt: String?
  private let marker: ResponseMarker?

  /// - Throws: `.invalidConfiguration` for a chat format without a chat template.
  init(
    format: RowFormat, tokenizer: Tokenizer, chatTemplate: ChatTemplate?, options: DatasetOptions
  ) throws(SwiftletError) {
    self.format = format
    responsesOnly = options.responsesOnly
    systemPrompt = options.systemPrompt
    marker = chatTemplate.map {
      ResponseMarker(template: $0, tokenizer: tokenizer, variables: options.templateVariables)
    }
    switch format {
    case .messages(let column), .shareGPT(let column):
      if marker == nil {
        throw SwiftletError(
          .invalidConfiguration, "the column \"\(column)\" holds chats, but the model has no chat template",
          remedy: "Give a chat template, or train the instruction-tuned variant of the model.")
      }
    default: break
    }
  }

  /// The text of a row; nil when it holds nothing to learn from.
  ///
  /// - Throws: `.invalidData` when the row lacks a column or holds something else there, `.template`.
  func render(_ row: JSON.Object) throws(SwiftletError) -> MarkedText? {
    switch format {
    case .messages(let column): try chat(try Conversation(messages: column, of: row))
    case .shareGPT(let column): try chat(try Conversation(shareGPT: column, of: row))
    case .alpaca: try alpaca(row)
    case .promptCompletion(let prompt, let completion):
      try pair(try row.value(of: prompt), try row.value(of: completion))
    case .text(let column): plain(try row.text(of: column), response: 0)
    case .template(let template): try template.fill(row).flatMap { plain($0.text, response: $0.response) }
    }
  }

  private func chat(_ conversation: Conversation) throws(SwiftletError) -> MarkedText? {
    guard conversation.hasResponse, let marker else { return nil }
    var conversation = conversation
    if let systemPrompt { conversation.addSystemPrompt(systemPrompt) }
    return try marker.mark(conversation, responsesOnly: responsesOnly)
  }

  private func pair(_ prompt: JSON, _ completion: JSON) throws(SwiftletError) -> MarkedText? {
    if marker != nil { return try chat(try Conversation(prompt: prompt, completion: completion)) }
    guard prompt.array == nil, completion.array == nil else {
      throw SwiftletError(
        .invalidConfiguration, "the prompts are chats, but the model has no chat template",
        remedy: "Give a chat template, or train the instruction-tuned variant of the model.")
    }
    let (question, answer) = (prompt.plainText, completion.plainText)
    return answer.isEmpty ? nil : plain(question + answer, response: question.utf8.count)
  }

  /// A chat where there is a template, otherwise the text of the Stanford Alpaca project, which many models know.
  private func alpaca(_ row: JSON.Object) throws(SwiftletError) -> MarkedText? {
    let instruction = try row.text(of: "instruction")
    let input = row["input"] == nil ? "" : try row.text(of: "input")
    let output = try row.text(of: "output")
    if output.isEmpty { return nil }
    if marker != nil {
      let question = input.isEmpty ? instruction : "\(instruction)\n\n\(input)"
      return try chat(
        try Conversation(
          prompt: .string(question), completion: .string(output), system: row["system"]?.string))
    }
    let prompt =
      input.isEmpty
      ? """
      Below is an instruction that describes a task. Write a response that appropriately completes the request.

      ### Instruction:
      \(instruction)

      ### Response:

      """
      : """
      Below is an instruction that describes a task, paired with an input that provides further context. \
      Write a response that appropriately completes the request.

      ### Instruction:
      \(instruction)

      ### Input:
      \(input)

      ### Response:

      """
    return plain(prompt + output, response: prompt.utf8.count)
  }

  /// A text whose response begins at byte `response`; nil for an empty one.
  private func plain(_ text: String, response: Int) -> MarkedText? {
    let start = responsesOnly ? response : 0
    return text.isEmpty ? nil : MarkedText(text: text, trained: [start..<text.utf8.count], isChat: false)
  }
}
