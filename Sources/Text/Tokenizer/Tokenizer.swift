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
  /// Ends a turn of a conversation, where a GGUF file names such a token.
  public let eotToken: RoleToken?

  let core: TokenizerCore

  /// Which token, by id, has which role.
  struct Roles {
    var bos: Int32?
    var eos: Int32?
    var pad: Int32?
    var unk: Int32?
    var eot: Int32?
  }

  init(core: TokenizerCore, roles: Roles) {
    func token(_ id: Int32?) -> RoleToken? {
      guard let id, let text = core.spelling(of: id) else { return nil }
      return RoleToken(id: id, text: text)
    }
    self.core = core
    bosToken = token(roles.bos)
    eosToken = token(roles.eos)
    padToken = token(roles.pad)
    unkToken = token(roles.unk)
    eotToken = token(roles.eot)
  }

  // MARK: - Text to tokens

  /// The token ids of `text`. Special tokens spelled out in the text become their ids; those of the model's
  /// template (a begin-of-text token, say) are added only on request.
  public func encode(_ text: String, addSpecialTokens: Bool = false) -> [Int32] {
    core.encode(text, addsFrame: addSpecialTokens, tracksRanges: false).ids
  }

  /// Like `encode`, with each token's byte range in `text.utf8`. Where a character takes several tokens,
  /// each has the bytes it stands for, or the whole character if normalisation changed it. A token that the
  /// text does not hold (an added special token, a prefixed space) has an empty range where it stands.
  public func encodeWithOffsets(
    _ text: String, addSpecialTokens: Bool = false
  ) -> (ids: [Int32], ranges: [Range<Int>]) {
    let output = core.encode(text, addsFrame: addSpecialTokens, tracksRanges: true)
    return (output.ids, output.ranges)
  }

  /// Whether `encode(_:addSpecialTokens: true)` begins with `bosToken`.
  public var addsBOS: Bool { bosToken.map { core.frame.prefix.contains($0.id) } ?? false }
  /// Whether `encode(_:addSpecialTokens: true)` ends with `eosToken`.
  public var addsEOS: Bool { eosToken.map { core.frame.suffix.contains($0.id) } ?? false }

  // MARK: - Tokens to text

  /// The text of `ids`. Bytes that form no character become U+FFFD; ids outside the vocabulary are skipped.
  /// Spaces stay as the tokens have them: `clean_up_tokenization_spaces` of older configurations is not
  /// applied, since it changes text that the model wrote.
  public func decode(_ ids: some Sequence<Int32>, skipSpecialTokens: Bool = false) -> String {
    var decoder = StreamingDecoder(self, skipSpecialTokens: skipSpecialTokens)
    for id in ids { decoder.push(id) }
    return decoder.finish()
  }

  // MARK: - Vocabulary

  /// Highest token id + 1.
  public var vocabularySize: Int { core.vocabularySize }
  /// The id of a token as the vocabulary spells it (`Ġthe`, `▁the`, `<|im_end|>`).
  public func id(of token: String) -> Int32? { core.id(of: token) }
  /// A token as the vocabulary spells it.
  public func token(of id: Int32) -> String? { core.spelling(of: id) }
  /// The raw bytes that a token stands for in running text: whole characters or a part of one. Empty for ids
  /// that no token has.
  public func bytes(of id: Int32) -> [UInt8] { core.bytes(of: id, isFirst: false) ?? [] }
  /// Whether `decode(_:skipSpecialTokens: true)` leaves the token out.
  public func isSpecial(_ id: Int32) -> Bool { core.isSpecial(id) }
}
