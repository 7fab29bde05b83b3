import Basics

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
  /// Taken from the logits of tokens that the answer holds already (OpenAI's API).
  public var presencePenalty: Double
  /// The same, once for each time.
  public var frequencyPenalty: Double
  /// Added to the logits of single tokens.
  public var logitBias: [Int32: Double]
  /// With the token's position it decides every draw.
  public var seed: UInt64

  public init(
    temperature: Double = 0, topK: Int = 0, topP: Double = 1, minP: Double = 0, repetitionPenalty: Double = 1,
    presencePenalty: Double = 0, frequencyPenalty: Double = 0, logitBias: [Int32: Double] = [:],
    seed: UInt64 = 0
  ) {
    self.temperature = temperature
    self.topK = topK
    self.topP = topP
    self.minP = minP
    self.repetitionPenalty = repetitionPenalty
    self.presencePenalty = presencePenalty
    self.frequencyPenalty = frequencyPenalty
    self.logitBias = logitBias
    self.seed = seed
  }

  public static let greedy = SamplingOptions()

  /// - Throws: `.invalidConfiguration` for a value that is out of range.
  func check(vocabulary: Int) throws(SwiftletError) {
    func check(_ holds: Bool, _ name: String, _ value: Any, _ range: String) throws(SwiftletError) {
      guard !holds else { return }
      throw SwiftletError(.invalidConfiguration, "\(name) is \(value); it must be \(range)")
    }
    let penalty = repetitionPenalty
    try check(temperature >= 0 && temperature.isFinite, "temperature", temperature, "0 or greater")
    try check(topK >= 0, "top_k", topK, "0 or greater")
    try check(topP > 0 && topP <= 1, "top_p", topP, "above 0 and at most 1")
    try check((0...1).contains(minP), "min_p", minP, "from 0 to 1")
    try check(penalty > 0 && penalty.isFinite, "repetition_penalty", penalty, "greater than 0")
    try check((-2...2).contains(presencePenalty), "presence_penalty", presencePenalty, "from -2 to 2")
    try check((-2...2).contains(frequencyPenalty), "frequency_penalty", frequencyPenalty, "from -2 to 2")
    for (token, bias) in logitBias {
      try check((0..<Int32(vocabulary)).contains(token), "logit_bias's token", token, "below \(vocabulary)")
      try check((-100...100).contains(bias), "logit_bias", bias, "from -100 to 100")
    }
  }

  /// Whether single logits are changed before tokens are chosen.
  var editsLogits: Bool {
    repetitionPenalty != 1 || presencePenalty != 0 || frequencyPenalty != 0 || !logitBias.isEmpty
  }
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
  /// The most probable tokens under the model itself, as many as asked for, falling.
  public let alternatives: [TokenProbability]
  /// Why the answer ended; with its last token only.
  public let finishReason: FinishReason?
  /// What the answer took, up to this token.
  public let statistics: GenerationStatistics
}

/// A token that might have come.
public struct TokenProbability: Sendable, Equatable {
  public let id: Int32
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
