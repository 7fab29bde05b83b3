import Swiftlet

/// A request to `/v1/chat/completions`.
struct ChatRequest {
  let common: CommonFields
  /// As chat templates take them.
  let messages: JSON
  /// As chat templates take them; nil when there are none, or the model is to answer without.
  let tools: JSON?
  let format: ResponseFormat
  /// How many of the most probable tokens come with each token; nil when no probabilities are wanted.
  let topLogProbabilities: Int?
  /// What else the template sees, such as `enable_thinking`.
  let templateVariables: JSON.Object

  init(_ body: JSON, stopTokens: Set<Int32>) throws(APIError) {
    let fields = try RequestFields(body: body)
    common = try CommonFields(
      fields, maxTokensKeys: ["max_completion_tokens", "max_tokens"], stopTokens: stopTokens)
    messages = try ChatMessages.templateMessages(fields)
    tools = try Self.tools(fields)
    format = try ResponseFormat(fields)
    let top = try fields.int("top_logprobs", 0...CommonFields.Limits.topLogProbabilities)
    let wantsProbabilities = try fields.bool("logprobs") ?? false
    guard top == nil || wantsProbabilities else {
      throw .invalid("'top_logprobs' goes with 'logprobs': true.", param: "top_logprobs")
    }
    topLogProbabilities = wantsProbabilities ? top ?? 0 : nil
    templateVariables = try fields.object("chat_template_kwargs")?.members ?? [:]
    for key in ["audio", "functions", "function_call"] { try fields.refuse(key) }
  }

  private static func tools(_ fields: RequestFields) throws(APIError) -> JSON? {
    let tools = try fields.array("tools") ?? []
    for (index, tool) in tools.enumerated() {
      guard tool["type"]?.string == "function", tool["function"]?["name"]?.string != nil else {
        throw .invalid("'tools[\(index)]' must be a function with a name.", param: "tools[\(index)]")
      }
    }
    switch fields["tool_choice"] {
    case nil, "auto": return tools.isEmpty ? nil : .array(tools)
    case "none": return nil
    case let choice?:
      throw .invalid(
        "'tool_choice' is \(choice.excerpt); this server knows 'auto' and 'none'.", param: "tool_choice",
        code: "unsupported_parameter")
    }
  }
}
