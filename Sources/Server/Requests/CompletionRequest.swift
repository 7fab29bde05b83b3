import Swiftlet

/// A request to `/v1/completions`.
struct CompletionRequest {
  enum Prompt {
    case text(String)
    case tokens([Int32])
  }

  let common: CommonFields
  let prompts: [Prompt]
  /// Whether answers begin with their prompt.
  let echoes: Bool
  let format: ResponseFormat
  /// How many of the most probable tokens come with each token; nil when no probabilities are wanted.
  let topLogProbabilities: Int?

  /// OpenAI's default, which is not that of chats.
  private static let maxTokens = 16

  init(_ body: JSON, stopTokens: Set<Int32>) throws(APIError) {
    let fields = try RequestFields(body: body)
    common = try CommonFields(fields, maxTokensKeys: ["max_tokens"], stopTokens: stopTokens)
    prompts = try Self.prompts(fields)
    guard prompts.count * common.count <= CommonFields.Limits.answers else {
      throw .invalid(
        "One request may ask for \(CommonFields.Limits.answers) answers, not \(prompts.count * common.count).",
        param: "prompt")
    }
    echoes = try fields.bool("echo") ?? false
    format = try ResponseFormat(fields)
    topLogProbabilities = try fields.int("logprobs", 0...CommonFields.Limits.topLogProbabilities)
    guard !echoes || topLogProbabilities == nil else {
      throw .invalid("'logprobs' of prompts are not supported: leave out 'echo'.", param: "echo")
    }
    try fields.refuse("best_of", unless: 1, .int(common.count))
    try fields.refuse("suffix", unless: "")
  }

  var maxTokens: Int { common.maxTokens ?? Self.maxTokens }

  /// A text, its tokens, or an array of either.
  private static func prompts(_ fields: RequestFields) throws(APIError) -> [Prompt] {
    guard let value = fields["prompt"] else { throw .invalid("'prompt' is missing.", param: "prompt") }
    if let text = value.string { return [.text(text)] }
    if let tokens = tokens(value) { return [.tokens(tokens)] }
    let items = value.array ?? []
    let prompts = items.compactMap { item -> Prompt? in
      item.string.map { .text($0) } ?? tokens(item).map { .tokens($0) }
    }
    guard !prompts.isEmpty, prompts.count == items.count else {
      throw .invalid(
        "'prompt' must be a string, an array of token ids, or an array of one of these.", param: "prompt")
    }
    return prompts
  }

  private static func tokens(_ value: JSON) -> [Int32]? {
    guard let array = value.array, !array.isEmpty else { return nil }
    let tokens = array.compactMap { $0.int.flatMap { Int32(exactly: $0) } }
    return tokens.count == array.count ? tokens : nil
  }
}
