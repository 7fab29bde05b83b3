import Foundation
import TestSupport
import Testing

@testable import Swiftlet

/// Finding a model and opening it with its tokenizer and chat template.
@Suite struct ModelTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  // MARK: Finding

  @Test(arguments: [
    ("Llama-3.Q4_1.gguf", "Llama-3.Q4_1.gguf"), ("llama-3.q4_1.GGUF", "Llama-3.Q4_1.gguf"),
    ("Llama-3.Q4_1", "Llama-3.Q4_1.gguf"), ("llama-3", "Llama-3.Q4_1.gguf"), ("qwen", "Qwen"),
  ])
  func findsInTheCache(name: String, file: String) throws {
    for model in ["Llama-3.Q4_1.gguf", "Qwen", "Qwen.gguf", "Smol.Q8_0.gguf", "Smol.F16.gguf", ".partial"] {
      try folder.write("", model)
    }
    #expect(try ModelCache.path(of: name, in: folder.path) == "\(folder.path)/\(file)")
  }

  @Test(arguments: [
    ("smol", "It could be one of: Smol.F16.gguf, Smol.Q8_0.gguf."), ("Qwem", "Did you mean 'Qwen'?"),
    ("Llam", "In the cache are: Llama-3.Q4_1.gguf, Qwen, Smol.F16.gguf, Smol.Q8_0.gguf."),
    ("", "In the cache are:"), (".partial", "In the cache are:"),
  ])
  func namesWhatThereIs(name: String, remedy: String) throws {
    for model in ["Llama-3.Q4_1.gguf", "Qwen", "Smol.Q8_0.gguf", "Smol.F16.gguf"] {
      try folder.write("", model)
    }
    #expect {
      try ModelCache.path(of: name, in: folder.path)
    } throws: { error in
      let error = error as? SwiftletError
      return error?.code == .unreadable && error?.remedy?.hasPrefix(remedy) == true
    }
  }

  @Test func saysWhereTheCacheIs() {
    #expect {
      try ModelCache.path(of: "x", in: folder.path)
    } throws: { ($0 as? SwiftletError)?.remedy?.contains(folder.path) == true }
  }

  // MARK: Opening

  @Test func opensAFolder() throws {
    let model = try LanguageModel(try TinyModel.write(to: folder))
    #expect(model.decoder.spec.vocabularySize == 272)
    #expect(model.tokenizer.vocabularySize == 259)
    #expect(model.stopTokens == [TinyModel.endOfText, TinyModel.turnEnd])
    #expect(model.text.paddingID == TinyModel.turnEnd)
    let tokens = try model.text.chatTokens([["role": "user", "content": "Hi"]])
    #expect(model.tokenizer.decode(tokens) == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
    #expect(tokens.first == TinyModel.turnStart)
  }

  /// The ids of config.json count where there is no generation_config.json; the tokenizer's own always do.
  @Test(
    arguments: [
      (nil, [256, 258]), ("{\"eos_token_id\": 7}", [7, 258]), ("{\"eos_token_id\": [7, 8]}", [7, 8, 258]),
      ("{}", [256, 258]), ("{\"eos_token_id\": null}", [256, 258]),
    ] as [(String?, Set<Int32>)])
  func collectsStopTokens(generation: String?, expected: Set<Int32>) throws {
    let path = try TinyModel.write(to: folder)
    try FileManager.default.removeItem(atPath: path + "/generation_config.json")
    if let generation { try folder.write(generation, "tiny/generation_config.json") }
    #expect(try LanguageModelText(path).stopTokens == expected)
  }

  /// What is wrong with a model folder, by the file that is replaced (nil: removed).
  @Test(
    arguments: [
      (
        "generation_config.json", "{", SwiftletError.Code.malformedFile,
        "generation_config.json: JSON, line 1"
      ),
      ("tokenizer.json", nil, .unreadable, "there is no tokenizer.json"),
      ("tokenizer.json", "{\"model\": {\"type\": \"WordPiece\"}}", .unsupported, "tiny: tokenizer: "),
      ("config.json", nil, .unreadable, "config.json"),
      ("config.json", "{", .malformedFile, "config.json: JSON"),
      ("model.safetensors", nil, .unreadable, "model.safetensors"),
      ("model.safetensors", "garbage!", .malformedFile, "model.safetensors"),
      ("chat_template.jinja", "{% if %}", .template, "chat_template.jinja, line 1"),
    ] as [(String, String?, SwiftletError.Code, String)])
  func namesTheBadFile(file: String, text: String?, code: SwiftletError.Code, expected: String) throws {
    let path = try TinyModel.write(to: folder)
    try? FileManager.default.removeItem(atPath: "\(path)/\(file)")
    if let text { try folder.write(text, "tiny/\(file)") }
    #expect {
      try LanguageModel(path)
    } throws: { error in
      let error = error as? SwiftletError
      return error?.code == code && error?.message.contains(expected) == true
    }
  }

  @Test func checksTheVocabulary() throws {
    let path = try TinyModel.write(to: folder, vocabulary: 258)
    #expect {
      try LanguageModel(path)
    } throws: { error in
      let error = error as? SwiftletError
      return error?.code == .mismatch
        && error?.message == "\(path): the tokenizer has 259 tokens, the embedding 258 rows"
    }
  }

  @Test func anAdapterIsNoModel() throws {
    try folder.write("{\"base_model_name_or_path\": \"org/base\"}", "a/adapter_config.json")
    #expect {
      try LanguageModelText("\(folder.path)/a")
    } throws: { error in
      let error = error as? SwiftletError
      return error?.code == .invalidConfiguration && error?.remedy?.contains("'org/base'") == true
    }
  }

  @Test func takesAnotherTemplate() throws {
    var text = try LanguageModelText(try TinyModel.write(to: folder))
    try text.useChatTemplate("{{ messages[0].content }}!")
    #expect(text.tokenizer.decode(try text.chatTokens([["role": "user", "content": "Hi"]])) == "Hi!")
    try text.useChatTemplate(try folder.write("{{ eos_token }}", "t.jinja"))
    #expect(try text.chatTokens([["role": "user", "content": "Hi"]]) == [TinyModel.turnEnd])
    #expect {
      try text.useChatTemplate("nowhere.jinja")
    } throws: { ($0 as? SwiftletError)?.code == .unreadable }
    text.chatTemplate = nil
    #expect { try text.chatTokens([]) } throws: { ($0 as? SwiftletError)?.code == .unsupported }
  }

  /// A real GGUF file: `make model` puts it into the cache.
  @Test(.enabled(if: ModelCache.names.contains(smollm2), "SKIPPED: \(smollm2) is not in the cache"))
  func opensAGGUF() throws {
    let text = try LanguageModelText("smollm2-135m-instruct")
    #expect(text.tokenizer.vocabularySize == 49_152)
    #expect(text.stopTokens == [2])
    let tokens = try text.chatTokens([["role": "user", "content": "Hi"]])
    #expect(
      text.tokenizer.decode(tokens).hasSuffix("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"))
  }
}

private let smollm2 = "SmolLM2-135M-Instruct.Q4_1.gguf"
