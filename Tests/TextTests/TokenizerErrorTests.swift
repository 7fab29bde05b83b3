import Basics
import Foundation
import Testing

@testable import Text

@Suite struct TokenizerErrorTests {
  private static let model: JSON = [
    "type": "BPE", "vocab": ["a": 0, "b": 1, "ab": 2], "merges": [["a", "b"]],
  ]

  @Test(
    arguments: [
      ("model", ["type": "Unigram", "vocab": []], "Unigram"),
      ("model", ["type": "WordPiece", "vocab": [:]], "WordPiece"),
      (
        "model", ["type": "BPE", "vocab": [:], "merges": [], "end_of_word_suffix": "</w>"],
        "end_of_word_suffix"
      ),
      ("normalizer", ["type": "Precompiled"], "Precompiled"),
      ("pre_tokenizer", ["type": "UnicodeScripts"], "UnicodeScripts"),
      ("pre_tokenizer", ["type": "Split", "pattern": ["Regex": "("], "behavior": "Isolated"], "'('"),
      ("pre_tokenizer", ["type": "Split", "pattern": ["String": " "], "behavior": "Odd"], "Odd"),
      (
        "pre_tokenizer",
        [
          "type": "Sequence",
          "pretokenizers": [["type": "ByteLevel"], ["type": "Metaspace", "replacement": "▁"]],
        ],
        "after the ByteLevel"
      ),
      ("post_processor", ["type": "Odd"], "Odd"),
      ("decoder", ["type": "WordPiece"], "WordPiece"),
      (
        "decoder", ["type": "Sequence", "decoders": [["type": "Fuse"], ["type": "ByteFallback"]]],
        "after Fuse"
      ),
    ] as [(String, JSON, String)])
  func namesWhatIsNotSupported(key: String, part: JSON, expected: String) {
    #expect { try Tokenizer(tokenizerJSON: Self.file(key, part)) } throws: { error in
      (error as? SwiftletError)?.code == .unsupported && "\(error)".contains(expected)
    }
  }

  @Test(
    arguments: [
      ("model", ["type": "BPE", "vocab": ["a": 0, "b": 1], "merges": ["a b"]], "makes a token"),
      ("model", ["type": "BPE", "vocab": ["a": 0], "merges": ["a b"]], "not in the vocabulary"),
      ("model", ["type": "BPE", "vocab": ["a": 0], "merges": ["ab"]], "no pair"),
      ("model", ["type": "BPE", "vocab": ["a": -1], "merges": []], "-1"),
      ("model", ["type": "BPE", "vocab": ["a": 1e15], "merges": []], "the id"),
      ("model", ["type": "BPE"], "no 'vocab'"),
      ("added_tokens", [["content": "<x>"]], "<x>"),
      ("normalizer", ["prepend": "▁"], "no 'type'"),
      ("post_processor", ["type": "TemplateProcessing", "single": [["SpecialToken": ["id": "<s>"]]]], "<s>"),
    ] as [(String, JSON, String)])
  func namesWhatIsMalformed(key: String, part: JSON, expected: String) {
    #expect { try Tokenizer(tokenizerJSON: Self.file(key, part)) } throws: { error in
      (error as? SwiftletError)?.code == .malformedFile && "\(error)".contains(expected)
    }
  }

  private static func file(_ key: String, _ part: JSON) -> JSON {
    var object: JSON.Object = ["model": model]
    object[key] = part
    return .object(object)
  }

  @Test(arguments: [
    (GGUFVocabulary(model: "gpt2", pre: "no-such-pre", tokens: ["a"], merges: []), "no-such-pre"),
    (GGUFVocabulary(model: "bert", tokens: ["a"]), "bert"),
    (GGUFVocabulary(model: "gpt2", pre: "gpt-2", tokens: ["a"]), "without merges"),
    (GGUFVocabulary(model: "gpt2", tokens: ["a"], tokenTypes: [1, 1], merges: []), "2 token types"),
    (GGUFVocabulary(model: "llama", tokens: ["a"]), "score"),
  ])
  func namesWhatAGGUFVocabularyLacks(vocabulary: GGUFVocabulary, expected: String) {
    #expect { try Tokenizer(gguf: vocabulary) } throws: { "\($0)".contains(expected) }
  }

  // MARK: - Folders

  @Test func readsAModelFolder() throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    func write(_ name: String, _ text: String) throws {
      try Data(text.utf8).write(to: folder.appendingPathComponent(name))
    }
    #expect { try Tokenizer(folder: folder.path) } throws: { "\($0)".contains("no tokenizer.json") }
    try write("tokenizer.model", "x")
    #expect { try Tokenizer(folder: folder.path) } throws: { "\($0)".contains("save_pretrained") }
    try write("tokenizer.json", "{")
    #expect { try Tokenizer(folder: folder.path) } throws: {
      "\($0)".contains("tokenizer.json: JSON, line 1")
    }
    try write("tokenizer.json", JSON.object(["model": Self.model]).text())
    try write("tokenizer_config.json", #"{"bos_token": "a", "add_bos_token": true}"#)
    let tokenizer = try Tokenizer(folder: folder.path)
    #expect(tokenizer.encode("abb", addSpecialTokens: true) == [0, 2, 1])
  }
}
