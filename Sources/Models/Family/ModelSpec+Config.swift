import Basics
import Compute

extension ModelSpec {
  /// The content of a config.json for a model that came without one.
  ///
  /// - Parameter tokenizer: GGUF metadata, for the special tokens.
  /// - Throws: `.unsupported` for rotary divisors that no known scaling gives.
  func config(tokenizer: [String: GGUFValue]) throws(SwiftletError) -> JSON.Object {
    // Mistral is a llama to GGUF.
    let family = self.family == .llama && windows.contains { $0 != nil } ? .mistral : family
    let window = windows.compactMap { $0 }.first
    var config: JSON.Object = [
      "architectures": [.string(family.architecture)],
      "model_type": .string(family.modelType),
      "vocab_size": .int(vocabularySize),
      "hidden_size": .int(hiddenSize),
      "intermediate_size": .int(intermediateSize),
      "num_hidden_layers": .int(layers),
      "num_attention_heads": .int(heads),
      "num_key_value_heads": .int(keyValueHeads),
      "head_dim": .int(headSize),
      "hidden_act": .string(activation.configName),
      "max_position_embeddings": .int(maximumPositions),
      // As short as the Float is: 1e-05, not 9.999999747378752e-06.
      "rms_norm_eps": .double(Double(normEpsilon.description) ?? Double(normEpsilon)),
      "rope_theta": .double(rotary.base),
      "rope_scaling": try rotary.configScaling,
      "attention_bias": .bool(hasAttentionBias),
      "mlp_bias": .bool(hasFeedForwardBias),
      "sliding_window": window.map(JSON.int) ?? nil,
      "tie_word_embeddings": .bool(tiesHead),
    ]
    if window != nil && family != .mistral {
      config["use_sliding_window"] = true
      config["layer_types"] = .array(windows.map { $0 == nil ? "full_attention" : "sliding_attention" })
    }
    for name in ["bos", "eos"] {
      if let id = tokenizer["tokenizer.ggml.\(name)_token_id"]?.int { config["\(name)_token_id"] = .int(id) }
    }
    return config
  }
}

extension Activation {
  fileprivate var configName: String {
    switch self {
    case .silu: "silu"
    case .geluTanh: "gelu_pytorch_tanh"
    case .gelu: "gelu"
    }
  }
}

extension RotarySpec {
  /// `rope_scaling`.
  fileprivate var configScaling: JSON {
    get throws(SwiftletError) {
      switch scaling {
      case .none: return nil
      case .linear(let factor): return ["rope_type": "linear", "factor": .double(factor)]
      case .llama3(let factor, let low, let high, let original):
        return [
          "rope_type": "llama3", "factor": .double(factor), "low_freq_factor": .double(low),
          "high_freq_factor": .double(high), "original_max_position_embeddings": .int(original),
        ]
      case .divisors(let divisors):
        // GGUF holds the result of Llama 3's scaling, not its settings. The lowest frequency is divided by the
        // factor; the other settings are the same in all of Meta's releases.
        var guess = self
        guess.scaling = .llama3(
          factor: Double(divisors.max() ?? 1), lowFrequency: 1, highFrequency: 4, originalPositions: 8192)
        let isEqual = zip(guess.frequencies, frequencies).allSatisfy { abs($0 / $1 - 1) < 1e-4 }
        guard isEqual else {
          throw SwiftletError(
            .unsupported, "the file's rotary divisors are not those of Llama 3: config.json cannot say them",
            remedy: "Train from the model's safetensors folder.")
        }
        return try guess.configScaling
      }
    }
  }
}
