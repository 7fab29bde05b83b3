import Basics
import Foundation
import Models
import Text

extension TestModel {
  /// Writes a whole model folder, as on Hugging Face: random weights, a tokenizer of single bytes and a chat template.
  ///
  /// - Parameters:
  ///   - kind: the family.
  ///   - vocabulary: rows of the embedding; the tokenizer has `textVocabulary` tokens.
  ///   - hidden: a multiple of 32.
  public static func write(
    _ kind: Kind = .llama, vocabulary: Int = textVocabulary, hidden: Int = 32, seed: UInt64 = 1,
    to folder: String
  ) throws {
    try write(
      kind.config(vocabulary: vocabulary, hidden: hidden), randomValues(seed: seed), to: folder)
    let files: [(String, JSON)] = [
      ("tokenizer.json", tokenizerFile), ("tokenizer_config.json", ["eos_token": .string(specialTokens[0])]),
    ]
    for (name, content) in files { try write(content.text(), to: "\(folder)/\(name)") }
    try write(chatTemplate, to: "\(folder)/chat_template.jinja")
  }

  /// A token for each byte, then the special ones.
  public static let textVocabulary = 256 + specialTokens.count

  private static let specialTokens = ["<|end|>", "<|user|>", "<|assistant|>", "<|system|>"]

  private static let chatTemplate = """
    {% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}\
    {% if add_generation_prompt %}<|assistant|>{% endif %}
    """

  private static var tokenizerFile: JSON {
    let letters = (0...255).map { String(Tokenizer.scalar(UInt8($0))) }
    let vocabulary = (letters + specialTokens).enumerated().map { ($1, JSON.int($0)) }
    return [
      "version": "1.0",
      "added_tokens": .array(
        specialTokens.enumerated().map {
          [
            "id": .int(256 + $0), "content": .string($1), "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true,
          ]
        }),
      "normalizer": nil,
      "pre_tokenizer": ["type": "ByteLevel", "add_prefix_space": false, "use_regex": true],
      "post_processor": nil, "decoder": ["type": "ByteLevel"],
      "model": [
        "type": "BPE", "vocab": .object(JSON.Object(uniqueKeysWithValues: vocabulary)), "merges": [],
      ],
    ]
  }

  private static func write(_ text: String, to path: String) throws {
    try Data(text.utf8).write(to: URL(filePath: path))
  }
}
