/// Decodes one token at a time and never hands out part of a character.
///
/// The pieces together equal `Tokenizer.decode` of all ids.
public struct StreamingDecoder: Sendable {
  private let tokenizer: Tokenizer
  private let skipsSpecialTokens: Bool

  public init(_ tokenizer: Tokenizer, skipSpecialTokens: Bool = false) {
    self.tokenizer = tokenizer
    self.skipsSpecialTokens = skipSpecialTokens
  }

  /// The text that `id` completes: empty while a character is still missing bytes.
  public mutating func append(_ id: Int32) -> String { "" }

  /// The rest: bytes that no further token completed, as U+FFFD.
  public mutating func finish() -> String { "" }
}
