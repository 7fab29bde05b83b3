import Basics

/// Turns text into token ids and back, exactly as the model's own tokenizer does.
///
/// Read from a Hugging Face `tokenizer.json` (byte-level or SentencePiece-style BPE) or from the vocabulary
/// inside a GGUF file. A value is a handle on shared, immutable tables: cheap to copy and safe to use from
/// many threads at once.
public struct Tokenizer: Sendable {
  /// A token with a role, such as the one that begins every text.
  public struct RoleToken: Sendable, Hashable {
    public let id: Int32
    public let text: String

    public init(id: Int32, text: String) {
      self.id = id
      self.text = text
    }
  }

  public let bosToken: RoleToken?
  public let eosToken: RoleToken?
  public let padToken: RoleToken?
  public let unkToken: RoleToken?
  /// Whether `encode(_:addSpecialTokens: true)` begins with `bosToken`.
  public let addsBOS: Bool
  /// Whether `encode(_:addSpecialTokens: true)` ends with `eosToken`.
  public let addsEOS: Bool

  /// Highest token id + 1.
  public var vocabularySize: Int { 0 }

  /// - Parameters:
  ///   - tokenizerJSON: the content of `tokenizer.json`.
  ///   - configuration: the content of `tokenizer_config.json`: names the tokens with a role, and whether
  ///     the first and last of them are added to a text.
  ///   - specialTokensMap: the content of `special_tokens_map.json`, read for roles that `configuration`
  ///     leaves open.
  /// - Throws: `.unsupported` naming the part of the file that this version does not know, or `.malformedFile`.
  public init(
    tokenizerJSON: JSON, configuration: JSON? = nil, specialTokensMap: JSON? = nil
  ) throws(SwiftletError) {
    throw SwiftletError(.unsupported, "tokenizer.json cannot be read yet")
  }

  /// Reads `tokenizer.json`, and `tokenizer_config.json` and `special_tokens_map.json` where there, of a
  /// model folder.
  public init(folder path: String) throws(SwiftletError) {
    throw SwiftletError(.unsupported, "tokenizer.json cannot be read yet")
  }

  /// Builds the tokenizer that a GGUF file's metadata describes.
  public init(gguf: GGUFVocabulary) throws(SwiftletError) {
    throw SwiftletError(.unsupported, "GGUF vocabularies cannot be read yet")
  }

  /// The token ids of `text`. Special tokens spelled out in the text become their ids; those of the model's
  /// template (a begin-of-text token, say) are added only on request.
  public func encode(_ text: String, addSpecialTokens: Bool = false) -> [Int32] { [] }

  /// Like `encode`, with each token's byte range in `text.utf8`. Ranges ascend; a token that the text does
  /// not hold (an added special token) has an empty range where it stands.
  public func encodeWithOffsets(
    _ text: String, addSpecialTokens: Bool = false
  ) -> (ids: [Int32], ranges: [Range<Int>]) { ([], []) }

  /// The text of `ids`. Bytes that form no character become U+FFFD; ids outside the vocabulary are skipped.
  public func decode(_ ids: some Sequence<Int32>, skipSpecialTokens: Bool = false) -> String { "" }

  /// The id of a token as the vocabulary spells it (`Ġthe`, `▁the`, `<|im_end|>`).
  public func id(of token: String) -> Int32? { nil }
  /// A token as the vocabulary spells it.
  public func token(of id: Int32) -> String? { nil }
  /// The raw bytes that a token stands for in running text: a whole character or a part of one.
  public func bytes(of id: Int32) -> [UInt8] { [] }
  /// Whether `decode(_:skipSpecialTokens: true)` leaves the token out.
  public func isSpecial(_ id: Int32) -> Bool { false }
}
