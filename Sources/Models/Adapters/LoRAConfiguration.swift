import Basics
import Foundation

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
  public var bias = Bias.none
  /// Layers that get adapters; nil: all.
  public var layersToTransform: [Int]?
  /// Scale alpha / sqrt(r) instead of alpha / r (Kalajdzievski, arXiv:2312.03732).
  public var usesRankStabilisedScale = false
  /// Ranks and alphas of the layers whose path ends in a key, or matches it as a regular expression.
  public var rankPattern: [String: Int] = [:]
  public var alphaPattern: [String: Double] = [:]
  /// Modules trained whole and saved with the adapter: `lm_head`, `embed_tokens`.
  public var modulesToSave: [String] = []

  public init() {}

  /// The rank and scale for the layer at `path`; nil when it gets no adapter.
  func adapter(for path: String, layer: Int?) throws(SwiftletError) -> (rank: Int, scale: Float)? {
    guard try targets(path, layer: layer) else { return nil }
    let rank = try Self.value(for: path, in: rankPattern) ?? r
    let alpha = try Self.value(for: path, in: alphaPattern) ?? alpha
    let divisor = usesRankStabilisedScale ? Double(rank).squareRoot() : Double(rank)
    return (rank, Float(alpha / divisor))
  }

  private func targets(_ path: String, layer: Int?) throws(SwiftletError) -> Bool {
    if let layersToTransform {
      guard let layer, layersToTransform.contains(layer) else { return false }
    }
    switch targets {
    case .allLinear: return layer != nil
    case .names(let names): return names.contains { path == $0 || path.hasSuffix("." + $0) }
    case .pattern(let pattern): return try Self.matches(path, pattern)
    }
  }

  /// PEFT's rule: the first key that matches `(.*\.)?key$`.
  private static func value<Value>(
    for path: String, in patterns: [String: Value]
  ) throws(SwiftletError) -> Value? {
    for key in patterns.keys.sorted() where try matches(path, "(.*\\.)?(\(key))") { return patterns[key] }
    return nil
  }

  private static func matches(_ path: String, _ pattern: String) throws(SwiftletError) -> Bool {
    guard let expression = try? NSRegularExpression(pattern: "^(?:\(pattern))$") else {
      throw SwiftletError(.invalidConfiguration, "'\(pattern)' is no regular expression")
    }
    return expression.firstMatch(in: path, range: NSRange(path.startIndex..., in: path)) != nil
  }
}

// MARK: - adapter_config.json

extension LoRAConfiguration {
  /// Reads PEFT's `adapter_config.json`. Keys that this version does not know are passed over; settings that
  /// would change the result are errors.
  public init(adapterConfig config: JSON, path: String) throws(SwiftletError) {
    func wrong(_ key: String) -> SwiftletError {
      SwiftletError(.malformedFile, "\(path): \"\(key)\" has no usable value")
    }
    guard config["peft_type"]?.string ?? "LORA" == "LORA" else {
      throw SwiftletError(
        .unsupported, "\(path): the adapter is of type \(config["peft_type"]?.string ?? "?"), not LORA")
    }
    for key in ["use_dora", "lora_bias", "fan_in_fan_out", "use_qalora"] where config[key]?.bool == true {
      throw SwiftletError(.unsupported, "\(path): \"\(key)\" is not supported")
    }
    guard let r = config["r"]?.int, r > 0 else { throw wrong("r") }
    guard let alpha = config["lora_alpha"]?.double else { throw wrong("lora_alpha") }
    self.r = r
    self.alpha = alpha
    dropout = config["lora_dropout"]?.double ?? 0
    usesRankStabilisedScale = config["use_rslora"]?.bool ?? false
    modulesToSave = config["modules_to_save"]?.array?.compactMap(\.string) ?? []
    guard let bias = Bias(rawValue: config["bias"]?.string ?? "none") else { throw wrong("bias") }
    self.bias = bias
    guard let targets = Targets(config["target_modules"] ?? .null) else { throw wrong("target_modules") }
    self.targets = targets
    if let layer = config["layers_to_transform"]?.int {
      layersToTransform = [layer]
    } else {
      layersToTransform = config["layers_to_transform"]?.array?.compactMap(\.int)
    }
    rankPattern = config["rank_pattern"]?.object?.dictionary(\.int) ?? [:]
    alphaPattern = config["alpha_pattern"]?.object?.dictionary(\.double) ?? [:]
  }

  /// The content of `adapter_config.json`.
  ///
  /// - Parameter baseModel: name or path of the base model, for PEFT to find it again.
  public func adapterConfig(baseModel: String) -> JSON {
    let layers: JSON = layersToTransform.map { .array($0.map { .int($0) }) } ?? nil
    let modules: JSON = modulesToSave.isEmpty ? nil : .array(modulesToSave.map { .string($0) })
    return [
      "alpha_pattern": .object(JSON.Object(sorted: alphaPattern.mapValues { .double($0) })),
      "base_model_name_or_path": .string(baseModel),
      "bias": .string(bias.rawValue),
      "fan_in_fan_out": false,
      "inference_mode": true,
      "init_lora_weights": true,
      "layers_pattern": nil,
      "layers_to_transform": layers,
      "lora_alpha": alpha == alpha.rounded() ? .int(Int(alpha)) : .double(alpha),
      "lora_dropout": .double(dropout),
      "modules_to_save": modules,
      "peft_type": "LORA",
      "r": .int(r),
      "rank_pattern": .object(JSON.Object(sorted: rankPattern.mapValues { .int($0) })),
      "target_modules": targets.json,
      "task_type": "CAUSAL_LM",
      "use_dora": false,
      "use_rslora": .bool(usesRankStabilisedScale),
    ]
  }
}

extension LoRAConfiguration.Targets {
  /// A list of names, a regular expression, or "all-linear"; nil for anything else.
  public init?(_ value: JSON) {
    switch value {
    case .string("all-linear"): self = .allLinear
    case .string(let pattern): self = .pattern(pattern)
    case .array(let names):
      let strings = names.compactMap(\.string)
      guard strings.count == names.count, !names.isEmpty else { return nil }
      self = .names(strings)
    default: return nil
    }
  }

  /// As PEFT writes it: "all-linear" is resolved to names.
  var json: JSON {
    switch self {
    case .allLinear: .array(ModuleKind.allCases.map { .string($0.rawValue) })
    case .names(let names): .array(names.map { .string($0) })
    case .pattern(let pattern): .string(pattern)
    }
  }
}

extension JSON.Object {
  fileprivate init(sorted values: [String: JSON]) {
    self.init(uniqueKeysWithValues: values.sorted { $0.key < $1.key })
  }

  /// The members that `transform` has a value for.
  fileprivate func dictionary<Member>(_ transform: (JSON) -> Member?) -> [String: Member] {
    Dictionary(uniqueKeysWithValues: elements.compactMap { key, value in transform(value).map { (key, $0) } })
  }
}
