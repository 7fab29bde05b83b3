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
  /// - Returns: the model folder's path.
  public static func write(
    to folder: TemporaryFolder, named name: String = "tiny", vocabulary: Int = 272
  ) throws -> String {
    try folder.write(config(vocabulary).text(), "\(name)/config.json")
    try folder.write(JSON.object(["eos_token_id": [256, 258]]).text(), "\(name)/generation_config.json")
    try folder.write(tokenizer.text(), "\(name)/tokenizer.json")
    let roles: JSON = ["eos_token": "<|im_end|>", "chat_template": .string(chatML)]
    try folder.write(roles.text(), "\(name)/tokenizer_config.json")
    try writeWeights("\(folder.path)/\(name)/model.safetensors", vocabulary)
    return "\(folder.path)/\(name)"
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

  private static let (hidden, inner, headSize) = (16, 24, 8)

  private static func config(_ vocabulary: Int) -> JSON {
    [
      "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": .int(vocabulary),
      "hidden_size": .int(hidden), "intermediate_size": .int(inner), "num_hidden_layers": 1,
      "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": .int(headSize),
      "max_position_embeddings": 256, "rms_norm_eps": 1e-6, "tie_word_embeddings": true, "eos_token_id": 256,
    ]
  }

  private static func writeWeights(_ path: String, _ vocabulary: Int) throws {
    let layer = "model.layers.0."
    let shapes: [(String, [Int])] = [
      ("model.embed_tokens.weight", [vocabulary, hidden]), ("model.norm.weight", [hidden]),
      (layer + "input_layernorm.weight", [hidden]), (layer + "post_attention_layernorm.weight", [hidden]),
      (layer + "self_attn.q_proj.weight", [2 * headSize, hidden]),
      (layer + "self_attn.k_proj.weight", [headSize, hidden]),
      (layer + "self_attn.v_proj.weight", [headSize, hidden]),
      (layer + "self_attn.o_proj.weight", [hidden, 2 * headSize]),
      (layer + "mlp.gate_proj.weight", [inner, hidden]), (layer + "mlp.up_proj.weight", [inner, hidden]),
      (layer + "mlp.down_proj.weight", [hidden, inner]),
    ]
    let writer = try SafetensorsWriter(
      path: path, tensors: shapes.map { SafetensorsWriter.Entry($0, $1, .weight(.f32)) })
    var generator = Noise(state: 1)
    for (name, shape) in shapes {
      let values = (0..<shape.reduce(1, *)).map { _ in
        name.hasSuffix("norm.weight") ? 1 : generator.next() / 4
      }
      try writer.append(values.span, to: name)
    }
    try writer.finish()
  }

  private static var tokenizer: JSON {
    // GPT-2's letters: printable bytes stand for themselves, the others follow U+0100.
    let isPlain = { (byte: Int) in (0x21...0x7E).contains(byte) || byte >= 0xA1 && byte != 0xAD }
    let others = (0..<256).filter { !isPlain($0) }
    let letters = (0..<256).map { isPlain($0) ? $0 : 256 + (others.firstIndex(of: $0) ?? 0) }
    let scalars = letters.compactMap(Unicode.Scalar.init)
    let vocabulary = scalars.enumerated().map { (String($1), JSON.int($0)) }
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
