import Foundation
import Swiftlet
import TestSupport
import Testing

/// `tokenize` and `render` on SmolLM2, byte for byte what transformers gives.
@Suite(
  .enabled(
    if: ModelCache.names.contains("SmolLM2-135M-Instruct.Q4_1.gguf"),
    "SKIPPED: SmolLM2 is not in the cache (`make model` gets it)"))
struct CommandReferenceTests {
  let swiftlet: Binary
  /// The cache that tests elsewhere replace.
  let environment = ["XDG_CACHE_HOME": URL(filePath: ModelCache.root).deletingLastPathComponent().path]

  init() throws { swiftlet = Binary(folder: try TemporaryFolder()) }

  private func fixture(_ name: String) -> String {
    URL(filePath: #filePath).deletingLastPathComponent().appending(path: "Fixtures/\(name)").path
  }

  @Test func tokenizes() throws {
    let file = fixture("tokenizer.jsonl")
    let result = try swiftlet(
      "tokenize", "--model", "smollm2-135m-instruct", "--file", file, "--json", environment: environment)
    #expect(result.status == 0, "\(result.errors)")
    #expect(try result.output.utf8.elementsEqual(String(contentsOfFile: file, encoding: .utf8).utf8))
  }

  @Test func renders() throws {
    let file = fixture("chat_template.json")
    let result = try swiftlet(
      "render", "--model", "smollm2-135m-instruct", "--file", file, "--json", environment: environment)
    #expect(result.status == 0, "\(result.errors)")
    #expect(try result.json() == JSON(parsing: try String(contentsOfFile: file, encoding: .utf8)))
  }
}
