import Foundation
import Swiftlet
import TestSupport
import Testing

/// Opening models: what is no model, or not of one piece, is named before anything is done with it.
struct LanguageModelTests {
  private let folder: TemporaryFolder

  init() throws {
    folder = try TemporaryFolder()
    try TestModel.write(to: folder.path)
  }

  @Test func opensAFolder() throws {
    let model = try LanguageModel(folder.path)
    #expect(model.stopTokens == [256])
    #expect(model.paddingID == 256)
    #expect(try model.chatTokens([["role": "user", "content": "A"]]) == [257, 65, 256, 258])
    let text = try LanguageModelText(folder.path)
    #expect(text.tokenizer.vocabularySize == TestModel.textVocabulary)
    #expect(text.templateVariables["eos_token"] == "<|end|>")
  }

  /// `generation_config.json` may name several tokens that end an answer.
  @Test func stopsWhereGenerationConfigSays() throws {
    try folder.write(Array(#"{"eos_token_id": [256, 258]}"#.utf8), "generation_config.json")
    #expect(try LanguageModel(folder.path).stopTokens == [256, 258])
  }

  /// Files with other contents, and what the error says: its kind and words of it.
  @Test(
    arguments: [
      ("config.json", #"{"model_type": "mamba"}"#, .unsupported, "mamba"),
      ("config.json", "{", .malformedFile, "config.json"),
      ("generation_config.json", "{", .malformedFile, "generation_config.json"),
      ("chat_template.jinja", "{% for %}", .template, "line 1"),
      ("tokenizer.json", "[]", .malformedFile, ": tokenizer: "),
      ("model.safetensors", "12345678", .malformedFile, "model.safetensors"),
    ] as [(String, String, SwiftletError.Code, String)])
  func namesABrokenFile(_ name: String, _ content: String, _ code: SwiftletError.Code, _ word: String) throws
  {
    try folder.write(Array(content.utf8), name)
    let error = #expect(throws: SwiftletError.self) { try LanguageModel(folder.path) }
    #expect(error?.code == code)
    #expect(error?.message.contains(word) == true, "\(String(describing: error))")
  }

  @Test func namesATokenizerOfAnotherModel() throws {
    try TestModel.write(vocabulary: TestModel.textVocabulary - 3, to: folder.path)
    let error = #expect(throws: SwiftletError.self) { try LanguageModel(folder.path) }
    #expect(error?.code == .mismatch)
    #expect(error?.message.contains("260 tokens") == true)
    // An embedding may have more rows than there are tokens: many are padded.
    try TestModel.write(vocabulary: TestModel.textVocabulary + 3, to: folder.path)
    _ = try LanguageModel(folder.path)
  }

  @Test func namesAnAdapterThatIsTakenForAModel() throws {
    let model = try LanguageModel(folder.path)
    try model.addLoRA(LoRAConfiguration())
    let adapter = folder.path + "/adapter"
    try model.save(to: adapter)
    let error = #expect(throws: SwiftletError.self) { try LanguageModel(adapter) }
    #expect(error?.remedy?.contains("as the adapter") == true)
  }

  @Test func namesAnAdapterOfAnotherModel() throws {
    let model = try LanguageModel(folder.path)
    try model.addLoRA(LoRAConfiguration())
    let adapter = folder.path + "/adapter"
    try model.save(to: adapter)
    try TestModel.write(hidden: 64, to: folder.path)
    let error = #expect(throws: SwiftletError.self) { try LanguageModel(folder.path).loadAdapter(adapter) }
    #expect(error?.code == .mismatch)
  }

  @Test func namesAModelThatIsNotThere() {
    let error = #expect(throws: SwiftletError.self) { try LanguageModel("no-such-model") }
    #expect(error?.code == .unreadable)
    #expect(error?.message.contains("'no-such-model'") == true)
  }
}
