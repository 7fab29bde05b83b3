import Basics

/// One answer, made token by token as it is asked for. Made by `Generator.generate`; letting go of it cancels it.
public final class Generation {
  /// The prompt and the answer so far: with the next turn appended, the prompt that reuses all of it.
  public private(set) var tokens: [Int32]
  /// Set with the last token.
  public private(set) var finishReason: FinishReason?
  public private(set) var statistics = GenerationStatistics()

  private let generator: Generator
  var sequence: TokenSequence?
  /// Tokens that were made while another answer was asked for its next.
  private var made: [GeneratedToken] = []
  private var failure: SwiftletError?

  init(_ generator: Generator, prompt: [Int32]) {
    self.generator = generator
    tokens = prompt
    statistics.promptTokens = prompt.count
  }

  deinit { sequence?.isCancelled = true }

  func take(_ delivery: Result<TokenSequence.Delivery, SwiftletError>) {
    switch delivery {
    case .success(.token(let token)): made.append(token)
    case .success(.logits): break
    case .failure(let error): failure = error
    }
  }

  /// The next token; nil after the last. The token that ends an answer comes too, without its own text.
  ///
  /// - Throws: `.invalidData` when the model computes numbers that are not finite; `.outOfMemory`.
  public func next() throws(SwiftletError) -> GeneratedToken? {
    guard finishReason == nil else { return nil }
    while made.isEmpty {
      if let failure { throw failure }
      try generator.step()
    }
    let token = made.removeFirst()
    tokens.append(token.id)
    finishReason = token.finishReason
    statistics = token.statistics
    return token
  }
}
