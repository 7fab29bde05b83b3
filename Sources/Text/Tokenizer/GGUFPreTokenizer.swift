import Basics

/// What the name in `tokenizer.ggml.pre` stands for.
///
/// The names are llama.cpp's; the patterns are those of the original tokenizer.json where one exists.
struct GGUFPreTokenizer {
  var steps: [PreTokenizer]
  var ignoresMerges = false
  /// Whether a begin-of-text token is added where the file says nothing of it.
  var addsBOS = false

  /// - Throws: `.unsupported` for a name that is not known.
  init(name: String) throws(SwiftletError) {
    guard let family = Self.family(name) else {
      throw SwiftletError(
        .unsupported, "the GGUF file names the pre-tokenizer '\(name)', which is not known",
        remedy:
          "Use the tokenizer.json of the original model, in a folder, in place of the GGUF's vocabulary.")
    }
    steps = []
    for pattern in try Self.patterns(family) { steps.append(.split(pattern, .isolated, isInverted: false)) }
    steps.append(.byteLevel(addsPrefixSpace: false, splits: false))
    ignoresMerges = family == .llama3 || family == .tekken
    addsBOS = ignoresMerges
  }

  private enum Family {
    case standard, gpt2, singleDigits, llama3, dbrx, qwen2, qwen35, deepSeekLLM, deepSeekCoder, deepSeekV3
    case falcon, tekken, o200k, bloom, viking, seedCoder, bailing
  }

  private static func family(_ name: String) -> Family? {
    switch name {
    case "default": .standard
    case "gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion", "granite-docling", "exaone4", "modern-bert",
      "gigachat", "mellum", "a.x-4.0", "jina-es", "jina-de", "jina-v2-es", "jina-v2-de", "jina-v1-en",
      "jina-v2-code", "roberta-bpe":
      .gpt2
    case "smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "mellum2":
      .singleDigits
    case "llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2",
      "jina-v5-nano":
      .llama3
    case "dbrx", "smaug-bpe", "glm4", "chatglm-bpe": .dbrx
    case "qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2", "megrez", "stablelm2", "hunyuan", "solar-open",
      "grok-2":
      .qwen2
    case "qwen35": .qwen35
    case "deepseek-llm": .deepSeekLLM
    case "deepseek-coder": .deepSeekCoder
    case "deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4": .deepSeekV3
    case "falcon": .falcon
    case "tekken": .tekken
    case "gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2": .o200k
    case "bloom", "poro-chat", "gpt3-finnish": .bloom
    case "viking": .viking
    case "seed-coder": .seedCoder
    case "bailingmoe", "bailingmoe2", "llada-moe": .bailing
    default: nil
    }
  }

  /// The patterns to split by, one after the other, matches and the rest alike.
  private static func patterns(_ family: Family) throws(SwiftletError) -> [TextPattern] {
    let contraction = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
    let spaces = #"|\s+(?!\S)|\s+"#
    let bloom = #" ?[^(\s|.,!?…。，、।۔،)]+"#
    switch family {
    case .standard:
      return [
        try TextPattern(regex: #"[\p{P}\$\+<=>\^~\|]+"#), .words(.gpt2), try TextPattern(regex: #"\p{N}+"#),
        try TextPattern(regex: "[0-9][0-9][0-9]"),
      ]
    case .gpt2: return [.words(.gpt2)]
    case .singleDigits: return [.characters(.number), .words(.gpt2)]
    case .llama3, .dbrx: return [.words(.llama3)]
    case .qwen2: return [.words(.qwen2)]
    case .qwen35: return [.words(.qwen35)]
    case .tekken: return [.words(.tekken)]
    case .o200k: return [.words(.o200k)]
    case .falcon:
      return [
        try TextPattern(regex: #"[\p{P}\$\+<=>\^~\|`]+"#), .words(.gpt2),
        try TextPattern(regex: "[0-9][0-9][0-9]"),
      ]
    case .deepSeekLLM: return try deepSeekLLM()
    case .deepSeekCoder:
      return [
        try TextPattern(regex: #"[\r\n]"#), try TextPattern(regex: #"\s?\p{L}+"#),
        try TextPattern(regex: #"\s?\p{P}+"#), try TextPattern(regex: "[一-龥ࠀ-一가-퟿]+"),
        .characters(.number),
      ]
    case .deepSeekV3:
      return [
        try TextPattern(regex: #"\p{N}{1,3}"#), try TextPattern(regex: "[一-龥぀-ゟ゠-ヿ]+"),
        try TextPattern(
          regex: ##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"##
            + #"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+"# + spaces),
      ]
    case .bloom: return [try TextPattern(regex: bloom)]
    case .viking: return [try TextPattern(regex: bloom), .characters(.number)]
    case .seedCoder:
      return [
        try TextPattern(
          regex: contraction + #"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+"#
            + spaces)
      ]
    case .bailing:
      return [
        try TextPattern(
          regex:
            #"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]"#
            + spaces)
      ]
    }
  }

  private static func deepSeekLLM() throws(SwiftletError) -> [TextPattern] {
    // Letters that have case, by range. By number where an editor might put an equivalent character.
    let cased =
      #"A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝ"#
      + #"\x{1F5F}-\x{1F7D}ᾀ-ᾴᾶ-ᾼ\x{1FBE}ῂ-ῄῆ-ῌ\x{1FD0}-\x{1FD3}\x{1FD6}-\x{1FDB}ῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\x{2126}ℨ"#
      + #"\x{212A}-\x{212D}ℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ"#
      + "𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃"
    return [
      try TextPattern(regex: #"[\r\n]"#), try TextPattern(regex: #"\s?["# + cased + "]+"),
      try TextPattern(regex: #"\s?[!-/:-~！-／：-～‘-‟　-。]+"#), try TextPattern(regex: #"\s+$"#),
      try TextPattern(regex: "[一-龥ࠀ-一가-퟿]+"), try TextPattern(regex: #"\p{N}+"#),
    ]
  }
}
