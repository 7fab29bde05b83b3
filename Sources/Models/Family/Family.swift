/// The model families that this version knows. What they share is in the blocks; how each differs is read into
/// a `ModelSpec`; what neither file format says stands here.
public enum Family: String, Sendable, CaseIterable {
  /// Llama 1, 2 and 3, SmolLM and everything else that calls itself `llama`.
  case llama
  case mistral
  /// Qwen2 and Qwen2.5.
  case qwen2
  case qwen3

  /// `model_type` in config.json.
  public var modelType: String { rawValue }

  /// `general.architecture` in GGUF files.
  var ggufArchitecture: String { self == .mistral ? "llama" : rawValue }

  /// Whether GGUF holds the rows of q and k in interleaved rotary order.
  var ggufInterleavesRotary: Bool { ggufArchitecture == "llama" }

  /// `architectures` in config.json.
  public var architecture: String {
    switch self {
    case .llama: "LlamaForCausalLM"
    case .mistral: "MistralForCausalLM"
    case .qwen2: "Qwen2ForCausalLM"
    case .qwen3: "Qwen3ForCausalLM"
    }
  }

  /// Whether q, k and v have biases when the configuration does not say.
  var hasAttentionBias: Bool { self == .qwen2 }

  var normalisesHeads: Bool { self == .qwen3 }
}
