import Basics
import Compute

extension ModelSpec {
  /// Reads a GGUF file's metadata.
  ///
  /// - Throws: `.unsupported` for an architecture or rope scaling that this version does not know, by name;
  ///   `.malformedFile` for a missing or senseless value.
  public init(gguf file: GGUFFile) throws(SwiftletError) {
    let reader = try GGUFReader(file)
    let heads = try reader.int("attention.head_count")
    let hidden = try reader.int("embedding_length")
    let headSize = try reader.int("attention.key_length", default: hidden / heads)
    let layers = try reader.int("block_count")
    let family = reader.family
    let window = try reader.optionalInt("attention.sliding_window")
    let embedding = try reader.matrix(TensorName.embedding.gguf)
    self.init(
      family: family, vocabularySize: embedding.shape[0], hiddenSize: hidden,
      intermediateSize: try reader.int("feed_forward_length"), layers: layers, heads: heads,
      keyValueHeads: try reader.int("attention.head_count_kv", default: heads), headSize: headSize,
      normEpsilon: Float(try reader.double("attention.layer_norm_rms_epsilon", default: 1e-6)),
      rotary: try reader.rotary(headSize: headSize), windows: Array(repeating: window, count: layers),
      tiesHead: file.tensor(TensorName.head.gguf) == nil,
      maximumPositions: try reader.int("context_length", default: 2048))
    hasAttentionBias = file.tensor(TensorName.bias(.q, layer: 0).gguf) != nil
    hasOutputBias = file.tensor(TensorName.bias(.o, layer: 0).gguf) != nil
    hasFeedForwardBias = file.tensor(TensorName.bias(.gate, layer: 0).gguf) != nil
    normalisesHeads = family.normalisesHeads
    try validate(path: file.path)
  }
}

/// Reads metadata values and says which one is wrong.
private struct GGUFReader {
  let file: GGUFFile
  let family: Family
  let architecture: String

  init(_ file: GGUFFile) throws(SwiftletError) {
    self.file = file
    guard let architecture = file.metadata["general.architecture"]?.string else {
      throw SwiftletError(.malformedFile, "\(file.path): the metadata lack general.architecture")
    }
    guard let family = Family.allCases.first(where: { $0.ggufArchitecture == architecture }) else {
      let known = Set(Family.allCases.map(\.ggufArchitecture)).sorted().joined(separator: ", ")
      throw SwiftletError(
        .unsupported, "\(file.path): the architecture '\(architecture)' is not known",
        remedy: "Known are: \(known).")
    }
    self.architecture = architecture
    self.family = family
  }

  private func value(_ key: String) -> GGUFValue? { file.metadata["\(architecture).\(key)"] }

  private func wrong(_ key: String, _ expected: String) -> SwiftletError {
    SwiftletError(
      .malformedFile, "\(file.path): metadata \(architecture).\(key) is missing or not \(expected)")
  }

  func optionalInt(_ key: String) throws(SwiftletError) -> Int? {
    guard let value = value(key) else { return nil }
    guard let int = value.int, int > 0, int < 1 << 31 else { throw wrong(key, "a positive integer") }
    return int
  }

  func int(_ key: String, default fallback: Int? = nil) throws(SwiftletError) -> Int {
    guard let int = try optionalInt(key) ?? fallback else { throw wrong(key, "a positive integer") }
    return int
  }

  func double(_ key: String, default fallback: Double) throws(SwiftletError) -> Double {
    guard let value = value(key) else { return fallback }
    guard let double = value.double else { throw wrong(key, "a number") }
    return double
  }

  func matrix(_ name: String) throws(SwiftletError) -> StoredTensor {
    let tensor = try file.required(name)
    guard tensor.shape.count == 2 else {
      throw SwiftletError(.malformedFile, "\(file.path): tensor \"\(name)\" is no matrix: \(tensor.shape)")
    }
    return tensor
  }

  func rotary(headSize: Int) throws(SwiftletError) -> RotarySpec {
    let base = try double("rope.freq_base", default: 10_000)
    let dimensions = try int("rope.dimension_count", default: headSize)
    if let divisors = file.tensor(TensorName.rotaryDivisors.gguf) {
      let values = try divisors.floats()
      guard values.count == dimensions / 2 else {
        throw SwiftletError(.malformedFile, "\(file.path): rope_freqs.weight has \(values.count) values")
      }
      return RotarySpec(base: base, dimensions: dimensions, scaling: .divisors(values))
    }
    switch value("rope.scaling.type")?.string ?? "none" {
    case "none": return RotarySpec(base: base, dimensions: dimensions)
    case "linear":
      let factor = try double("rope.scaling.factor", default: 1)
      return RotarySpec(base: base, dimensions: dimensions, scaling: .linear(factor: factor))
    case let type: throw SwiftletError(.unsupported, "\(file.path): rope scaling '\(type)' is not known")
    }
  }
}
