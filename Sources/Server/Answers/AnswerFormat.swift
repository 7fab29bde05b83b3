import Swiftlet

/// How answers are told to the client: whole, or piece by piece.
protocol AnswerFormat: Sendable {
  /// Takes in a token.
  ///
  /// - Returns: what there is to tell of it when streaming.
  mutating func take(_ element: AnswerStream.Element) -> [JSON]
  /// Before the first token, when streaming.
  var opening: [JSON] { get }
  /// After the last one, when streaming.
  var closing: [JSON] { get }
  /// Everything, when not streaming.
  var whole: JSON { get }
}

/// What every response and every piece of one begins with.
struct AnswerHeader: Sendable {
  let id: String
  let created: Int
  let model: String

  func object(_ kind: String, choices: [JSON], usage: JSON?) -> JSON {
    var object: JSON.Object = [
      "id": .string(id), "object": .string(kind), "created": .int(created), "model": .string(model),
      "choices": .array(choices),
    ]
    object["usage"] = usage
    return .object(object)
  }
}

/// Tokens, counted as OpenAI bills them.
struct Usage: Sendable {
  let promptTokens: Int
  private var cachedTokens: Int = 0
  private var completionTokens: [Int]

  init(promptTokens: Int, answers: Int) {
    self.promptTokens = promptTokens
    completionTokens = Array(repeating: 0, count: answers)
  }

  /// - Parameter isFirst: whether the answer is the first to its prompt, whose reuse counts.
  mutating func take(_ element: AnswerStream.Element, isFirst: Bool) {
    if isFirst, completionTokens[element.answer] == 0 { cachedTokens += element.token.statistics.reusedTokens }
    completionTokens[element.answer] += 1
  }

  var json: JSON {
    let completion = completionTokens.reduce(0, +)
    return [
      "prompt_tokens": .int(promptTokens), "completion_tokens": .int(completion),
      "total_tokens": .int(promptTokens + completion),
      "prompt_tokens_details": ["cached_tokens": .int(cachedTokens)],
    ]
  }
}

extension FinishReason {
  /// OpenAI's name.
  var name: String {
    switch self {
    case .stopToken, .stopString: "stop"
    case .maxNewTokens, .contextLength: "length"
    }
  }
}

extension GeneratedToken {
  /// Whether the token only ends the answer, and is not told of.
  var isEnd: Bool { if case .stopToken = finishReason { true } else { false } }
}

/// A name nobody guesses: `prefix` and 24 hexadecimal digits.
func randomID(_ prefix: String) -> String {
  let digits = (0..<24).map { _ in String(UInt8.random(in: 0..<16), radix: 16) }
  return prefix + digits.joined()
}
