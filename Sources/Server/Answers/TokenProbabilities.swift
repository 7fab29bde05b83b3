import Swiftlet

/// Tokens and their log-probabilities as OpenAI's interfaces show them.
struct TokenProbabilities: Sendable {
  let tokenizer: Tokenizer

  /// A member of `logprobs.content` of a chat.
  func chatEntry(_ token: GeneratedToken) -> JSON {
    var entry = chatEntry(token.id, token.logProbability)
    entry["top_logprobs"] = .array(
      token.alternatives.map { .object(chatEntry($0.id, $0.logProbability)) })
    return .object(entry)
  }

  private func chatEntry(_ id: Int32, _ logProbability: Float) -> JSON.Object {
    [
      "token": .string(text(id)), "logprob": .double(Self.finite(logProbability)),
      "bytes": .array(bytes(id).map { .int(Int($0)) }),
    ]
  }

  /// A token's bytes alone: part of a character has replacement characters.
  func text(_ id: Int32) -> String { String(decoding: bytes(id), as: UTF8.self) }

  private func bytes(_ id: Int32) -> [UInt8] {
    let bytes = tokenizer.bytes(of: id)
    return bytes.isEmpty ? Array((tokenizer.token(of: id) ?? "").utf8) : bytes
  }

  /// What cannot come has a probability of zero; JSON has no infinity, and OpenAI's number for it is this.
  static func finite(_ logProbability: Float) -> Double { Double(max(logProbability, -9999)) }
}

/// `logprobs` of a completion: four lists as long as the answer.
struct CompletionProbabilities: Sendable {
  private let probabilities: TokenProbabilities
  private var tokens: [JSON] = []
  private var logProbabilities: [JSON] = []
  private var alternatives: [JSON] = []
  private var offsets: [JSON] = []

  init(_ probabilities: TokenProbabilities) { self.probabilities = probabilities }

  /// - Parameter offset: characters of the answer before the token.
  mutating func take(_ token: GeneratedToken, offset: Int) {
    tokens.append(.string(probabilities.text(token.id)))
    logProbabilities.append(.double(TokenProbabilities.finite(token.logProbability)))
    var top: JSON.Object = [:]
    for alternative in token.alternatives {
      // Different tokens can look the same; the more probable one counts.
      let text = probabilities.text(alternative.id)
      if top[text] == nil { top[text] = .double(TokenProbabilities.finite(alternative.logProbability)) }
    }
    alternatives.append(.object(top))
    offsets.append(.int(offset))
  }

  var json: JSON {
    [
      "tokens": .array(tokens), "token_logprobs": .array(logProbabilities), "top_logprobs": .array(alternatives),
      "text_offset": .array(offsets),
    ]
  }
}
