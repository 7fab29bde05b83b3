/// How the next token is chosen. Names and meanings are those of Hugging Face's generation configuration.
public struct SamplingOptions: Sendable, Equatable {
  /// Logits are divided by it; 0 takes the most probable token always.
  public var temperature: Double
  /// Only so many of the most probable tokens; 0: all.
  public var topK: Int
  /// Only the most probable tokens that together reach this probability (Holtzman et al., arXiv:1904.09751); 1: all.
  public var topP: Double
  /// Only tokens with at least this part of the most probable one's probability (arXiv:2407.01082); 0: all.
  public var minP: Double
  /// Divides the positive logits of tokens that occurred before, prompt included, and multiplies the negative ones
  /// (Keskar et al., arXiv:1909.05858, section 4.1); 1: none.
  public var repetitionPenalty: Double
  /// With the token's position it decides every draw.
  public var seed: UInt64

  public init(
    temperature: Double = 0, topK: Int = 0, topP: Double = 1, minP: Double = 0, repetitionPenalty: Double = 1,
    seed: UInt64 = 0
  ) {
    self.temperature = temperature
    self.topK = topK
    self.topP = topP
    self.minP = minP
    self.repetitionPenalty = repetitionPenalty
    self.seed = seed
  }

  public static let greedy = SamplingOptions()
}

/// What an answer is made by and where it ends.
public struct GenerationOptions: Sendable, Equatable {
  public var sampling: SamplingOptions
  public var maxNewTokens: Int
  /// Tokens that end the answer (`eos_token_id`); nil: the tokenizer's end of text and end of turn.
  public var stopTokens: Set<Int32>?
  /// Texts that end the answer and are left out of it.
  public var stopStrings: [String]
  /// Whether special tokens are left out of the text.
  public var skipsSpecialTokens: Bool

  public init(
    sampling: SamplingOptions = .greedy, maxNewTokens: Int = 256, stopTokens: Set<Int32>? = nil,
    stopStrings: [String] = [], skipsSpecialTokens: Bool = true
  ) {
    self.sampling = sampling
    self.maxNewTokens = maxNewTokens
    self.stopTokens = stopTokens
    self.stopStrings = stopStrings
    self.skipsSpecialTokens = skipsSpecialTokens
  }
}

/// Why an answer ended.
public enum FinishReason: Sendable, Equatable {
  /// The model ended it.
  case stopToken(Int32)
  case stopString(String)
  case maxNewTokens
  /// The model's context is full.
  case contextLength
}

/// One step of an answer.
public struct GeneratedToken: Sendable, Equatable {
  public let id: Int32
  /// The text that this token completes, whole characters only: often the token's own, empty while a character or
  /// a possible stop string is unfinished. All tokens' texts together are the answer.
  public let text: String
  /// Natural logarithm of the token's probability under the model itself, whatever the sampling options.
  public let logProbability: Float
}

/// What an answer took so far.
public struct GenerationStatistics: Sendable, Equatable {
  public internal(set) var promptTokens = 0
  /// Of the prompt, tokens whose keys and values were there from before.
  public internal(set) var reusedTokens = 0
  public internal(set) var newTokens = 0
  /// From the prompt to the first token.
  public internal(set) var prefillSeconds = 0.0
  /// For all tokens after the first.
  public internal(set) var decodeSeconds = 0.0

  /// nil before the second token.
  public var decodeTokensPerSecond: Double? {
    newTokens > 1 ? Double(newTokens - 1) / decodeSeconds : nil
  }
}
