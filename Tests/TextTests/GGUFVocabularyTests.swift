import Basics
import Foundation
import Testing

@testable import Text

/// Tokenizers from one form of file into the other and back: the same ids.
@Suite struct GGUFVocabularyTests {
  private let family: TokenizerFamily

  init() throws { family = try TokenizerFamily("byte_level") }

  private func byteLevel(_ pre: String) throws -> GGUFVocabulary {
    let vocab = try #require(family.tokenizer["model"]?["vocab"]?.object)
    let tokens = vocab.sorted { ($0.value.int ?? 0) < ($1.value.int ?? 0) }.map(\.key)
    let merges = try #require(family.tokenizer["model"]?["merges"]?.array)
      .map { try #require($0.array).compactMap(\.string).joined(separator: " ") }
    return GGUFVocabulary(
      model: "gpt2", pre: pre, tokens: tokens + ["<|begin|>", "<|user|>"],
      tokenTypes: tokens.map { _ in 1 } + [3, 4], merges: merges, bosID: Int32(tokens.count),
      eosID: Int32(tokens.count), addBOS: true)
  }

  /// Every way to split that llama.cpp names.
  @Test(
    arguments: [
      "default", "gpt-2", "smollm", "llama-bpe", "dbrx", "qwen2", "qwen35", "deepseek-llm", "deepseek-coder",
      "deepseek-v3", "falcon", "tekken", "gpt-4o", "bloom", "viking", "seed-coder", "bailingmoe",
    ])
  func byteLevelSurvives(pre: String) throws {
    let vocabulary = try byteLevel(pre)
    let original = try Tokenizer(gguf: vocabulary)
    let config = vocabulary.tokenizerConfig(chatTemplate: "{{ x }}", contextLength: 128)
    #expect(config["chat_template"] == "{{ x }}" && config["eos_token"] == "<|begin|>")
    let folder = FileManager.default.temporaryDirectory.appending(path: "swiftlet-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    for (name, json) in [
      ("tokenizer.json", try vocabulary.tokenizerJSON()), ("tokenizer_config.json", config),
    ] {
      try Data(json.text().utf8).write(to: folder.appending(path: name))
    }
    let written = try Tokenizer(folder: folder.path)
    let count = vocabulary.tokens.count + 6
    let back = try GGUFVocabulary(folder: folder.path, count: count)
    let again = try Tokenizer(gguf: back)
    #expect(back.tokens.count == count && back.tokenTypes?.suffix(9) == [1, 3, 4, 5, 5, 5, 5, 5, 5])
    #expect(back.merges == vocabulary.merges && back.bosID == vocabulary.bosID)
    for text in family.texts + ["<|user|>a<|begin|> b"] {
      let ids = original.encode(text, addSpecialTokens: true)
      #expect(
        again.encode(text, addSpecialTokens: true) == ids, "\(back.pre ?? ""): \(text.debugDescription)")
      // Qwen's own files compose characters, which llama.cpp does not.
      if pre == "qwen2", !text.precomposedStringWithCanonicalMapping.utf8.elementsEqual(text.utf8) {
        continue
      }
      #expect(written.encode(text, addSpecialTokens: true) == ids, "\(text.debugDescription)")
      #expect(written.decode(ids).utf8.elementsEqual(original.decode(ids).utf8))
    }
  }

  @Test func sentencePieceSurvives() throws {
    let fixture = try TokenizerFixture.json("scored")
    let vocabulary = GGUFVocabulary(
      model: "llama", tokens: try #require(fixture["tokens"]?.array).compactMap(\.string),
      scores: try #require(fixture["scores"]?.array).compactMap { $0.double.map { Float($0) } },
      tokenTypes: try TokenizerFixture.ids(fixture["types"]), bosID: 1, eosID: 2, unkID: 0)
    let folder = FileManager.default.temporaryDirectory.appending(path: "swiftlet-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    try Data(try vocabulary.tokenizerJSON().text().utf8).write(to: folder.appending(path: "tokenizer.json"))
    try Data(vocabulary.tokenizerConfig(chatTemplate: nil, contextLength: 128).text().utf8)
      .write(to: folder.appending(path: "tokenizer_config.json"))
    let written = try Tokenizer(folder: folder.path)
    let back = try GGUFVocabulary(folder: folder.path, count: vocabulary.tokens.count)
    let again = try Tokenizer(gguf: back)
    #expect(back.model == "llama" && back.tokenTypes == vocabulary.tokenTypes && back.addSpacePrefix == true)
    for (place, text) in try #require(fixture["texts"]?.array).compactMap(\.string).enumerated() {
      let ids = try TokenizerFixture.ids(fixture["ids"]?.array?[place])
      #expect(written.encode(text) == ids, "\(text.debugDescription)")
      #expect(again.encode(text) == ids, "\(text.debugDescription)")
      #expect(written.decode(ids).utf8.elementsEqual(again.decode(ids).utf8))
    }
    #expect(written.encode("", addSpecialTokens: true) == [1])
  }
}
