import Text

/// The text of an answer as its tokens come, and whether it ends.
struct AnswerText {
  private let options: GenerationOptions
  let stopTokens: Set<Int32>
  private var decoder: StreamingDecoder?
  private var stops: StopStrings

  init(_ options: GenerationOptions, _ tokenizer: Tokenizer?) {
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
