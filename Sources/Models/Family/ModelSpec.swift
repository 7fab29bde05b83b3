import Basics
import Foundation
import Compute

/// Everything in which one decoder-only transformer differs from another: the families are values of this type,
/// not code. Read from a `config.json` or from GGUF metadata.
public struct ModelSpec: Sendable, Equatable {
  public var family: Family
  public var vocabularySize: Int
  /// Width of the residual stream: C.
  public var hiddenSize: Int
  /// Width of the feed-forward block: F.
  public var intermediateSize: Int
  public var layers: Int
  public var heads: Int
  public var keyValueHeads: Int
  /// D; heads * headSize need not be hiddenSize.
  public var headSize: Int
  public var normEpsilon: Float
  public var rotary: RotarySpec
  public var activation: Activation = .silu
  /// For each layer how many keys a query sees; nil: all.
  public var windows: [Int?]
  /// Whether q, k and v have biases (Qwen2), the attention's output has one (Llama with `attention_bias`), the
  /// feed-forward layers have (`mlp_bias`).
  public var hasAttentionBias = false
  public var hasOutputBias = false
  public var hasFeedForwardBias = false
  /// Whether q and k are normalised per head before they are rotated (Qwen3).
  public var normalisesHeads = false
  /// Whether the head is the embedding.
  public var tiesHead: Bool
  /// The longest sequence that the model was made for.
  public var maximumPositions: Int

  /// The attention of one layer.
  public func attention(layer: Int) -> Attention.Shape {
    Attention.Shape(
      heads: heads, keyValueHeads: keyValueHeads, headSize: headSize, scale: 1 / Float(headSize).squareRoot(),
      window: windows[layer])
  }
}

/// Rotary position embedding: base, dimensions and how the angles are stretched for long contexts.
public struct RotarySpec: Sendable, Equatable {
  public enum Scaling: Sendable, Equatable {
    case none
    /// Every frequency divided by `factor` (position interpolation, arXiv:2306.15595).
    case linear(factor: Double)
    /// Low frequencies divided by `factor`, high ones kept, those between blended (Llama 3.1).
    case llama3(factor: Double, lowFrequency: Double, highFrequency: Double, originalPositions: Int)
    /// Frequency i divided by divisors[i]: what GGUF stores of any of the others.
    case divisors([Float])
  }

  public var base: Double
  /// How many of a head's columns are rotated.
  public var dimensions: Int
  public var scaling: Scaling

  public init(base: Double, dimensions: Int, scaling: Scaling = .none) {
    self.base = base
    self.dimensions = dimensions
    self.scaling = scaling
  }

  /// Angle per position of each column pair, (dimensions / 2): base^(-2i / dimensions), scaled.
  public var frequencies: [Double] {
    (0..<dimensions / 2).map { i in
      let frequency = 1 / pow(base, Double(2 * i) / Double(dimensions))
      switch scaling {
      case .none: return frequency
      case .linear(let factor): return frequency / factor
      case .divisors(let divisors): return frequency / Double(divisors[i])
      case .llama3(let factor, let low, let high, let original):
        let turns = Double(original) * frequency / (2 * .pi)  // full turns within the original context
        if turns > high { return frequency }
        if turns < low { return frequency / factor }
        let blend = (turns - low) / (high - low)
        return (1 - blend) * frequency / factor + blend * frequency
      }
    }
  }

  /// Cosines and sines for positions 0 ..< count.
  public func table(
    positions count: Int, headSize: Int, on backend: any Backend
  ) throws(SwiftletError) -> RotaryTable {
    let frequencies = frequencies
    let columns = frequencies.count
    var cosines = [Float](repeating: 0, count: count * columns)
    var sines = cosines
    for position in 0..<count {
      for (i, frequency) in frequencies.enumerated() {
        // transformers rounds frequency and angle to float32; the tables must agree with it.
        let angle = Double(Float(position) * Float(frequency))
        cosines[position * columns + i] = Float(cos(angle))
        sines[position * columns + i] = Float(sin(angle))
      }
    }
    let bytes = count * columns * MemoryLayout<Float>.size
    let buffer = try backend.allocate(bytes: 2 * bytes)
    let table = RotaryTable(
      cosine: Tensor(buffer, rows: count, columns: columns, dtype: .f32),
      sine: Tensor(buffer, offset: bytes, rows: count, columns: columns, dtype: .f32), headSize: headSize,
      owner: buffer)
    try table.cosine.write(cosines, on: backend)
    try table.sine.write(sines, on: backend)
    return table
  }
}
