import Basics
import Foundation
import OrderedCollections

/// A low-rank adapter's settings, with PEFT's names and meanings.
public struct LoRAConfiguration: Sendable, Equatable {
  /// Which linear layers get an adapter.
  public enum Targets: Sendable, Equatable {
    /// Every linear layer of the blocks, not the head: PEFT's "all-linear".
    case allLinear
    /// Layers whose path is, or ends in a dot and, one of these names.
    case names([String])
    /// Layers whose whole path matches a regular expression.
    case pattern(String)
  }

  /// Which biases are trained too.
  public enum Bias: String, Sendable, CaseIterable {
    case none
    case all
    /// Those of the layers that get an adapter.
    case loraOnly = "lora_only"
  }

  public var r = 8
  public var alpha = 8.0
  public var dropout = 0.0
  public var targets = Targets.allLinear
  /// Layers that `targets` chooses and that get no adapter nevertheless.
  public var exclusions: Targets?
  public var bias = Bias.none
  /// Blocks whose layers get adapters; nil: all.
  public var layersToTransform: [Int]?
  /// Scale alpha / sqrt(r) instead of alpha / r (Kalajdzievski, arXiv:2312.03732).
  public var usesRankStabilisedScale = false
  /// Ranks and alphas of the layers whose path, or its end after a dot, matches a key as a regular expression;
  /// the first key that does so counts.
  public var rankPattern: OrderedDictionary<String, Int> = [:]
  public var alphaPattern: OrderedDictionary<String, Double> = [:]
  /// Modules trained whole and saved with the adapter: `lm_head`, `embed_tokens`.
  public var modulesToSave: [String] = []

  public init() {}

  /// Whether the head gets an adapter, or is trained whole.
  public var trainsHead: Bool {
    get throws(SwiftletError) {
      if modulesToSave.contains("lm_head") { return true }
      return try adapter(for: "lm_head", layer: nil) != nil
    }
  }

  /// The rank and scale for the layer at `path`; nil when it gets no adapter.
  func adapter(for path: String, layer: Int?) throws(SwiftletError) -> (rank: Int, scale: Float)? {
    guard try targets(path, layer: layer) else { return nil }
    let rank = try Self.value(for: path, in: rankPattern) ?? r
    let alpha = try Self.value(for: path, in: alphaPattern) ?? alpha
    guard rank > 0 else {
      throw SwiftletError(.invalidConfiguration, "the rank of \(path) must be at least 1, not \(rank)")
    }
    let divisor = usesRankStabilisedScale ? Double(rank).squareRoot() : Double(rank)
    return (rank, Float(alpha / divisor))
  }

  private func targets(_ path: String, layer: Int?) throws(SwiftletError) -> Bool {
    if let layersToTransform {
      guard let layer, layersToTransform.contains(layer) else { return false }
    }
    for module in modulesToSave where try Self.matches(path, "(.*\\.)?\(module)(\\..*)?") { return false }
    if let exclusions, try exclusions.contain(path, layer: layer) { return false }
    return try targets.contain(path, layer: layer)
  }

  private static func value<Value>(
    for path: String, in patterns: OrderedDictionary<String, Value>
  ) throws(SwiftletError) -> Value? {
    for (key, value) in patterns where try matches(path, "(.*\\.)?(\(key))") { return value }
    return nil
  }

  fileprivate static func matches(_ path: String, _ pattern: String) throws(SwiftletError) -> Bool {
    guard let expression = try? NSRegularExpression(pattern: "^(?:\(pattern))$") else {
      throw SwiftletError(.invalidConfiguration, "'\(pattern)' is no regular expression")
    }
    return expression.firstMatch(in: path, range: NSRange(path.startIndex..., in: path)) != nil
  }
}

extension LoRAConfiguration.Targets {
  /// Whether they hold the layer at `path`, in block `layer` or, when nil, outside of them.
  fileprivate func contain(_ path: String, layer: Int?) throws(SwiftletError) -> Bool {
    switch self {
    case .allLinear: layer != nil
    case .names(let names): names.contains { path == $0 || path.hasSuffix("." + $0) }
    case .pattern(let pattern): try LoRAConfiguration.matches(path, pattern)
    }
  }
}
