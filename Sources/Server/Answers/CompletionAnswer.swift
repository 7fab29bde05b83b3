import Swiftlet

/// Answers to `/v1/completions`: `count` to each prompt, prompt after prompt.
struct CompletionAnswer: AnswerFormat {
  private let header: AnswerHeader
  private let includesUsage: Bool
  private let count: Int
  private var usage: Usage
  private var choices: [Choice]

  /// - Parameters:
  ///   - prompts: what answers begin with, one for each prompt: empty ones unless prompts are echoed.
  init(
    _ request: CompletionRequest, header: AnswerHeader, promptTokens: Int, prompts: [String],
    tokenizer: Tokenizer
  ) {
    self.header = header
    includesUsage = request.common.includesUsage
    count = request.common.count
    usage = Usage(promptTokens: promptTokens, answers: prompts.count * count)
    let probabilities = request.topLogProbabilities.map { _ in TokenProbabilities(tokenizer: tokenizer) }
    choices = prompts.flatMap { prompt in
      Array(repeating: Choice(text: prompt, probabilities: probabilities), count: request.common.count)
    }
  }

  mutating func take(_ element: AnswerStream.Element) -> [JSON] {
    usage.take(element, isFirst: element.answer % count == 0)
    let token = element.token
    let probabilities = choices[element.answer].take(token)
    guard !token.text.isEmpty || token.finishReason != nil || probabilities != nil else { return [] }
    return [chunk(element.answer, token.text, probabilities, token.finishReason)]
  }

  var opening: [JSON] {
    choices.enumerated().filter { !$1.text.isEmpty }.map { chunk($0, $1.text, nil, nil) }
  }

  var closing: [JSON] {
    includesUsage ? [header.object(Self.kind, choices: [], usage: usage.json)] : []
  }

  var whole: JSON {
    let choices = choices.enumerated().map { index, choice in
      Self.choice(index, choice.text, choice.taken?.json, choice.finishReason)
    }
    return header.object(Self.kind, choices: choices, usage: usage.json)
  }

  private static let kind = "text_completion"

  private func chunk(_ index: Int, _ text: String, _ probabilities: JSON?, _ reason: FinishReason?) -> JSON {
    header.object(
      Self.kind, choices: [Self.choice(index, text, probabilities, reason)],
      usage: includesUsage ? .null : nil)
  }

  private static func choice(
    _ index: Int, _ text: String, _ probabilities: JSON?, _ reason: FinishReason?
  ) -> JSON {
    [
      "index": .int(index), "text": .string(text), "logprobs": probabilities ?? nil,
      "finish_reason": reason.map { .string($0.name) } ?? nil,
    ]
  }
}

extension CompletionAnswer {
  /// One of the answers.
  private struct Choice: Sendable {
    var text: String
    let probabilities: TokenProbabilities?
    var taken: CompletionProbabilities?
    var finishReason: FinishReason?

    init(text: String, probabilities: TokenProbabilities?) {
      self.text = text
      self.probabilities = probabilities
      taken = probabilities.map { CompletionProbabilities($0) }
    }

    /// - Returns: the token's own probabilities, when they are wanted.
    mutating func take(_ token: GeneratedToken) -> JSON? {
      let offset = text.count
      text += token.text
      finishReason = token.finishReason
      guard let probabilities, !token.isEnd else { return nil }
      taken?.take(token, offset: offset)
      var single = CompletionProbabilities(probabilities)
      single.take(token, offset: offset)
      return single.json
    }
  }
}
