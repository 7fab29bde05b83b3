import Basics
import OrderedCollections

extension LoRAConfiguration {
  /// Reads PEFT's `adapter_config.json`. Keys that this version does not know are passed over; settings that
  /// would change the result are errors.
  public init(adapterConfig config: JSON, path: String) throws(SwiftletError) {
    func wrong(_ key: String) -> SwiftletError {
      SwiftletError(.malformedFile, "\(path): \"\(key)\" has no usable value")
    }
    func list<Value>(_ key: String, _ value: (JSON) -> Value?) throws(SwiftletError) -> [Value]? {
      guard let json = config[key], !json.isNull else { return nil }
      let values = json.array?.compactMap(value)
      guard let values, values.count == json.array?.count else { throw wrong(key) }
      return values
    }
    func table<Value>(
      _ key: String, _ value: (JSON) -> Value?
    ) throws(SwiftletError) -> OrderedDictionary<String, Value> {
      var values: OrderedDictionary<String, Value> = [:]
      for (name, member) in config[key]?.object ?? [:] {
        guard let value = value(member) else { throw wrong(key) }
        values[name] = value
      }
      return values
    }
    guard config["peft_type"]?.string ?? "LORA" == "LORA" else {
      throw SwiftletError(
        .unsupported, "\(path): the adapter is of type \(config["peft_type"]?.string ?? "?"), not LORA")
    }
    for key in Self.unsupportedKeys where config[key].map(Self.isSet) == true {
      throw SwiftletError(.unsupported, "\(path): \"\(key)\" is not supported")
    }
    // These begin from a changed base model, and their adapters fit no other.
    if let initial = config["init_lora_weights"]?.string,
      !["gaussian", "orthogonal", "eva"].contains(initial)
    {
      throw SwiftletError(
        .unsupported, "\(path): \"init_lora_weights\": \"\(initial)\" is not supported",
        remedy: "PEFT's path_initial_model_for_weight_conversion saves it as a plain LoRA adapter.")
    }
    guard let r = config["r"]?.int, r > 0 else { throw wrong("r") }
    guard let alpha = config["lora_alpha"]?.double else { throw wrong("lora_alpha") }
    guard let bias = Bias(rawValue: config["bias"]?.string ?? "none") else { throw wrong("bias") }
    guard let targets = Targets(config["target_modules"] ?? .null) else { throw wrong("target_modules") }
    self.r = r
    self.alpha = alpha
    self.bias = bias
    self.targets = targets
    dropout = config["lora_dropout"]?.double ?? 0
    guard (0..<1).contains(dropout) else { throw wrong("lora_dropout") }
    usesRankStabilisedScale = config["use_rslora"]?.bool ?? false
    exclusions = config["exclude_modules"].flatMap(Targets.init)
    modulesToSave = try list("modules_to_save", \.string) ?? []
    if let layer = config["layers_to_transform"]?.int {
      layersToTransform = [layer]
    } else if let layers = try list("layers_to_transform", \.int), !layers.isEmpty {
      layersToTransform = layers
    }
    rankPattern = try table("rank_pattern", \.int)
    alphaPattern = try table("alpha_pattern", \.double)
  }

  /// Settings that this version does not know and that would change the result.
  private static let unsupportedKeys = [
    "use_dora", "lora_bias", "fan_in_fan_out", "use_qalora", "use_bdlora", "ensure_weight_tying",
    "layer_replication", "target_parameters", "trainable_token_indices", "alora_invocation_tokens",
    "kasa_config", "arrow_config", "velora_config", "monteclora_config",
  ]

  /// Whether a value is other than PEFT's ways to say no.
  private static func isSet(_ value: JSON) -> Bool {
    switch value {
    case .null, .bool(false), .array([]): false
    case .object(let members): !members.isEmpty
    default: true
    }
  }

  /// The content of `adapter_config.json`.
  ///
  /// - Parameter baseModel: name or path of the base model, for PEFT to find it again.
  public func adapterConfig(baseModel: String) -> JSON {
    let layers: JSON = layersToTransform.map { .array($0.map { .int($0) }) } ?? nil
    let modules: JSON = modulesToSave.isEmpty ? nil : .array(modulesToSave.map { .string($0) })
    return [
      "alpha_pattern": Self.object(alphaPattern, Self.number),
      "base_model_name_or_path": .string(baseModel),
      "bias": .string(bias.rawValue),
      "exclude_modules": exclusions?.json ?? nil,
      "fan_in_fan_out": false,
      "inference_mode": true,
      "init_lora_weights": true,
      "layers_pattern": nil,
      "layers_to_transform": layers,
      "lora_alpha": Self.number(alpha),
      "lora_dropout": .double(dropout),
      "modules_to_save": modules,
      "peft_type": "LORA",
      "r": .int(r),
      "rank_pattern": Self.object(rankPattern, JSON.int),
      "target_modules": targets.json,
      "task_type": "CAUSAL_LM",
      "use_dora": false,
      "use_rslora": .bool(usesRankStabilisedScale),
    ]
  }

  private static func object<Value>(
    _ patterns: OrderedDictionary<String, Value>, _ json: (Value) -> JSON
  ) -> JSON {
    .object(JSON.Object(uniqueKeysWithValues: patterns.map { ($0, json($1)) }))
  }

  /// Python tells 16 from 16.0, and so do people who compare files.
  private static func number(_ value: Double) -> JSON { Int(exactly: value).map(JSON.int) ?? .double(value) }
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
