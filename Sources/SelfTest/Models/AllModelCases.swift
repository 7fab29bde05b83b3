import Basics
import Compute
import Models

extension ModelCase {
  /// The table: each family, base format, kind of training and shape of batch at least once, in as few models as
  /// that takes.
  public static var all: [ModelCase] {
    [
      ModelCase(
        name: "llama, streamed head, bf16",
        config: config("llama", ["num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 64]),
        weights: .bfloat16, streamsHead: true, trained: .adapters(lora { _ in })),
      // An odd vocabulary: rows of logits that start at any address.
      ModelCase(
        name: "qwen2 with biases, tied head, f32",
        config: config("qwen2", ["vocab_size": 301, "tie_word_embeddings": true]),
        trained: .adapters(lora { $0.bias = .all })),
      // The heads are wider together than the stream; adapters of different ranks share one product.
      ModelCase(
        name: "qwen3 with QK-norm, several ranks, nf4",
        config: config("qwen3", ["head_dim": 64]), weights: .nf4,
        trained: .adapters(
          lora {
            $0.rankPattern = ["k_proj": 3, "up_proj": 16]
            $0.usesRankStabilisedScale = true
          })),
      ModelCase(
        name: "mistral with a window, int8",
        config: config("mistral", ["sliding_window": 20, "num_key_value_heads": 1]),
        weights: .int8, trained: .adapters(lora { _ in })),
      // Rotary rows interleaved, as llama.cpp writes them; one sequence a line.
      ModelCase(
        name: "llama, unpacked, q8_0",
        config: config(
          "llama", ["head_dim": 64, "tie_word_embeddings": true, "rope_scaling": ["rope_type": "llama3"]]),
        stored: .q8_0, trained: .adapters(lora { _ in }), isPacked: false),
      ModelCase(
        name: "llama, some layers, whole embedding and head, bf16", config: config("llama"),
        weights: .bfloat16,
        trained: .adapters(
          lora {
            $0.targets = .names(["q_proj", "v_proj", "down_proj"])
            $0.modulesToSave = ["embed_tokens", "lm_head"]
          })),
      ModelCase(
        name: "qwen3 with biases, tied head, everything trained",
        config: config("qwen3", ["attention_bias": true, "tie_word_embeddings": true]),
        trained: .everything, optimizer: .adamW),
    ]
  }

  /// A config.json of two layers with `settings` of its own.
  private static func config(_ family: String, _ settings: JSON.Object = [:]) -> JSON {
    var config: JSON.Object = [
      "model_type": .string(family), "vocab_size": 320, "hidden_size": 128, "intermediate_size": 192,
      "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
      "rms_norm_eps": 1e-6, "max_position_embeddings": 256,
    ]
    for (key, value) in settings { config[key] = value }
    return .object(config)
  }

  private static func lora(_ change: (inout LoRAConfiguration) -> Void) -> LoRAConfiguration {
    var lora = LoRAConfiguration()
    lora.alpha = 16
    lora.dropout = 0.1
    change(&lora)
    return lora
  }
}
