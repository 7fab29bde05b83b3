import Basics
import Text

/// The text of an answer as its tokens come, and whether it ends.
struct AnswerText {
  private let options: GenerationOptions
  private let stopTokens: Set<Int32>
  private var decoder: StreamingDecoder?
  private var stops: StopStrings

  /// - Throws: `.invalidConfiguration` for options that no answer can have.
  init(_ options: GenerationOptions, _ tokenizer: Tokenizer?) throws(SwiftletError) {
    guard options.maxNewTokens > 0 else {
      throw SwiftletError(
        .invalidConfiguration, "max_new_tokens is \(options.maxNewTokens); it must be at least 1")
    }
    guard !options.stopStrings.contains("") else {
      throw SwiftletError(.invalidConfiguration, "a stop string is empty")
    }
    guard options.stopStrings.isEmpty || tokenizer != nil else {
      throw SwiftletError(.invalidConfiguration, "stop strings need a tokenizer")
    }
    self.options = options
    stopTokens =
      options.stopTokens ?? Set([tokenizer?.eosToken?.id, tokenizer?.eotToken?.id].compactMap(\.self))
    decoder = tokenizer.map { StreamingDecoder($0, skipSpecialTokens: options.skipsSpecialTokens) }
    stops = StopStrings(options.stopStrings)
  }

  /// Takes the answer's `count`-th token. With the last token comes all that was held back: an unfinished character, the
  /// start of a stop string.
  mutating func append(
    _ id: Int32, count: Int, isContextFull: Bool
  ) -> (text: String, finishReason: FinishReason?) {
    var reason: FinishReason?
    var piece = ""
    if stopTokens.contains(id) {
      reason = .stopToken(id)
    } else {
      piece = decoder?.append(id) ?? ""
      if count == options.maxNewTokens {
        reason = .maxNewTokens
      } else if isContextFull {
        reason = .contextLength
      }
    }
    if reason != nil { piece += decoder?.finish() ?? "" }
    let (text, stop) = stops.append(piece)
    if let stop { return (text, .stopString(options.stopStrings[stop])) }
    return (reason == nil ? text : text + stops.finish(), reason)
  }
}
