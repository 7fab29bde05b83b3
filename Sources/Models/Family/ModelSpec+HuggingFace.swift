import Basics
import Compute

extension ModelSpec {
  /// Reads a `config.json`.
  ///
  /// - Throws: `.unsupported` for a model type or a setting that this version does not know, by name;
  ///   `.malformedFile` for a missing or senseless value.
  public init(config: JSON, path: String) throws(SwiftletError) {
    let reader = ConfigReader(config: config, path: path)
    let type = try reader.string("model_type")
    guard let family = Family(rawValue: type) else {
      let known = Family.allCases.map(\.modelType).joined(separator: ", ")
      throw SwiftletError(
        .unsupported, "\(path): model_type '\(type)' is not known", remedy: "Known are: \(known).")
    }
    let heads = try reader.int("num_attention_heads")
    let hidden = try reader.int("hidden_size")
    let headSize = try reader.int("head_dim", default: hidden / heads)
    let layers = try reader.int("num_hidden_layers")
    self.init(
      family: family, vocabularySize: try reader.int("vocab_size"), hiddenSize: hidden,
      intermediateSize: try reader.int("intermediate_size"), layers: layers, heads: heads,
      keyValueHeads: try reader.int("num_key_value_heads", default: heads), headSize: headSize,
      normEpsilon: Float(try reader.double("rms_norm_eps", default: 1e-6)),
      rotary: try reader.rotary(headSize: headSize), activation: try reader.activation(),
      windows: try reader.windows(family, layers: layers),
      tiesHead: try reader.bool("tie_word_embeddings", default: false),
      maximumPositions: try reader.int("max_position_embeddings", default: 2048))
    let attentionBias = try reader.bool("attention_bias", default: family.hasAttentionBias)
    hasAttentionBias = attentionBias
    hasOutputBias = attentionBias && family != .qwen2
    hasFeedForwardBias = try reader.bool("mlp_bias", default: false)
    normalisesHeads = family.normalisesHeads
    try validate(path: path)
  }

  /// Checks what the rest of the code takes for granted.
  func validate(path: String) throws(SwiftletError) {
    func check(_ holds: Bool, _ what: String) throws(SwiftletError) {
      if !holds { throw SwiftletError(.malformedFile, "\(path): \(what)") }
    }
    try check(
      heads % keyValueHeads == 0, "\(heads) heads cannot share \(keyValueHeads) key-value heads evenly")
    try check(headSize % 2 == 0, "the head size \(headSize) is odd")
    try check(
      rotary.dimensions % 2 == 0 && rotary.dimensions <= headSize,
      "\(rotary.dimensions) rotary dimensions do not fit a head of \(headSize)")
    try check(windows.allSatisfy { $0.map { $0 > 0 } ?? true }, "a sliding window is not positive")
    try check(rotary.base > 0, "the rotary base \(rotary.base) is not positive")
  }
}

/// Reads values of a config.json and says which one is wrong.
private struct ConfigReader {
  let config: JSON
  let path: String

  private func value(_ key: String) -> JSON? {
    config[key].flatMap { $0.isNull ? nil : $0 }
  }

  private func wrong(_ key: String, _ expected: String) -> SwiftletError {
    SwiftletError(.malformedFile, "\(path): \"\(key)\" is missing or not \(expected)")
  }

  func string(_ key: String) throws(SwiftletError) -> String {
    guard let string = value(key)?.string else { throw wrong(key, "a text") }
    return string
  }

  func int(_ key: String, default fallback: Int? = nil) throws(SwiftletError) -> Int {
    guard let int = value(key).map(\.int) ?? fallback, int > 0, int < 1 << 31 else {
      throw wrong(key, "a positive integer")
    }
    return int
  }

  func double(_ key: String, default fallback: Double) throws(SwiftletError) -> Double {
    guard let double = value(key).map(\.double) ?? fallback else { throw wrong(key, "a number") }
    return double
  }

  func bool(_ key: String, default fallback: Bool) throws(SwiftletError) -> Bool {
    guard let bool = value(key).map(\.bool) ?? fallback else { throw wrong(key, "true or false") }
    return bool
  }

  func activation() throws(SwiftletError) -> Activation {
    guard let name = value("hidden_act")?.string else { return .silu }
    switch name {
    case "silu", "swish": return .silu
    case "gelu": return .gelu
    case "gelu_pytorch_tanh", "gelu_new": return .geluTanh
    default: throw SwiftletError(.unsupported, "\(path): hidden_act '\(name)' is not known")
    }
  }

  /// The base stands beside the scaling in `rope_parameters` (transformers 5) or apart from `rope_scaling`.
  func rotary(headSize: Int) throws(SwiftletError) -> RotarySpec {
    let scaling = ConfigReader(config: value("rope_parameters") ?? value("rope_scaling") ?? [:], path: path)
    let base = try scaling.double("rope_theta", default: try double("rope_theta", default: 10_000))
    let share = try double("partial_rotary_factor", default: 1)
    let dimensions = Int(Double(headSize) * share)
    let type = scaling.value("rope_type")?.string ?? scaling.value("type")?.string ?? "default"
    switch type {
    case "default": return RotarySpec(base: base, dimensions: dimensions)
    case "linear":
      return RotarySpec(
        base: base, dimensions: dimensions, scaling: .linear(factor: try scaling.double("factor", default: 1))
      )
    case "llama3":
      return RotarySpec(
        base: base, dimensions: dimensions,
        scaling: .llama3(
          factor: try scaling.double("factor", default: 8),
          lowFrequency: try scaling.double("low_freq_factor", default: 1),
          highFrequency: try scaling.double("high_freq_factor", default: 4),
          originalPositions: try scaling.int("original_max_position_embeddings", default: 8192)))
    default: throw SwiftletError(.unsupported, "\(path): rope scaling '\(type)' is not known")
    }
  }

  /// `layer_types` says it layer by layer; before it existed, Mistral's window held for all layers and Qwen's
  /// from `max_window_layers` on.
  func windows(_ family: Family, layers: Int) throws(SwiftletError) -> [Int?] {
    guard value("sliding_window") != nil, try bool("use_sliding_window", default: family == .mistral) else {
      return Array(repeating: nil, count: layers)
    }
    let window = try int("sliding_window")
    if let types = value("layer_types")?.array {
      guard types.count == layers else { throw wrong("layer_types", "one entry a layer") }
      return types.map { $0.string == "sliding_attention" ? window : nil }
    }
    let first = family == .mistral ? 0 : try int("max_window_layers", default: layers)
    return (0..<layers).map { $0 >= first ? window : nil }
  }
}
