/// Names of the tensors in PEFT's adapter files.
enum AdapterKey {
  /// What PEFT's wrappers put before a module's path.
  private static let prefix = "base_model.model."

  /// - Parameter side: A or B.
  static func lowRank(_ side: String, _ module: String) -> String { "\(prefix)\(module).lora_\(side).weight" }

  static func bias(_ module: String, adapted: Bool) -> String {
    "\(prefix)\(module)\(adapted ? ".base_layer" : "").bias"
  }

  static func whole(_ tensor: TensorName) -> String { prefix + (tensor.huggingFace ?? "") }

  /// A key without what PEFT's versions, and programs that save a model's parameters as they are named at run
  /// time, write or leave out: the adapter's name and the wrappers' fields.
  static func canonical(_ key: String) -> String {
    key.split(separator: ".", omittingEmptySubsequences: false)
      .filter { !["default", "base_layer", "modules_to_save"].contains($0) }
      .joined(separator: ".")
  }
}
