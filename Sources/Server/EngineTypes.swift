import Swiftlet

// Stands in for what the engine brings; goes when it is there.

public struct SamplingOptions: Sendable, Equatable {
  public var temperature = 0.0
  public var topK = 0
  public var topP = 1.0
  public var minP = 0.0
  public var repetitionPenalty = 1.0
  public var presencePenalty = 0.0
  public var frequencyPenalty = 0.0
  public var logitBias: [Int32: Double] = [:]
  public var seed: UInt64 = 0
}

public struct GenerationOptions: Sendable, Equatable {
  public var sampling = SamplingOptions()
  public var maxNewTokens = 256
  public var stopTokens: Set<Int32>?
  public var stopStrings: [String] = []
  public var skipsSpecialTokens = true
  public init() {}
}

public struct GeneratedToken: Sendable, Equatable {
  public let id: Int32
  public let text: String
  public let logProbability: Float
  public let alternatives: [TokenProbability]
  public let finishReason: FinishReason?
  public let statistics: GenerationStatistics
}

public struct TokenProbability: Sendable, Equatable {
  public let id: Int32
  public let logProbability: Float
}

public struct GenerationStatistics: Sendable, Equatable {
  public internal(set) var promptTokens = 0
  public internal(set) var reusedTokens = 0
  public internal(set) var newTokens = 0
}

public struct GenerationRequest: Sendable {
  public var prompt: [Int32]
  public var options: GenerationOptions
  public var adapter: String?
  public var constraint: OutputConstraint?
  public var topLogProbabilities: Int

  public init(
    _ prompt: [Int32], _ options: GenerationOptions = GenerationOptions(), adapter: String? = nil,
    constraint: OutputConstraint? = nil, topLogProbabilities: Int = 0
  ) {
    self.prompt = prompt
    self.options = options
    self.adapter = adapter
    self.constraint = constraint
    self.topLogProbabilities = topLogProbabilities
  }
}

public final class TokenVocabulary: Sendable {
  public let size: Int
  public init(_ tokenizer: Tokenizer, size: Int) { self.size = size }
}

public final class OutputConstraint: Sendable {
  public init(jsonSchema: JSON, vocabulary: TokenVocabulary) throws(SwiftletError) {
    guard jsonSchema.object != nil || jsonSchema.bool != nil else {
      throw SwiftletError(.invalidConfiguration, "the schema is no object")
    }
  }
  public static func anyObject(vocabulary: TokenVocabulary) throws(SwiftletError) -> OutputConstraint {
    try OutputConstraint(jsonSchema: ["type": "object"], vocabulary: vocabulary)
  }
}

public struct EngineStatistics: Sendable {
  public var running = 0
  public var waiting = 0
  public var blocksUsed = 0
  public var blocks = 0
  public var promptTokens = 0
  public var generatedTokens = 0
  public var reusedTokens = 0
  public var preemptions = 0
}
