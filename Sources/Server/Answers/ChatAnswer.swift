import Swiftlet

/// Answers to `/v1/chat/completions`.
struct ChatAnswer: AnswerFormat {
  private let header: AnswerHeader
  private let includesUsage: Bool
  private var usage: Usage
  private var choices: [Choice]

  init(_ request: ChatRequest, header: AnswerHeader, promptTokens: Int, tokenizer: Tokenizer) {
    self.header = header
    includesUsage = request.common.includesUsage
    usage = Usage(promptTokens: promptTokens, answers: request.common.count)
    let choice = Choice(
      parser: request.tools.map { ToolCallParser(tools: $0) },
      probabilities: request.topLogProbabilities.map { _ in TokenProbabilities(tokenizer: tokenizer) })
    choices = Array(repeating: choice, count: request.common.count)
  }

  mutating func take(_ element: AnswerStream.Element) -> [JSON] {
    usage.take(element, isFirst: element.answer == 0)
    let (delta, probabilities) = choices[element.answer].take(element.token)
    let reason = choices[element.answer].finishReason
    var chunks: [JSON] = []
    if !delta.isEmpty || probabilities != nil {
      chunks.append(chunk(element.answer, delta, probabilities: probabilities))
    }
    if let reason { chunks.append(chunk(element.answer, [:], finishReason: reason)) }
    return chunks
  }

  var opening: [JSON] { choices.indices.map { chunk($0, ["role": "assistant", "content": ""]) } }

  var closing: [JSON] {
    includesUsage ? [header.object(Self.chunkKind, choices: [], usage: usage.json)] : []
  }

  var whole: JSON {
    header.object("chat.completion", choices: choices.enumerated().map { $1.json(index: $0) }, usage: usage.json)
  }

  private static let chunkKind = "chat.completion.chunk"

  private func chunk(
    _ index: Int, _ delta: JSON.Object, probabilities: JSON? = nil, finishReason: String? = nil
  ) -> JSON {
    let choice: JSON = [
      "index": .int(index), "delta": .object(delta),
      "logprobs": probabilities.map { ["content": [$0]] } ?? nil,
      "finish_reason": finishReason.map { .string($0) } ?? nil,
    ]
    return header.object(Self.chunkKind, choices: [choice], usage: includesUsage ? .null : nil)
  }
}

extension ChatAnswer {
  /// One of the answers.
  private struct Choice: Sendable {
    var parser: ToolCallParser?
    let probabilities: TokenProbabilities?
    var content = ""
    var calls: [JSON] = []
    var tokens: [JSON] = []
    var finishReason: String?

    /// - Returns: what the token adds to the message, and its probabilities when they are wanted.
    mutating func take(_ token: GeneratedToken) -> (delta: JSON.Object, probabilities: JSON?) {
      var pieces = parser?.append(token.text) ?? [.text(token.text)]
      if token.finishReason != nil { pieces += parser?.finish() ?? [] }
      let delta = delta(pieces)
      if let reason = token.finishReason { finishReason = calls.isEmpty ? reason.name : "tool_calls" }
      let entry = token.isEnd ? nil : probabilities?.chatEntry(token)
      if let entry { tokens.append(entry) }
      return (delta, entry)
    }

    private mutating func delta(_ pieces: [ToolCallParser.Piece]) -> JSON.Object {
      var (text, new) = ("", [JSON]())
      for piece in pieces {
        switch piece {
        case .text(let piece): text += piece
        case .call(let call):
          let function: JSON = ["name": .string(call.name), "arguments": .string(call.arguments)]
          let members: JSON.Object = [
            "id": .string(randomID("call_")), "type": "function", "function": function,
          ]
          calls.append(.object(members))
          var indexed: JSON.Object = ["index": .int(calls.count - 1)]
          indexed.merge(members)
          new.append(.object(indexed))
        }
      }
      content += text
      var delta: JSON.Object = [:]
      if !text.isEmpty { delta["content"] = .string(text) }
      if !new.isEmpty { delta["tool_calls"] = .array(new) }
      return delta
    }

    func json(index: Int) -> JSON {
      var message: JSON.Object = [
        "role": "assistant", "content": content.isEmpty && !calls.isEmpty ? nil : .string(content),
      ]
      if !calls.isEmpty { message["tool_calls"] = .array(calls) }
      return [
        "index": .int(index), "message": .object(message),
        "logprobs": probabilities.map { _ in ["content": .array(tokens)] } ?? nil,
        "finish_reason": finishReason.map { .string($0) } ?? nil,
      ]
    }
  }
}
