import Basics

/// What a GGUF file says about its tokenizer, under `tokenizer.ggml.`; nil or empty where it says nothing.
public struct GGUFTokenizerMetadata: Sendable {
  /// The kind: `gpt2` (byte-level BPE), `llama` (SentencePiece), ...
  public let model: String?
  /// The pre-tokenizer, by the name of the model family it comes from.
  public let pre: String?
  /// Token texts, by id.
  public let tokens: [String]
  /// SentencePiece's log-probabilities, by id.
  public let scores: [Float]
  /// 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte; by id.
  public let tokenTypes: [Int]
  /// BPE merges in order of rank, two parts with a space between; nil where the file has no such list.
  public let merges: [String]?

  public let bosID: Int?
  public let eosID: Int?
  /// End of a turn.
  public let eotID: Int?
  public let unknownID: Int?
  public let paddingID: Int?

  public let addBOS: Bool?
  public let addEOS: Bool?
  public let addSpacePrefix: Bool?
  /// Jinja source.
  public let chatTemplate: String?

  /// - Throws: `.malformedFile` when a key has the wrong type.
  public init(_ file: GGUFFile) throws(SwiftletError) {
    let keys = KeyReader(file: file)
    model = try keys.scalar("ggml.model", \.string)
    pre = try keys.scalar("ggml.pre", \.string)
    tokens = try keys.strings("ggml.tokens")
    scores = try keys.elements("ggml.scores", \.double).map(Float.init)
    tokenTypes = try keys.elements("ggml.token_type", \.int)
    merges = file.metadata["tokenizer.ggml.merges"] == nil ? nil : try keys.strings("ggml.merges")
    bosID = try keys.scalar("ggml.bos_token_id", \.int)
    eosID = try keys.scalar("ggml.eos_token_id", \.int)
    eotID = try keys.scalar("ggml.eot_token_id", \.int)
    unknownID = try keys.scalar("ggml.unknown_token_id", \.int)
    paddingID = try keys.scalar("ggml.padding_token_id", \.int)
    addBOS = try keys.scalar("ggml.add_bos_token", \.bool)
    addEOS = try keys.scalar("ggml.add_eos_token", \.bool)
    addSpacePrefix = try keys.scalar("ggml.add_space_prefix", \.bool)
    chatTemplate = try keys.scalar("chat_template", \.string)
  }
}

/// Typed reads of `tokenizer.` keys.
private struct KeyReader {
  let file: GGUFFile

  func scalar<T>(_ key: String, _ read: (GGUFValue) -> T?) throws(SwiftletError) -> T? {
    guard let value = file.metadata["tokenizer.\(key)"] else { return nil }
    guard let scalar = read(value) else { throw wrongType(key) }
    return scalar
  }

  func strings(_ key: String) throws(SwiftletError) -> [String] {
    guard let value = file.metadata["tokenizer.\(key)"] else { return [] }
    guard let strings = try value.array?.strings() else { throw wrongType(key) }
    return strings
  }

  func elements<T>(_ key: String, _ read: (GGUFValue) -> T?) throws(SwiftletError) -> [T] {
    guard let value = file.metadata["tokenizer.\(key)"] else { return [] }
    guard let values = try value.array?.values() else { throw wrongType(key) }
    let elements = values.compactMap(read)
    guard elements.count == values.count else { throw wrongType(key) }
    return elements
  }

  private func wrongType(_ key: String) -> SwiftletError {
    SwiftletError(.malformedFile, "\(file.path): the metadata key \"tokenizer.\(key)\" has the wrong type")
  }
}
