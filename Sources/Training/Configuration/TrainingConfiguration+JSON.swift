import Basics
import Models

// A configuration from the keys and values of a file, and back.

extension TrainingConfiguration {
  /// Reads a configuration file's content, and what is to replace single values of it.
  ///
  /// - Parameters:
  ///   - values: an object of keys and values; null stands for the default.
  ///   - overrides: each replaces what the file and earlier overrides say. `rank_pattern.q_proj` sets one member.
  ///   - source: what to name in errors: the file.
  /// - Throws: `.invalidConfiguration` for an unknown key (with the nearest known), a wrong type or range, a missing
  ///   key, or keys that contradict each other.
  public init(
    _ values: JSON, overrides: [(key: String, value: JSON)] = [], source: String
  ) throws(SwiftletError) {
    guard let object = values.object else {
      throw SwiftletError(
        .invalidConfiguration, "\(source): expected keys and values",
        remedy: "Write a line `key: value` each; `swiftlet keys` lists the keys.")
    }
    var settings = Settings()
    for (name, value) in object { try settings.add(name, value, source) }
    for (name, value) in overrides { try settings.replace(name, value, "--set") }
    self.init()
    for setting in settings.all { try apply(setting) }
    ignoredKeys = settings.ignored
    if adapter != nil { ignoreAdapterKeys() }
    do {
      try requireFiles()
      try validate()
    } catch { throw SwiftletError(error.code, "\(source): \(error.message)", remedy: error.remedy) }
  }

  private mutating func apply(_ setting: Settings.Setting) throws(SwiftletError) {
    guard case .property(let apply, _) = setting.key.meaning, apply(&self, setting.value) else {
      throw setting.wrong(setting.key.expected)
    }
  }

  /// An adapter made before has its own rank, scale and targets.
  private mutating func ignoreAdapterKeys() {
    let defaults = TrainingConfiguration()
    for key in ConfigurationKey.adapter where key.value(in: self) != key.value(in: defaults) {
      ignoredKeys.append((key.name, "the adapter in adapter_name_or_path has its own"))
    }
  }

  private func requireFiles() throws(SwiftletError) {
    let given = [
      ("model_name_or_path", !model.isEmpty), ("train_file", !trainFiles.isEmpty),
      ("output_dir", !run.outputFolder.isEmpty),
    ]
    let missing = given.filter { !$0.1 }.map(\.0)
    guard missing.isEmpty else {
      throw SwiftletError(.invalidConfiguration, "missing: \(missing.joined(separator: ", "))")
    }
  }

  /// Checks what can be checked without opening a file.
  ///
  /// - Throws: `.invalidConfiguration` for settings that contradict each other.
  public func validate() throws(SwiftletError) {
    func check(_ holds: Bool, _ what: String) throws(SwiftletError) {
      if !holds { throw SwiftletError(.invalidConfiguration, what) }
    }
    try check(datasetTemplate != nil || responseTemplate == nil, "response_template needs a dataset_template")
    try check(
      datasetTemplate == nil || datasetFormat == .auto,
      "dataset_template and dataset_format exclude each other")
    try check(evaluationFiles.isEmpty || evaluationSplit == 0, "eval_file and eval_split exclude each other")
    try check(
      run.evaluationStrategy ?? .no == .no || !evaluationFiles.isEmpty || evaluationSplit > 0,
      "eval_strategy needs eval_file or eval_split")
    try check(run.epochs > 0 || run.maximumSteps != nil, "num_train_epochs is 0: there is nothing to do")
    try check(fineTuning == .lora || adapter == nil, "adapter_name_or_path needs finetuning_type: lora")
    try check(
      fineTuning == .lora || baseWeights != .nf4 && baseWeights != .int8,
      "full fine-tuning trains float32 weights: base_weights cannot be \(baseWeights.rawValue)")
  }

  /// All keys that differ from their defaults, as a configuration file would hold them.
  public var json: JSON {
    let defaults = TrainingConfiguration()
    var object: JSON.Object = [:]
    for key in ConfigurationKey.all {
      if let value = key.value(in: self), value != key.value(in: defaults) { object[key.name] = value }
    }
    return .object(object)
  }
}

/// The settings of a configuration, at most one for each key.
private struct Settings {
  struct Setting {
    /// The key that is set: for a shorthand, the one it stands for.
    let key: ConfigurationKey
    let value: JSON
    /// The name it was given by.
    let name: String
    let source: String

    func wrong(_ expected: String) -> SwiftletError {
      SwiftletError(
        .invalidConfiguration, "\(source): \(name) is \(value.text(.spaced)), expected \(expected)")
    }
  }

  private(set) var all: [Setting] = []
  /// Keys of other programs, with the reason why they change nothing.
  private(set) var ignored: [(key: String, reason: String)] = []

  /// Whether `name` is a key of another program, which is noted then.
  ///
  /// - Throws: `.unsupported` for a value that would change the result.
  private mutating func ignore(_ name: String, _ value: JSON, _ source: String) throws(SwiftletError) -> Bool
  {
    guard let foreign = ForeignKey.named(name) else { return false }
    try foreign.check(name, value, source: source)
    ignored.append((name, foreign.reason))
    return true
  }

  /// Adds a setting of a file.
  ///
  /// - Throws: `.invalidConfiguration` when it contradicts another.
  mutating func add(_ name: String, _ value: JSON, _ source: String) throws(SwiftletError) {
    if try ignore(name, value, source) { return }
    guard !value.isNull, let new = try Self.setting(name, value, source) else { return }
    if let other = all.first(where: { $0.key.name == new.key.name }) {
      guard other.value == new.value else {
        throw SwiftletError(
          .invalidConfiguration, "\(source): \(other.name) and \(name) contradict each other",
          remedy: "Both set \(new.key.name): keep one.")
      }
      return
    }
    all.append(new)
  }

  /// Sets a key whatever was said before; null brings back its default.
  mutating func replace(_ name: String, _ value: JSON, _ source: String) throws(SwiftletError) {
    if let dot = name.firstIndex(of: "."), name[..<dot].hasSuffix("_pattern") {
      let key = String(name[..<dot])
      var members = all.first { $0.key.name == key }?.value.object ?? [:]
      let member = String(name[name.index(after: dot)...])
      if value.isNull { members.removeValue(forKey: member) } else { members[member] = value }
      return try replace(key, .object(members), source)
    }
    if try ignore(name, value, source) { return }
    all.removeAll { $0.name == name }
    guard let new = try Self.setting(name, value, source) else { return }
    all.removeAll { $0.key.name == new.key.name }
    if !value.isNull { all.append(new) }
  }

  /// nil for a shorthand that is switched off and says nothing then.
  private static func setting(
    _ name: String, _ value: JSON, _ source: String
  ) throws(SwiftletError) -> Setting? {
    let key = try ConfigurationKey.named(name, source: source)
    guard case .shorthand(let target, let on, let off) = key.meaning else {
      return Setting(key: key, value: value, name: name, source: source)
    }
    let given = Setting(key: key, value: value, name: name, source: source)
    guard value.isNull || value.bool != nil else { throw given.wrong(key.expected) }
    guard let meant = value == true ? on : value == false ? off : value else { return nil }
    return Setting(
      key: try ConfigurationKey.named(target, source: source), value: meant, name: name, source: source)
  }
}
