import Basics

/// What a request must keep to. A value, so that callers learn at once what is wrong, on whichever thread.
struct GeneratorChecks: Sendable {
  let contextLength: Int
  let vocabularySize: Int
  /// The context that the model was made for.
  let maximumPositions: Int
  let hasTokenizer: Bool

  /// - Throws: `.invalidConfiguration` when the prompt is empty or longer than the context, or an option is out of
  ///   range; `.mismatch` when the prompt holds tokens that the model does not know.
  func check(_ request: GenerationRequest) throws(SwiftletError) {
    try check(request.prompt)
    let options = request.options
    try options.sampling.check(vocabulary: vocabularySize)
    guard options.maxNewTokens > 0 else {
      throw SwiftletError(
        .invalidConfiguration, "max_new_tokens is \(options.maxNewTokens); it must be at least 1")
    }
    guard !options.stopStrings.contains("") else {
      throw SwiftletError(.invalidConfiguration, "a stop string is empty")
    }
    if let constraint = request.constraint {
      guard hasTokenizer && options.stopTokens == nil || options.stopTokens?.isEmpty == false else {
        throw SwiftletError(.invalidConfiguration, "a constrained answer needs a token that ends it")
      }
      precondition(
        constraint.vocabulary.maskWords == (vocabularySize + 31) / 32, "another model's vocabulary")
    }
    guard options.stopStrings.isEmpty || hasTokenizer else {
      throw SwiftletError(.invalidConfiguration, "stop strings need a tokenizer")
    }
  }

  private func check(_ tokens: [Int32]) throws(SwiftletError) {
    guard !tokens.isEmpty else {
      throw SwiftletError(
        .invalidConfiguration, "the prompt is empty",
        remedy: "A model continues at least one token, such as its begin-of-text token.")
    }
    guard tokens.count <= contextLength else {
      throw SwiftletError(
        .invalidConfiguration, "the prompt has \(tokens.count) tokens, the context \(contextLength)",
        remedy: contextLength < maximumPositions
          ? "The model's own context has \(maximumPositions): ask for more of it, or shorten the prompt."
          : "The model was made for no more: shorten the prompt.")
    }
    if let stranger = tokens.first(where: { !(0..<Int32(vocabularySize)).contains($0) }) {
      throw SwiftletError(
        .mismatch, "the prompt holds token \(stranger), the model's vocabulary has \(vocabularySize) tokens",
        remedy: "Use the tokenizer that came with the model.")
    }
  }
}
