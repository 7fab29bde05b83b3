import Swiftlet

/// What requests for chats and for completions have in common.
struct CommonFields {
  /// The model itself, or one of its adapters; nil for the model.
  let model: String?
  /// Answers to each prompt.
  let count: Int
  let streams: Bool
  let includesUsage: Bool
  /// How answers are made, but for their length.
  let options: GenerationOptions
  /// Most tokens of an answer; nil for what the context leaves.
  let maxTokens: Int?

  /// What one request may ask for.
  enum Limits {
    static let answers = 128
    static let stopStrings = 32
    static let topLogProbabilities = 20
  }

  /// - Parameters:
  ///   - maxTokensKeys: the names under which the length of answers goes, the one that counts first.
  ///   - stopTokens: the model's own.
  init(_ fields: RequestFields, maxTokensKeys: [String], stopTokens: Set<Int32>) throws(APIError) {
    model = try fields.string("model")
    count = try fields.int("n", 1...Limits.answers) ?? 1
    streams = try fields.bool("stream") ?? false
    includesUsage = try fields.object("stream_options")?.bool("include_usage") ?? false
    var maxTokens: Int?
    for key in maxTokensKeys where maxTokens == nil { maxTokens = try fields.int(key, 1...Int.max) }
    self.maxTokens = maxTokens
    try fields.refuse("min_tokens", unless: 0)
    options = try Self.options(fields, stopTokens: stopTokens)
  }

  private static func options(
    _ fields: RequestFields, stopTokens: Set<Int32>
  ) throws(APIError) -> GenerationOptions {
    var options = GenerationOptions()
    options.sampling = try sampling(fields)
    options.stopStrings = try fields.strings("stop") ?? []
    guard options.stopStrings.count <= Limits.stopStrings, !options.stopStrings.contains("") else {
      throw .invalid("'stop' takes up to \(Limits.stopStrings) strings, none of them empty.", param: "stop")
    }
    let ignoresEnd = try fields.bool("ignore_eos") ?? false
    options.stopTokens = ignoresEnd ? [] : stopTokens
    for value in try fields.array("stop_token_ids") ?? [] {
      guard let id = value.int.flatMap({ Int32(exactly: $0) }) else {
        throw .invalid("'stop_token_ids' holds \(value.excerpt), which is no token.", param: "stop_token_ids")
      }
      options.stopTokens?.insert(id)
    }
    options.skipsSpecialTokens = try fields.bool("skip_special_tokens") ?? true
    return options
  }

  /// Names and ranges are OpenAI's; `top_k`, `min_p` and `repetition_penalty` are vLLM's.
  private static func sampling(_ fields: RequestFields) throws(APIError) -> SamplingOptions {
    var sampling = SamplingOptions()
    sampling.temperature = try fields.number("temperature", 0...2) ?? 1
    sampling.topP = try fields.number("top_p", 0...1, aboveLower: true) ?? 1
    // vLLM writes all as -1, too.
    sampling.topK = max(0, try fields.int("top_k", -1...Int(Int32.max)) ?? 0)
    sampling.minP = try fields.number("min_p", 0...1) ?? 0
    sampling.repetitionPenalty =
      try fields.number("repetition_penalty", 0...Double.infinity, aboveLower: true) ?? 1
    sampling.presencePenalty = try fields.number("presence_penalty", -2...2) ?? 0
    sampling.frequencyPenalty = try fields.number("frequency_penalty", -2...2) ?? 0
    sampling.logitBias = try logitBias(fields)
    sampling.seed =
      try fields.int("seed", Int.min...Int.max).map { UInt64(bitPattern: Int64($0)) }
      ?? UInt64.random(in: 0...UInt64.max)
    return sampling
  }

  private static func logitBias(_ fields: RequestFields) throws(APIError) -> [Int32: Double] {
    var biases: [Int32: Double] = [:]
    guard let object = try fields.object("logit_bias") else { return biases }
    for key in object.members.keys {
      guard let id = Int32(key), id >= 0 else {
        throw .invalid("'logit_bias' has the key '\(key)', which is no token.", param: "logit_bias")
      }
      biases[id] = try object.number(key, -100...100)
    }
    return biases
  }
}
