import Basics

// A model folder's tokenizer files, written from what a GGUF file holds.
extension GGUFVocabulary {
  /// The content of `tokenizer.json`: gives the ids that `Tokenizer(gguf:)` gives.
  ///
  /// - Throws: as `Tokenizer(gguf:)` does.
  public func tokenizerJSON() throws(SwiftletError) -> JSON {
    let tokenizer = try Tokenizer(gguf: self)
    var json: JSON.Object = [
      "version": "1.0", "truncation": nil, "padding": nil,
      "added_tokens": .array(addedTokens.map(\.json)),
    ]
    if model == "gpt2" { try addByteLevel(to: &json) } else { try addSentencePiece(to: &json) }
    json["post_processor"] = postProcessor(tokenizer)
    return .object(json)
  }

  /// The content of `tokenizer_config.json`.
  ///
  /// - Parameters:
  ///   - contextLength: the longest text in tokens.
  public func tokenizerConfig(chatTemplate: String?, contextLength: Int) -> JSON {
    var config: JSON.Object = [
      "clean_up_tokenization_spaces": false, "model_max_length": .int(contextLength),
      "tokenizer_class": "PreTrainedTokenizerFast",
    ]
    config.merge(specialTokens)
    if let addBOS { config["add_bos_token"] = .bool(addBOS) }
    if let addEOS { config["add_eos_token"] = .bool(addEOS) }
    if let chatTemplate { config["chat_template"] = .string(chatTemplate) }
    return .object(config)
  }

  /// The content of `special_tokens_map.json`: the texts of the tokens with a role.
  public var specialTokens: JSON.Object {
    var map: JSON.Object = [:]
    for (name, id) in [
      ("bos_token", bosID), ("eos_token", eosID), ("pad_token", padID), ("unk_token", unkID),
    ] {
      if let id, tokens.indices.contains(Int(id)) { map[name] = .string(tokens[Int(id)]) }
    }
    return map
  }

  // MARK: Byte-level

  private func addByteLevel(to json: inout JSON.Object) throws(SwiftletError) {
    let pre = try GGUFPreTokenizer(name: pre ?? "default")
    // Qwen's own files compose characters first; llama.cpp leaves it out.
    json["normalizer"] = self.pre == "qwen2" ? ["type": "NFC"] : JSON.null
    json["pre_tokenizer"] = [
      "type": "Sequence", "pretokenizers": .array(pre.steps.map(\.json)),
    ]
    json["decoder"] = [
      "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true,
    ]
    var pairs: [JSON] = []
    for merge in merges ?? [] {
      guard let (left, right) = MergeTable.pair(merge) else {
        throw .tokenizer(malformed: "the merge '\(merge)' is no pair of tokens")
      }
      pairs.append([.string(left), .string(right)])
    }
    json["model"] = bpe(unknown: nil, pairs, ["ignore_merges": .bool(pre.ignoresMerges)])
  }

  // MARK: SentencePiece

  private func addSentencePiece(to json: inout JSON.Object) throws(SwiftletError) {
    let mark: JSON = "▁"
    let replaceSpaces: JSON = ["type": "Replace", "pattern": ["String": " "], "content": mark]
    let addsSpace = addSpacePrefix ?? true
    let normalizers: [JSON] =
      addsSpace ? [["type": "Prepend", "prepend": mark], replaceSpaces] : [replaceSpaces]
    json["normalizer"] = ["type": "Sequence", "normalizers": .array(normalizers)]
    json["pre_tokenizer"] = JSON.null
    var decoders: [JSON] = [
      ["type": "Replace", "pattern": ["String": mark], "content": " "], ["type": "ByteFallback"],
      ["type": "Fuse"],
    ]
    if addsSpace { decoders.append(["type": "Strip", "content": " ", "start": 1, "stop": 0]) }
    json["decoder"] = ["type": "Sequence", "decoders": .array(decoders)]
    let unknown = unkID.map { JSON.string(tokens[Int($0)]) }
    json["model"] = bpe(
      unknown: unknown, scoredMerges, ["fuse_unk": true, "byte_fallback": .bool(byteTokens != nil)])
  }

  /// Every pair of tokens that spells a third, in the order in which SentencePiece merges: by the score of the token
  /// that it makes.
  private var scoredMerges: [JSON] {
    let scores = scores ?? []
    var ids: [ByteKey: Int] = [:]
    for id in tokens.indices where kind(id).isInText && !tokens[id].isEmpty { ids[ByteKey(tokens[id])] = id }
    var merges: [(token: Int, left: Int, right: Int)] = []
    for token in tokens.indices where kind(token).isInText {
      let scalars = Array(tokens[token].unicodeScalars)
      for split in 1..<max(1, scalars.count) {
        func id(_ part: ArraySlice<Unicode.Scalar>) -> Int? {
          ids[ByteKey(String(String.UnicodeScalarView(part)))]
        }
        if let left = id(scalars[..<split]), let right = id(scalars[split...]) {
          merges.append((token, left, right))
        }
      }
    }
    merges.sort { (-scores[$0.token], $0.token, $0.left) < (-scores[$1.token], $1.token, $1.left) }
    return merges.map { [.string(tokens[$0.left]), .string(tokens[$0.right])] }
  }

  // MARK: Both

  private func bpe(unknown: JSON?, _ merges: [JSON], _ settings: JSON.Object) -> JSON {
    var vocabulary = JSON.Object()
    for id in tokens.indices { vocabulary.updateValue(.int(id), forKey: tokens[id]) }
    var model: JSON.Object = [
      "type": "BPE", "dropout": nil, "unk_token": unknown ?? nil, "continuing_subword_prefix": nil,
      "end_of_word_suffix": nil, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
    ]
    model.merge(settings)
    model["vocab"] = .object(vocabulary)
    model["merges"] = .array(merges)
    return .object(model)
  }

  /// Puts the first and last token around a text, where the model wants them.
  private func postProcessor(_ tokenizer: Tokenizer) -> JSON {
    let text: (String) -> JSON = { ["Sequence": ["id": .string($0), "type_id": 0]] }
    let token: (Tokenizer.RoleToken) -> JSON = { ["SpecialToken": ["id": .string($0.text), "type_id": 0]] }
    let first = tokenizer.addsBOS ? tokenizer.bosToken : nil
    let last = tokenizer.addsEOS ? tokenizer.eosToken : nil
    let used = [first, last].compactMap(\.self)
    guard !used.isEmpty else {
      return model == "gpt2"
        ? ["type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true] : nil
    }
    func framed(_ name: String) -> [JSON] {
      (first.map { [token($0)] } ?? []) + [text(name)] + (last.map { [token($0)] } ?? [])
    }
    var special = JSON.Object()
    for role in used {
      special[role.text] = [
        "id": .string(role.text), "ids": [.int(Int(role.id))], "tokens": [.string(role.text)],
      ]
    }
    return [
      "type": "TemplateProcessing", "single": .array(framed("A")), "pair": .array(framed("A") + framed("B")),
      "special_tokens": .object(special),
    ]
  }
}

extension AddedToken {
  fileprivate var json: JSON {
    [
      "id": .int(Int(id)), "content": .string(content), "single_word": .bool(isSingleWord),
      "lstrip": .bool(stripsLeft), "rstrip": .bool(stripsRight), "normalized": .bool(isNormalized),
      "special": .bool(isSpecial),
    ]
  }
}

extension PreTokenizer {
  /// The step as tokenizer.json has it: those that `GGUFPreTokenizer` makes.
  fileprivate var json: JSON {
    switch self {
    case .split(.characters(.number), _, _): ["type": "Digits", "individual_digits": true]
    case .split(let pattern, let behavior, let isInverted):
      [
        "type": "Split", "pattern": ["Regex": .string(pattern.regex)], "behavior": .string(behavior.rawValue),
        "invert": .bool(isInverted),
      ]
    case .byteLevel(let addsPrefixSpace, let splits):
      [
        "type": "ByteLevel", "add_prefix_space": .bool(addsPrefixSpace), "trim_offsets": true,
        "use_regex": .bool(splits),
      ]
    case .sequence, .metaspace: preconditionFailure("no GGUF pre-tokenizer has such a step")
    }
  }
}

extension TextPattern {
  fileprivate var regex: String {
    switch self {
    case .words(let words): words.regex
    case .regex(let expression): expression.pattern
    case .characters, .literal: preconditionFailure("no regular expression")
    }
  }
}
