import Basics
import Foundation

// What a GGUF file says of the tokenizer in a model folder.
extension GGUFVocabulary {
  /// - Parameters:
  ///   - folder: holds tokenizer.json.
  ///   - count: rows of the embedding: as many tokens are listed, unused ones last.
  ///   - eotID: ends a turn, where that is another token than the one that ends texts.
  /// - Throws: `.unsupported` for a tokenizer that llama.cpp has no name for; as `Tokenizer(folder:)` does.
  public init(folder: String, count: Int, eotID: Int32? = nil) throws(SwiftletError) {
    let tokenizer = try Tokenizer(folder: folder)
    let file =
      try Tokenizer.json("tokenizer.json", in: URL(fileURLWithPath: folder, isDirectory: true)) ?? nil
    let core = tokenizer.core
    guard tokenizer.vocabularySize <= count, let vocabulary = file["model"]?["vocab"]?.object else {
      throw SwiftletError(
        .mismatch,
        "\(folder): the tokenizer has \(tokenizer.vocabularySize) tokens, the embedding \(count) rows")
    }
    var tokens = try BPEModel.tokens(vocabulary)
    var types = [Int32](repeating: Kind.normal.rawValue, count: count)
    while tokens.count < count { tokens.append("") }
    for (id, token) in core.added {
      tokens[Int(id)] = token.content
      types[Int(id)] = (token.isSpecial ? Kind.control : .userDefined).rawValue
    }
    for id in 0..<count where tokens[id].isEmpty {
      tokens[id] = "[PAD\(id)]"
      types[id] = Kind.unused.rawValue
    }
    var merges: [(String, String)] = []
    for merge in file["model"]?["merges"]?.array ?? [] { merges.append(try BPEModel.pair(merge)) }
    self.init(
      model: core.model.vocabulary.isByteLevel ? "gpt2" : "llama", tokens: tokens, tokenTypes: types,
      bosID: tokenizer.bosToken?.id, eosID: tokenizer.eosToken?.id, unkID: tokenizer.unkToken?.id,
      padID: tokenizer.padToken?.id, eotID: eotID, addBOS: tokenizer.addsBOS, addEOS: tokenizer.addsEOS)
    if model == "gpt2" {
      pre = try Self.preTokenizerName(core, folder)
      self.merges = merges.map { "\($0) \($1)" }
    } else {
      try addSentencePiece(core, merges, folder)
    }
    try checkSameTokens(as: tokenizer, folder)
  }

  // MARK: Byte-level

  /// Names that stand for one way to split each, those that models were made with most first.
  private static let names = [
    "qwen2", "llama-bpe", "smollm", "gpt-2", "tekken", "gpt-4o", "dbrx", "qwen35", "deepseek-llm",
    "deepseek-coder", "deepseek-v3", "falcon", "bloom", "viking", "seed-coder", "bailingmoe", "default",
  ]

  /// The name whose way to split gives the words that this tokenizer's gives, on a text in which all ways differ.
  private static func preTokenizerName(_ core: TokenizerCore, _ folder: String) throws(SwiftletError)
    -> String
  {
    let words = core.preTokenizer.map(Self.words)
    var found: String?
    for name in names {
      let pre = try GGUFPreTokenizer(name: name)
      guard Self.words(.sequence(pre.steps)) == words else { continue }
      if pre.ignoresMerges == core.model.ignoresMerges { return name }
      found = found ?? name
    }
    guard let found else {
      throw SwiftletError(
        .unsupported, "\(folder): GGUF has no name for the way in which tokenizer.json splits words",
        remedy: "Export a model of a family that llama.cpp knows.")
    }
    return found
  }

  private static func words(_ step: PreTokenizer) -> [[UInt8]] {
    let bytes = Array(sample.utf8)
    let text = AlignedText(bytes, base: 0, tracksSource: false)
    var state = PreTokenizer.State(text: text, pieces: [0..<bytes.count])
    step.apply(to: &state)
    return state.pieces.map { Array(state.text.bytes[$0]) }
  }

  /// Numbers, contractions, case, symbols, white space and scripts.
  private static let sample = """
    Hello world! 1 22 333 4444 1234567 3.14159 ²½ ٣٤٥ I'll DON'T we'Ve it's 'Tis\u{2019}s CamelCaseWORDSHere fooBAR
      indented\ttab  \t  spaces   \n\n\r\n trailing   
    x=y+z; #!/usr/bin/env a//b /* c */ $100 <tag> {"k": [1,2]}... ?!?! --- ~~~ `code` |a|b| ^_^ 😀👍🏽🇩🇪
    Größe naïve cafe\u{301} Ünï É ÀÉ ǅ ʰ Привет МИР Ελληνικά 中文字符 日本語テスト カタカナ 한국어 हिन्दी แบบ العربية עברית
    ，。！？ 、「」 \u{A0}nbsp\u{200B}zero\u{3000}wide １２３ ａｂｃ
    """

  // MARK: SentencePiece

  /// Tokens by the rank of the first merge that makes them: SentencePiece merges by score, best first.
  private mutating func addSentencePiece(
    _ core: TokenizerCore, _ merges: [(String, String)], _ folder: String
  ) throws(SwiftletError) {
    var ranks: [ByteKey: Int] = [:]
    for (rank, merge) in merges.enumerated() {
      let made = ByteKey(merge.0 + merge.1)
      if ranks[made] == nil { ranks[made] = rank }
    }
    // Characters are made by no merge.
    scores = tokens.map { -Float(ranks[ByteKey($0)] ?? merges.count) }
    for id in tokens.indices where kind(id) == .normal {
      if TokenDecoder.fallbackByte(Array(tokens[id].utf8)) != nil { tokenTypes?[id] = Kind.byte.rawValue }
    }
    if let unkID { tokenTypes?[Int(unkID)] = Kind.unknown.rawValue }
    addSpacePrefix = core.normalizer?.prependsMark ?? core.preTokenizer?.prependsMark ?? false
  }

  // MARK: Both

  /// - Throws: `.unsupported` when a GGUF file cannot say what this tokenizer does.
  private func checkSameTokens(as original: Tokenizer, _ folder: String) throws(SwiftletError) {
    let written = try Tokenizer(gguf: self)
    // llama.cpp leaves out that characters are composed, as Qwen's files ask: most texts are, to begin with.
    let composes = if case .unicode(.nfc) = original.core.normalizer { true } else { false }
    let text = composes ? Self.sample.precomposedStringWithCanonicalMapping : Self.sample
    guard written.encode(text, addSpecialTokens: true) == original.encode(text, addSpecialTokens: true) else {
      throw SwiftletError(
        .unsupported, "\(folder): a GGUF file cannot say how this tokenizer.json makes tokens",
        remedy: "Export a model of a family that llama.cpp knows.")
    }
  }
}

extension Normalizer {
  fileprivate var prependsMark: Bool {
    switch self {
    case .prepend: true
    case .sequence(let steps): steps.contains(where: \.prependsMark)
    default: false
    }
  }
}

extension PreTokenizer {
  fileprivate var prependsMark: Bool {
    switch self {
    case .metaspace(_, let prepends, _): prepends != .never
    case .sequence(let steps): steps.contains(where: \.prependsMark)
    default: false
    }
  }
}
