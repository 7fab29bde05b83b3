/// The linear layers of a block, by Hugging Face's module names: what `target_modules` chooses from.
public enum ModuleKind: String, Sendable, CaseIterable {
  case q = "q_proj"
  case k = "k_proj"
  case v = "v_proj"
  case o = "o_proj"
  case gate = "gate_proj"
  case up = "up_proj"
  case down = "down_proj"

  /// The module that contains it in Hugging Face's models.
  var parent: String {
    switch self {
    case .q, .k, .v, .o: "self_attn"
    case .gate, .up, .down: "mlp"
    }
  }
}

/// Every tensor of a decoder, independent of the file format that names it.
public enum TensorName: Sendable, Hashable {
  case embedding
  case finalNorm
  case head
  /// The divisors of the rotary frequencies (GGUF only).
  case rotaryDivisors
  case inputNorm(layer: Int)
  case postAttentionNorm(layer: Int)
  case queryNorm(layer: Int)
  case keyNorm(layer: Int)
  case weight(ModuleKind, layer: Int)
  case bias(ModuleKind, layer: Int)

  /// The tensor's name in a Hugging Face checkpoint; nil where there is none.
  public var huggingFace: String? {
    switch self {
    case .embedding: "model.embed_tokens.weight"
    case .finalNorm: "model.norm.weight"
    case .head: "lm_head.weight"
    case .rotaryDivisors: nil
    case .inputNorm(let layer): "model.layers.\(layer).input_layernorm.weight"
    case .postAttentionNorm(let layer): "model.layers.\(layer).post_attention_layernorm.weight"
    case .queryNorm(let layer): "model.layers.\(layer).self_attn.q_norm.weight"
    case .keyNorm(let layer): "model.layers.\(layer).self_attn.k_norm.weight"
    case .weight(let kind, let layer): "\(TensorName.module(kind, layer: layer)).weight"
    case .bias(let kind, let layer): "\(TensorName.module(kind, layer: layer)).bias"
    }
  }

  /// The tensor's name in a GGUF file.
  public var gguf: String {
    switch self {
    case .embedding: "token_embd.weight"
    case .finalNorm: "output_norm.weight"
    case .head: "output.weight"
    case .rotaryDivisors: "rope_freqs.weight"
    case .inputNorm(let layer): "blk.\(layer).attn_norm.weight"
    case .postAttentionNorm(let layer): "blk.\(layer).ffn_norm.weight"
    case .queryNorm(let layer): "blk.\(layer).attn_q_norm.weight"
    case .keyNorm(let layer): "blk.\(layer).attn_k_norm.weight"
    case .weight(let kind, let layer): "blk.\(layer).\(TensorName.ggufModule(kind)).weight"
    case .bias(let kind, let layer): "blk.\(layer).\(TensorName.ggufModule(kind)).bias"
    }
  }

  /// The path of a linear layer in Hugging Face's models: `model.layers.0.self_attn.q_proj`.
  public static func module(_ kind: ModuleKind, layer: Int) -> String {
    "model.layers.\(layer).\(kind.parent).\(kind.rawValue)"
  }

  private static func ggufModule(_ kind: ModuleKind) -> String {
    switch kind {
    case .q: "attn_q"
    case .k: "attn_k"
    case .v: "attn_v"
    case .o: "attn_output"
    case .gate: "ffn_gate"
    case .up: "ffn_up"
    case .down: "ffn_down"
    }
  }
}
