import Basics
import Text

/// One answer, made token by token as it is asked for. Made by `Generator.generate`.
///
/// A value: a copy goes on from where it was taken.
public struct Generation {
  /// The prompt and the answer so far: with the next turn appended, the prompt that reuses all of it.
  public private(set) var tokens: [Int32]
  /// Set with the last token.
  public private(set) var finishReason: FinishReason?
  public private(set) var statistics = GenerationStatistics()

  private let generator: Generator
  private let sampler: Sampler
  private let maxNewTokens: Int
  private let stopTokens: Set<Int32>
  private let stopStrings: [String]
  private var decoder: StreamingDecoder?
  private var stops: StopStrings

  init(
    of generator: Generator, _ prompt: [Int32], _ options: GenerationOptions
  ) throws(SwiftletError) {
    guard options.maxNewTokens > 0 else {
      throw SwiftletError(
        .invalidConfiguration, "max_new_tokens is \(options.maxNewTokens); it must be at least 1")
    }
    guard !options.stopStrings.contains("") else {
      throw SwiftletError(.invalidConfiguration, "a stop string is empty")
    }
    let tokenizer = generator.tokenizer
    guard options.stopStrings.isEmpty || tokenizer != nil else {
      throw SwiftletError(.invalidConfiguration, "stop strings need a tokenizer")
    }
    self.generator = generator
    tokens = prompt
    sampler = try Sampler(options.sampling)
    maxNewTokens = options.maxNewTokens
    stopTokens =
      options.stopTokens ?? Set([tokenizer?.eosToken?.id, tokenizer?.eotToken?.id].compactMap(\.self))
    stopStrings = options.stopStrings
    decoder = tokenizer.map { StreamingDecoder($0, skipSpecialTokens: options.skipsSpecialTokens) }
    stops = StopStrings(options.stopStrings)
    statistics.promptTokens = prompt.count
  }

  /// The next token; nil after the last. The token that ends an answer comes too, without its own text.
  ///
  /// - Throws: `.invalidData` when the model computes numbers that are not finite; `.outOfMemory`.
  public mutating func next() throws(SwiftletError) -> GeneratedToken? {
    guard finishReason == nil else { return nil }
    let start = ContinuousClock.now
    let isFirst = statistics.newTokens == 0
    if isFirst { statistics.reusedTokens = generator.reusable(tokens) }

    let logits = try generator.logits(after: tokens)
    let logSumExp = logits.logSumExp
    guard logSumExp.isFinite else {
      throw SwiftletError(
        .invalidData, "the model's logits after \(tokens.count) tokens are not finite",
        remedy: "Its weights, or those of its adapter, hold such values: the training may have diverged.")
    }
    let id = sampler.sample(logits, after: tokens)
    tokens.append(id)
    statistics.newTokens += 1
    let text = text(completedBy: id)

    let seconds = (ContinuousClock.now - start) / .seconds(1)
    if isFirst { statistics.prefillSeconds = seconds } else { statistics.decodeSeconds += seconds }
    return GeneratedToken(id: id, text: text, logProbability: logits[Int(id)] - logSumExp)
  }

  /// Decides whether the answer ends, and what can be shown of it. With the last token comes all that was held back:
  /// an unfinished character, the start of a stop string.
  private mutating func text(completedBy id: Int32) -> String {
    var piece = ""
    if stopTokens.contains(id) {
      finishReason = .stopToken(id)
    } else {
      piece = decoder?.append(id) ?? ""
      if statistics.newTokens == maxNewTokens {
        finishReason = .maxNewTokens
      } else if tokens.count > generator.contextLength {
        finishReason = .contextLength
      }
    }
    if finishReason != nil { piece += decoder?.finish() ?? "" }
    let (text, stop) = stops.append(piece)
    if let stop {
      finishReason = .stopString(stopStrings[stop])
      return text
    }
    return finishReason == nil ? text : text + stops.finish()
  }
}
