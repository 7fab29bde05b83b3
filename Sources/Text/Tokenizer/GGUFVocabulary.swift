/// What a GGUF file's `tokenizer.ggml.*` metadata says of its tokenizer, as plain values.
public struct GGUFVocabulary: Sendable {
  /// `tokenizer.ggml.model`: `gpt2` (byte-level BPE) or `llama` (SentencePiece).
  public var model: String
  /// `tokenizer.ggml.pre`: the name of the pre-tokenizer of a `gpt2` vocabulary.
  public var pre: String?
  /// `tokenizer.ggml.tokens`; a token's id is its place.
  public var tokens: [String]
  /// `tokenizer.ggml.scores`: a `llama` vocabulary merges the pair with the highest score first.
  public var scores: [Float]?
  /// `tokenizer.ggml.token_type`: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte.
  public var tokenTypes: [Int32]?
  /// `tokenizer.ggml.merges`: `left right`, the first merge first.
  public var merges: [String]?
  public var bosID: Int32?
  public var eosID: Int32?
  public var unkID: Int32?
  public var padID: Int32?
  /// `tokenizer.ggml.eot_token_id`: ends a turn of a conversation.
  public var eotID: Int32?
  /// `tokenizer.ggml.add_bos_token`
  public var addBOS: Bool?
  /// `tokenizer.ggml.add_eos_token`
  public var addEOS: Bool?
  /// `tokenizer.ggml.add_space_prefix`
  public var addSpacePrefix: Bool?

  public init(
    model: String, pre: String? = nil, tokens: [String], scores: [Float]? = nil, tokenTypes: [Int32]? = nil,
    merges: [String]? = nil, bosID: Int32? = nil, eosID: Int32? = nil, unkID: Int32? = nil,
    padID: Int32? = nil, eotID: Int32? = nil, addBOS: Bool? = nil, addEOS: Bool? = nil,
    addSpacePrefix: Bool? = nil
  ) {
    self.model = model
    self.pre = pre
    self.tokens = tokens
    self.scores = scores
    self.tokenTypes = tokenTypes
    self.merges = merges
    self.bosID = bosID
    self.eosID = eosID
    self.unkID = unkID
    self.padID = padID
    self.eotID = eotID
    self.addBOS = addBOS
    self.addEOS = addEOS
    self.addSpacePrefix = addSpacePrefix
  }
}
