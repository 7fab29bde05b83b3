import Basics
import Foundation
import Models

/// A Llama of one small block in Hugging Face's files: byte-level tokenizer, ChatML, weights at random. Every command
/// runs on it in a moment.
public enum TinyModel {
  /// Token ids: bytes first, in the order of GPT-2's letters, then those with a role.
  public static let endOfText: Int32 = 256
  public static let turnStart: Int32 = 257
  public static let turnEnd: Int32 = 258

  /// - Parameters:
  ///   - name: of the model's folder, made in `folder`.
  ///   - vocabulary: rows of the embedding; the tokenizer has 259 tokens.
  ///   - settings: of config.json, in place of those of the Llama.
  /// - Returns: the model folder's path.
  public static func write(
    to folder: TemporaryFolder, named name: String = "tiny", vocabulary: Int = 272,
    settings: JSON.Object = [:]
  ) throws -> String {
    try folder.write(JSON.object(["eos_token_id": [256, 258]]).text(), "\(name)/generation_config.json")
    try folder.write(tokenizer.text(), "\(name)/tokenizer.json")
    let roles: JSON = ["eos_token": "<|im_end|>", "chat_template": .string(chatML)]
    try folder.write(roles.text(), "\(name)/tokenizer_config.json")
    let path = "\(folder.path)/\(name)"
    var generator = Noise(state: 1)
    var config = config(vocabulary)
    config.merge(settings)
    try TestModel.write(.object(config), to: path) { name, count in
      (0..<count).map { _ in name.hasSuffix("norm.weight") ? 1 : generator.next() / 4 }
    }
    return path
  }

  /// Conversations to train on, as JSON Lines.
  public static func conversations(_ count: Int) -> String {
    (0..<count).map { index in
      let messages: JSON = [
        ["role": "user", "content": .string("What is \(index)?")],
        ["role": "assistant", "content": .string("It is \(index).")],
      ]
      return JSON.object(["messages": messages]).text() + "\n"
    }.joined()
  }

  public static let chatML = """
    {% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' \
    + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}
    """

  private static func config(_ vocabulary: Int) -> JSON.Object {
    [
      "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": .int(vocabulary),
      "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1,
      "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8,
      "max_position_embeddings": 256, "rms_norm_eps": 1e-6, "tie_word_embeddings": true, "eos_token_id": 256,
    ]
  }

  private static var tokenizer: JSON {
    let vocabulary = byteLetters.enumerated().map { (String($1), JSON.int($0)) }
    let added: [JSON] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"].enumerated().map {
      [
        "id": .int(256 + $0), "content": .string($1), "special": true, "normalized": false, "lstrip": false,
        "rstrip": false, "single_word": false,
      ]
    }
    let byteLevel: JSON = [
      "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true,
    ]
    return [
      "version": "1.0", "added_tokens": .array(added), "normalizer": nil, "pre_tokenizer": byteLevel,
      "post_processor": nil, "decoder": byteLevel,
      "model": [
        "type": "BPE", "vocab": .object(JSON.Object(uniqueKeysWithValues: vocabulary)), "merges": [],
      ],
    ]
  }
}
