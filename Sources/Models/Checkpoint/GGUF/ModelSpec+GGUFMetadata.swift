import Basics
import Compute

extension ModelSpec {
  /// What a GGUF file says of the architecture, for llama.cpp to read.
  ///
  /// - Throws: `.unsupported` for what its architectures have no key for.
  func ggufMetadata() throws(SwiftletError) -> [GGUFEntry] {
    let architecture = family.ggufArchitecture
    guard activation == .silu else {
      throw SwiftletError(.unsupported, "GGUF's \(architecture) has no activation but SiLU")
    }
    func entry(_ key: String, _ number: Int) -> GGUFEntry { GGUFEntry("\(architecture).\(key)", number) }
    func entry(_ key: String, _ value: GGUFEntry.Value) -> GGUFEntry {
      GGUFEntry("\(architecture).\(key)", value)
    }
    var entries = [
      entry("vocab_size", vocabularySize), entry("context_length", maximumPositions),
      entry("embedding_length", hiddenSize), entry("block_count", layers),
      entry("feed_forward_length", intermediateSize), entry("attention.head_count", heads),
      entry("attention.head_count_kv", keyValueHeads), entry("attention.key_length", headSize),
      entry("attention.value_length", headSize),
      entry("attention.layer_norm_rms_epsilon", .f32(normEpsilon)),
      entry("rope.dimension_count", rotary.dimensions), entry("rope.freq_base", .f32(Float(rotary.base))),
    ]
    if let window = try ggufWindow() { entries.append(entry("attention.sliding_window", window)) }
    if case .linear(let factor) = rotary.scaling {
      entries += [
        entry("rope.scaling.type", .string("linear")), entry("rope.scaling.factor", .f32(Float(factor))),
      ]
    }
    return entries
  }

  /// The window that all layers have; nil for none.
  private func ggufWindow() throws(SwiftletError) -> Int? {
    let distinct = Set(windows)
    guard distinct.count <= 1 else {
      throw SwiftletError(
        .unsupported,
        "GGUF's \(family.ggufArchitecture) cannot say that only some layers have a sliding window")
    }
    return distinct.first ?? nil
  }

  /// `rope_freqs.weight`: what each rotary frequency is divided by; nil where they are not, or all by one number.
  ///
  /// - Throws: `.unsupported` where llama.cpp's architecture has no such tensor.
  func ggufRotaryDivisors() throws(SwiftletError) -> [Float]? {
    switch rotary.scaling {
    case .none, .linear: return nil
    case .llama3, .divisors: break
    }
    guard family.ggufArchitecture == "llama" else {
      throw SwiftletError(
        .unsupported,
        "GGUF's \(family.ggufArchitecture) has no rotary divisors, as this model's scaling needs them")
    }
    var plain = rotary
    plain.scaling = .none
    return zip(plain.frequencies, rotary.frequencies).map { Float($0 / $1) }
  }
}
