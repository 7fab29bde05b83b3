import Basics
import Foundation
import Models
import Text

/// The tokenizer beside a model's weights, in each of the two forms that it has in files.
extension LanguageModel {
  /// Writes tokenizer.json, tokenizer_config.json with the chat template, special_tokens_map.json and
  /// generation_config.json for a model that came as a GGUF file; a folder's own were copied with the weights.
  func writeTokenizer(to folder: String) throws(SwiftletError) {
    guard case .gguf(let gguf) = file else { return }
    let metadata = try GGUFTokenizerMetadata(gguf)
    let vocabulary = try metadata.vocabulary(path: gguf.path)
    let config = vocabulary.tokenizerConfig(
      chatTemplate: chatTemplate?.source ?? metadata.chatTemplate, contextLength: contextLength)
    var generation: JSON.Object = [
      "do_sample": false, "eos_token_id": .array(stopTokens.sorted().map { .int(Int($0)) }),
    ]
    if let bos = tokenizer.bosToken { generation["bos_token_id"] = .int(Int(bos.id)) }
    if let pad = tokenizer.padToken { generation["pad_token_id"] = .int(Int(pad.id)) }
    let files: [(String, JSON)] = [
      ("tokenizer.json", try vocabulary.tokenizerJSON()), ("tokenizer_config.json", config),
      ("special_tokens_map.json", .object(vocabulary.specialTokens)),
      ("generation_config.json", .object(generation)),
    ]
    for (name, json) in files { try write(json, to: "\(folder)/\(name)") }
  }

  private func write(_ json: JSON, to path: String) throws(SwiftletError) {
    do {
      try Data((json.text(.indented(2)) + "\n").utf8).write(to: URL(fileURLWithPath: path), options: .atomic)
    } catch { throw SwiftletError(.unwritable, "\(path): \(error.localizedDescription)") }
  }

  /// The keys `tokenizer.*` of a GGUF file.
  ///
  /// - Throws: `.unsupported` for a tokenizer that GGUF cannot describe.
  func ggufTokenizer() throws(SwiftletError) -> [GGUFEntry] {
    let vocabulary: GGUFVocabulary
    let rows = decoder.spec.vocabularySize
    switch file {
    case .gguf(let gguf): vocabulary = try GGUFTokenizerMetadata(gguf).vocabulary(path: gguf.path)
    case .folder(let folder, _):
      // Chat models end a turn with another token than a text.
      let turn = stopTokens.subtracting([tokenizer.eosToken?.id].compactMap(\.self)).max()
      vocabulary = try GGUFVocabulary(folder: folder.path, count: rows, eotID: turn)
    }
    return vocabulary.entries
      + (chatTemplate.map { [GGUFEntry("tokenizer.chat_template", .string($0.source))] } ?? [])
  }
}

extension GGUFTokenizerMetadata {
  /// What Text makes a tokenizer of.
  ///
  /// - Throws: `.malformedFile` when the kind of tokenizer is missing.
  func vocabulary(path: String) throws(SwiftletError) -> GGUFVocabulary {
    guard let model else {
      throw SwiftletError(.malformedFile, "\(path): the metadata lack tokenizer.ggml.model")
    }
    func id(_ value: Int?) -> Int32? { value.flatMap { Int32(exactly: $0) } }
    return GGUFVocabulary(
      model: model, pre: pre, tokens: tokens, scores: scores.isEmpty ? nil : scores,
      tokenTypes: tokenTypes.isEmpty ? nil : tokenTypes.map { Int32(truncatingIfNeeded: $0) },
      merges: merges, bosID: id(bosID), eosID: id(eosID), unkID: id(unknownID),
      padID: id(paddingID), eotID: id(eotID), addBOS: addBOS, addEOS: addEOS, addSpacePrefix: addSpacePrefix)
  }
}

extension GGUFVocabulary {
  /// The vocabulary as metadata.
  fileprivate var entries: [GGUFEntry] {
    func key(_ name: String, _ value: GGUFEntry.Value?) -> GGUFEntry? {
      value.map { GGUFEntry("tokenizer.ggml.\(name)", $0) }
    }
    func id(_ name: String, _ value: Int32?) -> GGUFEntry? {
      value.flatMap { $0 >= 0 ? key("\(name)_token_id", .u32(UInt32($0))) : nil }
    }
    return [
      key("model", .string(model)), key("pre", pre.map { .string($0) }), key("tokens", .strings(tokens)),
      key("scores", scores.map { .floats($0) }), key("token_type", tokenTypes.map { .integers($0) }),
      key("merges", merges.map { .strings($0) }), id("bos", bosID), id("eos", eosID), id("unknown", unkID),
      id("padding", padID), id("eot", eotID), key("add_bos_token", addBOS.map { .bool($0) }),
      key("add_eos_token", addEOS.map { .bool($0) }),
      key("add_space_prefix", addSpacePrefix.map { .bool($0) }),
    ].compactMap(\.self)
  }
}
