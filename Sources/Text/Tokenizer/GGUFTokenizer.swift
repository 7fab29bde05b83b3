import Basics

extension Tokenizer {
  /// Builds the tokenizer that a GGUF file's metadata describes.
  ///
  /// - Throws: `.unsupported` for a kind of vocabulary or a pre-tokenizer that this version does not know,
  ///   naming it; `.malformedFile` where the lists do not fit together.
  public init(gguf: GGUFVocabulary) throws(SwiftletError) {
    if let types = gguf.tokenTypes, types.count != gguf.tokens.count {
      throw .tokenizer(malformed: "\(gguf.tokens.count) tokens, but \(types.count) token types")
    }
    switch gguf.model {
    case "gpt2": try self.init(byteLevel: gguf)
    case "llama": try self.init(sentencePiece: gguf)
    default: throw .tokenizer(unsupported: "the GGUF vocabulary '\(gguf.model)'")
    }
  }

  private init(byteLevel gguf: GGUFVocabulary) throws(SwiftletError) {
    guard let merges = gguf.merges else { throw .tokenizer(malformed: "a gpt2 vocabulary without merges") }
    let pre = try GGUFPreTokenizer(name: gguf.pre ?? "default")
    let vocabulary = Vocabulary(tokens: gguf.tokens, isByteLevel: true) { gguf.kind($0).isInText }
    var pairs: [(String, String)] = []
    pairs.reserveCapacity(merges.count)
    for merge in merges {
      guard let pair = MergeTable.pair(merge) else {
        throw .tokenizer(malformed: "the merge '\(merge)' is no pair of tokens")
      }
      pairs.append(pair)
    }
    let model = BPEModel(
      vocabulary: vocabulary, merges: .ranked(try MergeTable(pairs, vocabulary)),
      ignoresMerges: pre.ignoresMerges)
    var frame = TokenFrame()
    frame.set(gguf.roles, addsBOS: gguf.addBOS ?? pre.addsBOS, addsEOS: gguf.addEOS ?? false)
    self.init(
      core: TokenizerCore(
        model: model, normalizer: nil, preTokenizer: .sequence(pre.steps),
        decoder: TokenDecoder(steps: [.byteLevel]), frame: frame, added: gguf.addedTokens),
      roles: gguf.roles)
  }

  private init(sentencePiece gguf: GGUFVocabulary) throws(SwiftletError) {
    guard let scores = gguf.scores, scores.count == gguf.tokens.count else {
      throw .tokenizer(malformed: "a llama vocabulary without a score for each token")
    }
    let vocabulary = Vocabulary(tokens: gguf.tokens, isByteLevel: false) { gguf.kind($0).isInText }
    let mark = Array("▁".utf8)
    let space = Array(" ".utf8)
    let addsSpace = gguf.addSpacePrefix ?? true
    let model = BPEModel(
      vocabulary: vocabulary, merges: .scored(ranks: Self.ranks(scores)),
      fallback: BPEModel.Fallback(bytes: gguf.byteTokens, unknown: gguf.unkID))
    var frame = TokenFrame()
    frame.set(gguf.roles, addsBOS: gguf.addBOS ?? true, addsEOS: gguf.addEOS ?? false)
    let replaceSpaces = Normalizer.replace(.literal(space), with: mark)
    self.init(
      core: TokenizerCore(
        model: model, normalizer: addsSpace ? .sequence([.prepend(mark), replaceSpaces]) : replaceSpaces,
        preTokenizer: nil,
        decoder: TokenDecoder(
          steps: [.replace(.literal(mark), with: space), .byteFallback],
          leading: (space[0], addsSpace ? 1 : 0)),
        frame: frame, added: gguf.addedTokens),
      roles: gguf.roles)
  }

  /// Rank of each token by falling score; equal scores have equal ranks.
  private static func ranks(_ scores: [Float]) -> [Int32] {
    var ranks = [Int32](repeating: 0, count: scores.count)
    var rank: Int32 = 0
    var last: Float?
    for id in scores.indices.sorted(by: { scores[$0] > scores[$1] }) {
      if let last, scores[id] != last { rank += 1 }
      last = scores[id]
      ranks[id] = rank
    }
    return ranks
  }
}

extension GGUFVocabulary {
  /// `tokenizer.ggml.token_type`
  enum Kind: Int32 {
    case undefined = 0
    case normal, unknown, control, userDefined, unused, byte

    /// Whether the model may make the token out of text.
    var isInText: Bool { self != .unknown && self != .control && self != .byte }
  }

  func kind(_ id: Int) -> Kind { tokenTypes.flatMap { Kind(rawValue: $0[id]) } ?? .normal }

  var roles: Tokenizer.Roles { Tokenizer.Roles(bos: bosID, eos: eosID, pad: padID, unk: unkID, eot: eotID) }

  var addedTokens: [AddedToken] {
    tokens.indices.compactMap { id in
      switch kind(id) {
      case .control, .unknown: AddedToken(id: Int32(id), content: tokens[id], isSpecial: true)
      case .userDefined: AddedToken(id: Int32(id), content: tokens[id], isSpecial: false)
      default: nil
      }
    }
  }

  /// The tokens of the 256 bytes; nil if one is missing.
  var byteTokens: [Int32]? {
    var found = [Int32?](repeating: nil, count: 256)
    for id in tokens.indices {
      if let byte = TokenDecoder.fallbackByte(Array(tokens[id].utf8)) { found[Int(byte)] = Int32(id) }
    }
    let all = found.compactMap { $0 }
    return all.count == 256 ? all : nil
  }
}
