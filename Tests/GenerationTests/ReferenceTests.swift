import Basics
import Compute
import Foundation
import Models
import Testing
import Text

@testable import Generation

/// Continuations that transformers made greedily with SmolLM2-135M-Instruct, float32
/// (Fixtures/smollm2_greedy.json: prompt, ids, new_ids, text).
@Suite(
  .enabled(
    if: ReferenceModel.isThere,
    "needs SmolLM2-135M-Instruct.Q4_1.gguf in \(ReferenceModel.folder)"))
struct ReferenceTests {
  @Test func continuesAsTheReference() throws {
    let file = try GGUFFile(path: ReferenceModel.path)
    let cpu = try CPU()
    let tokenizer = try Tokenizer(gguf: GGUFVocabulary(GGUFTokenizerMetadata(file)))
    let generator = try Generator(
      try Decoder(.gguf(file), on: cpu), tokenizer: tokenizer, on: cpu,
      settings: GeneratorSettings(contextLength: 512))
    for row in try #require(ReferenceModel.rows.array) {
      let prompt = tokenizer.encode(try #require(row["prompt"]?.string))
      #expect(prompt.map(Int.init) == row["ids"]?.array?.compactMap(\.int))
      let generation = try generator.generate(
        prompt, GenerationOptions(maxNewTokens: 32, skipsSpecialTokens: false))
      var text = ""
      while let token = try generation.next() { text += token.text }
      let new = generation.tokens.dropFirst(prompt.count)
      #expect(new.map(Int.init) == row["new_ids"]?.array?.compactMap(\.int))
      // The reference spells out the token that ended the text.
      #expect(row["text"]?.string == (new.last == 2 ? text + "<|im_end|>" : text))
    }
  }
}

enum ReferenceModel {
  static var folder: String {
    let environment = ProcessInfo.processInfo.environment
    let cache = environment["XDG_CACHE_HOME"] ?? NSHomeDirectory() + "/.cache"
    return cache + "/swiftlet/models"
  }

  static var path: String { folder + "/SmolLM2-135M-Instruct.Q4_1.gguf" }
  static var isThere: Bool { FileManager.default.fileExists(atPath: path) }

  static var rows: JSON {
    get throws {
      let fixture = URL(filePath: #filePath).deletingLastPathComponent()
        .appending(path: "Fixtures/smollm2_greedy.json")
      return try JSON(parsing: Array(Data(contentsOf: fixture)))
    }
  }
}

extension GGUFVocabulary {
  init(_ metadata: GGUFTokenizerMetadata) throws {
    self.init(
      model: try #require(metadata.model), pre: metadata.pre, tokens: metadata.tokens,
      tokenTypes: metadata.tokenTypes.map(Int32.init), merges: metadata.merges,
      bosID: metadata.bosID.map(Int32.init), eosID: metadata.eosID.map(Int32.init))
  }
}
