import Basics
import Foundation

extension Tokenizer {
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
    let preTokenizer = try PreTokenizer(json: tokenizerJSON["pre_tokenizer"])
    var added = try AddedToken.list(tokenizerJSON["added_tokens"])
    for token in try AddedToken.list(configuration: configuration)
    where !added.contains(where: { $0.id == token.id }) {
      added.append(token)
    }
    let model = try BPEModel(json: tokenizerJSON["model"], isByteLevel: preTokenizer?.isByteLevel ?? false)
    let ids = { (token: String) -> Int32? in
      var buffer: [UInt8] = []
      let isSame = { (other: AddedToken) in other.content.utf8.elementsEqual(token.utf8) }
      return added.first(where: isSame)?.id ?? model.vocabulary.id(ofSpelling: token, buffer: &buffer)
    }
    func role(_ key: String) -> Int32? {
      for source in [configuration?[key], specialTokensMap?[key]] {
        // A role is a string, or an object that describes an added token.
        if let name = source?.string ?? source?["content"]?.string { return ids(name) }
      }
      return nil
    }
    let roles = Roles(
      bos: role("bos_token"), eos: role("eos_token"), pad: role("pad_token"),
      unk: role("unk_token") ?? tokenizerJSON["model"]?["unk_token"]?.string.flatMap(ids))
    var frame = try TokenFrame(json: tokenizerJSON["post_processor"])
    frame.set(
      roles, addsBOS: configuration?["add_bos_token"]?.bool, addsEOS: configuration?["add_eos_token"]?.bool)
    self.init(
      core: TokenizerCore(
        model: model, normalizer: try Normalizer(json: tokenizerJSON["normalizer"]),
        preTokenizer: preTokenizer, decoder: try TokenDecoder(json: tokenizerJSON["decoder"]), frame: frame,
        added: added),
      roles: roles)
  }

  /// Reads `tokenizer.json`, and `tokenizer_config.json` and `special_tokens_map.json` where there, of a
  /// model folder.
  public init(folder path: String) throws(SwiftletError) {
    let folder = URL(fileURLWithPath: path, isDirectory: true)
    guard let tokenizer = try Self.json("tokenizer.json", in: folder) else {
      let isSlow = FileManager.default.fileExists(
        atPath: folder.appendingPathComponent("tokenizer.model").path)
      throw SwiftletError(
        .unreadable, "\(path): there is no tokenizer.json",
        remedy: isSlow
          ? "A SentencePiece tokenizer.model alone is not supported. Make a tokenizer.json of it with Python: "
            + "transformers.AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
          : "Take the tokenizer.json of the model's original repository.")
    }
    let configuration = try Self.json("tokenizer_config.json", in: folder)
    let specialTokens = try Self.json("special_tokens_map.json", in: folder)
    do {
      try self.init(
        tokenizerJSON: tokenizer, configuration: configuration, specialTokensMap: specialTokens)
    } catch {
      throw SwiftletError(error.code, "\(path): \(error.message)", remedy: error.remedy)
    }
  }

  /// The content of a file; nil if there is none.
  static func json(_ name: String, in folder: URL) throws(SwiftletError) -> JSON? {
    let file = folder.appendingPathComponent(name)
    guard FileManager.default.fileExists(atPath: file.path) else { return nil }
    guard let data = try? Data(contentsOf: file) else { throw SwiftletError.unreadable(file.path) }
    do { return try JSON(parsing: Array(data)) } catch {
      throw SwiftletError(error.code, "\(file.path): \(error.message)", remedy: error.remedy)
    }
  }
}

extension BPEModel {
  /// - Parameter isByteLevel: whether tokens are spelled by the byte-level alphabet.
  init(json: JSON?, isByteLevel: Bool) throws(SwiftletError) {
    // Files of early versions leave the type out.
    let type = json?["type"]?.string ?? "BPE"
    if type != "BPE" { throw .tokenizer(unsupported: "the \(type) model") }
    for key in ["continuing_subword_prefix", "end_of_word_suffix"] {
      if let affix = json?[key]?.string, !affix.isEmpty {
        throw .tokenizer(unsupported: "'\(key)' of the BPE model")
      }
    }
    guard let vocab = json?["vocab"]?.object, let merges = json?["merges"]?.array else {
      throw .tokenizer(malformed: "the model has no 'vocab' or no 'merges'")
    }
    let vocabulary = Vocabulary(tokens: try Self.tokens(vocab), isByteLevel: isByteLevel) { _ in true }
    var pairs: [(String, String)] = []
    pairs.reserveCapacity(merges.count)
    for merge in merges { pairs.append(try Self.pair(merge)) }
    let unknown = json?["unk_token"]?.string
    self.init(
      vocabulary: vocabulary, merges: .ranked(try MergeTable(pairs, vocabulary)),
      fallback: Fallback(
        bytes: json?["byte_fallback"]?.bool == true ? Self.byteTokens(vocabulary) : nil,
        unknown: unknown.flatMap { vocabulary.id(of: Array($0.utf8)) },
        fusesUnknown: json?["fuse_unk"]?.bool ?? false),
      ignoresMerges: json?["ignore_merges"]?.bool ?? false)
  }

  /// Above any vocabulary, below what would take gigabytes.
  static let highestID = 1 << 24

  static func tokens(_ vocab: JSON.Object) throws(SwiftletError) -> [String] {
    var tokens: [String] = []
    tokens.reserveCapacity(vocab.count)
    for (token, value) in vocab {
      guard let id = value.int, (0...highestID).contains(id) else {
        throw .tokenizer(malformed: "the token '\(token)' has the id \(value.text())")
      }
      while tokens.count <= id { tokens.append("") }
      tokens[id] = token
    }
    return tokens
  }

  /// A merge is a pair, or in older files both tokens in one string with a space between.
  static func pair(_ merge: JSON) throws(SwiftletError) -> (String, String) {
    if let parts = merge.array, parts.count == 2, let left = parts[0].string, let right = parts[1].string {
      return (left, right)
    }
    guard let text = merge.string, let pair = MergeTable.pair(text) else {
      throw .tokenizer(malformed: "the merge \(merge.text()) is no pair of tokens")
    }
    return pair
  }

  /// The tokens `<0x00>` ... `<0xFF>`; nil if one is missing.
  static func byteTokens(_ vocabulary: Vocabulary) -> [Int32]? {
    let digits = Array("0123456789ABCDEF".utf8)
    let tokens = (0..<256).compactMap { byte in
      vocabulary.id(of: Array("<0x".utf8) + [digits[byte >> 4], digits[byte & 15], UInt8(ascii: ">")])
    }
    return tokens.count == 256 ? tokens : nil
  }
}

extension MergeTable {
  /// - Parameter pairs: both tokens of each merge as the file spells them, the first merge first.
  init(_ pairs: [(String, String)], _ vocabulary: Vocabulary) throws(SwiftletError) {
    self.init(capacity: pairs.count)
    var buffer: [UInt8] = []
    for (rank, pair) in pairs.enumerated() {
      guard let left = vocabulary.id(ofSpelling: pair.0, buffer: &buffer),
        let right = vocabulary.id(ofSpelling: pair.1, buffer: &buffer)
      else {
        throw .tokenizer(
          malformed: "merge \(rank), '\(pair.0) \(pair.1)', is of a token that is not in the vocabulary")
      }
      buffer.removeAll(keepingCapacity: true)
      buffer.append(contentsOf: vocabulary.contents[Int(left)])
      buffer.append(contentsOf: vocabulary.contents[Int(right)])
      guard let id = vocabulary.id(of: buffer) else {
        throw .tokenizer(
          malformed: "merge \(rank), '\(pair.0) \(pair.1)', makes a token that is not in the vocabulary")
      }
      insert(Merge(left: left, right: right, rank: Int32(rank), id: id))
    }
  }

  /// Splits `left right` at its first space that is not its first character.
  static func pair(_ text: String) -> (String, String)? {
    let bytes = text.utf8
    guard let space = bytes.dropFirst().firstIndex(of: UInt8(ascii: " ")) else { return nil }
    return (String(text[..<space]), String(text[bytes.index(after: space)...]))
  }
}

extension AddedToken {
  /// `added_tokens` of tokenizer.json.
  static func list(_ json: JSON?) throws(SwiftletError) -> [AddedToken] {
    var tokens: [AddedToken] = []
    for entry in json?.array ?? [] { tokens.append(try AddedToken(entry, id: entry["id"]?.int)) }
    return tokens
  }

  /// `added_tokens_decoder` of tokenizer_config.json: the same, keyed by id.
  static func list(configuration: JSON?) throws(SwiftletError) -> [AddedToken] {
    var tokens: [AddedToken] = []
    for (id, entry) in configuration?["added_tokens_decoder"]?.object ?? [:] {
      tokens.append(try AddedToken(entry, id: Int(id)))
    }
    return tokens
  }

  private init(_ json: JSON, id: Int?) throws(SwiftletError) {
    guard let id, (0...BPEModel.highestID).contains(id), let content = json["content"]?.string else {
      throw .tokenizer(malformed: "the added token \(json.text()) has no content or no proper id")
    }
    self.init(
      id: Int32(id), content: content, isSpecial: json["special"]?.bool ?? false,
      isNormalized: json["normalized"]?.bool ?? true, stripsLeft: json["lstrip"]?.bool ?? false,
      stripsRight: json["rstrip"]?.bool ?? false, isSingleWord: json["single_word"]?.bool ?? false)
  }
}

extension SwiftletError {
  static func tokenizer(unsupported what: String) -> SwiftletError {
    SwiftletError(
      .unsupported, "tokenizer: \(what) is not supported",
      remedy: "Supported are byte-level and SentencePiece-style BPE tokenizers.")
  }

  static func tokenizer(malformed what: String) -> SwiftletError {
    SwiftletError(.malformedFile, "tokenizer: \(what)")
  }
}
