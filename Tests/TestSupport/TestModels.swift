import Basics
import Compute
import Foundation
import Models
import Text

/// Models small enough to be made in a test, by way of files like any other.
public enum TestModel {
  /// The families and settings in which cached and uncached rows could part.
  public enum Kind: String, CaseIterable, Sendable {
    case llama
    /// Queries see 5 keys.
    case mistralWindow
    /// Heads are normalised.
    case qwen3

    func config(layers: Int = 2, vocabulary: Int, hidden: Int = 32, positions: Int = 400) -> JSON {
      var config: JSON.Object = [
        "model_type": "llama", "vocab_size": .int(vocabulary), "hidden_size": .int(hidden),
        "intermediate_size": 48, "num_hidden_layers": .int(layers), "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": .int(positions),
        "rms_norm_eps": 1e-6,
      ]
      switch self {
      case .llama: break
      case .mistralWindow:
        config["model_type"] = "mistral"
        config["sliding_window"] = 5
      case .qwen3: config["model_type"] = "qwen3"
      }
      return .object(config)
    }
  }

  public static let vocabulary = 61

  /// Weights at random, large enough that rows differ and attention is not flat.
  public static func random(_ kind: Kind, layers: Int = 2, on backend: any Backend) throws -> Decoder {
    var generator = Noise(state: 7)
    return try decoder(kind.config(layers: layers, vocabulary: vocabulary), on: backend) { name, count in
      if name.hasSuffix("norm.weight") { return (0..<count).map { _ in 1 + generator.next() / 4 } }
      return (0..<count).map { _ in generator.next() * (name.contains("embed") ? 1 : 0.5) }
    }
  }

  /// A model that counts: token i is followed by i + 1, whatever came before, with nearly all probability.
  public static func counting(_ vocabulary: Int, positions: Int = 400, on backend: any Backend) throws
    -> Decoder
  {
    let hidden = max(vocabulary, 32)
    let config = Kind.llama.config(layers: 1, vocabulary: vocabulary, hidden: hidden, positions: positions)
    return try decoder(config, on: backend) { name, count in
      var values = [Float](repeating: name.hasSuffix("norm.weight") ? 1 : 0, count: count)
      for id in 0..<vocabulary {
        // Token i is the i-th direction, which the next token's logit reads.
        if name == "model.embed_tokens.weight" { values[id * hidden + id] = 1 }
        if name == "lm_head.weight" { values[(id + 1) % vocabulary * hidden + id] = 4 }
      }
      return values
    }
  }

  private static func decoder(
    _ config: JSON, on backend: any Backend, values: (_ name: String, _ count: Int) -> [Float]
  ) throws -> Decoder {
    let folder = FileManager.default.temporaryDirectory.appending(path: "swiftlet-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    // The weights stay mapped when the names are gone.
    defer { try? FileManager.default.removeItem(at: folder) }
    try write(config, to: folder.path, values: values)
    return try Decoder(try ModelFile(path: folder.path), on: backend)
  }

  /// Writes config.json and model.safetensors.
  static func write(
    _ config: JSON, to folder: String, values: (_ name: String, _ count: Int) -> [Float]
  ) throws {
    try Data(config.text().utf8).write(to: URL(filePath: folder + "/config.json"))
    let shapes = shapes(try ModelSpec(config: config, path: "config.json"))
    let writer = try SafetensorsWriter(
      path: folder + "/model.safetensors",
      tensors: shapes.map { SafetensorsWriter.Entry($0.name, $0.shape, .weight(.f32)) })
    for (name, shape) in shapes {
      try writer.append(values(name, shape.reduce(1, *)).span, to: name)
    }
    try writer.finish()
  }

  private static func shapes(_ spec: ModelSpec) -> [(name: String, shape: [Int])] {
    let (C, F, D) = (spec.hiddenSize, spec.intermediateSize, spec.headSize)
    let (queries, keys) = (spec.heads * D, spec.keyValueHeads * D)
    var tensors: [(TensorName, [Int])] = [
      (.embedding, [spec.vocabularySize, C]), (.finalNorm, [C]),
    ]
    if !spec.tiesHead { tensors.append((.head, [spec.vocabularySize, C])) }
    for layer in 0..<spec.layers {
      tensors += [
        (.inputNorm(layer: layer), [C]), (.postAttentionNorm(layer: layer), [C]),
        (.weight(.q, layer: layer), [queries, C]), (.weight(.k, layer: layer), [keys, C]),
        (.weight(.v, layer: layer), [keys, C]), (.weight(.o, layer: layer), [C, queries]),
        (.weight(.gate, layer: layer), [F, C]), (.weight(.up, layer: layer), [F, C]),
        (.weight(.down, layer: layer), [C, F]),
      ]
      if spec.hasAttentionBias {
        tensors += [
          (.bias(.q, layer: layer), [queries]), (.bias(.k, layer: layer), [keys]),
          (.bias(.v, layer: layer), [keys]),
        ]
      }
      if spec.normalisesHeads { tensors += [(.queryNorm(layer: layer), [D]), (.keyNorm(layer: layer), [D])] }
    }
    return tensors.compactMap { name, shape in name.huggingFace.map { ($0, shape) } }
  }
}

/// Numbers in [-1, 1] (Steele et al., SplitMix64).
public struct Noise {
  var state: UInt64

  public init(state: UInt64) { self.state = state }

  public mutating func next() -> Float {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return Float((z ^ (z >> 31)) >> 40) * 0x1p-23 - 1
  }
}

extension Tokenizer {
  /// A tokenizer whose token i stands for the bytes `tokens[i]`; the last token is special and ends texts.
  public init(bytes tokens: [[UInt8]], end: String = "<end>") throws {
    let spelled = tokens.map { String(String.UnicodeScalarView($0.map { byteLetters[Int($0)] })) }
    try self.init(
      gguf: GGUFVocabulary(
        model: "gpt2", pre: "default", tokens: spelled + [end],
        tokenTypes: Array(repeating: 1, count: tokens.count) + [3], merges: [], eosID: Int32(tokens.count)))
  }
}

/// GPT-2's letters of the 256 bytes: printable ones stand for themselves, the others follow U+0100.
let byteLetters: [Unicode.Scalar] = {
  var others: UInt16 = 0x100
  return (UInt8.min...UInt8.max).map { byte in
    if (0x21...0x7E).contains(byte) || byte >= 0xA1 && byte != 0xAD { return Unicode.Scalar(byte) }
    defer { others += 1 }
    return Unicode.Scalar(others) ?? "?"
  }
}()
