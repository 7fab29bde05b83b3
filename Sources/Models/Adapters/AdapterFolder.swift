import Basics
import Compute
import Foundation

/// A LoRA adapter on disk, as PEFT reads and writes it: `adapter_config.json` and `adapter_model.safetensors`.
public struct AdapterFolder: Sendable {
  public let path: String
  public let configuration: LoRAConfiguration
  /// Name or path of the model that it was trained on, as it says itself.
  public let baseModel: String?
  private let file: SafetensorsFile

  private static let configName = "adapter_config.json"
  private static let weightsName = "adapter_model.safetensors"

  /// Opens and checks the configuration and the tensors' header; no value is read.
  ///
  /// - Throws: `.unreadable`, `.malformedFile`, or `.unsupported` for settings that this version does not know and
  ///   that would change the result.
  public init(path: String) throws(SwiftletError) {
    self.path = path
    let configPath = "\(path)/\(Self.configName)"
    guard isFile(configPath) else {
      throw SwiftletError(
        .unreadable, "\(path): there is no \(Self.configName)",
        remedy: "Give a folder that PEFT or this program saved an adapter to.")
    }
    let bytes = try MappedFile(path: configPath)
    let config: JSON
    do { config = try JSON(parsing: bytes.copy(0..<bytes.count) ?? []) } catch {
      throw SwiftletError(.malformedFile, "\(configPath): \(error.message)")
    }
    configuration = try LoRAConfiguration(adapterConfig: config, path: configPath)
    baseModel = config["base_model_name_or_path"]?.string
    guard isFile("\(path)/\(Self.weightsName)") else {
      throw SwiftletError(
        .unreadable, "\(path): there is no \(Self.weightsName)",
        remedy: "adapter_model.bin is not read: save the adapter again with a current PEFT.")
    }
    file = try SafetensorsFile(path: "\(path)/\(Self.weightsName)")
  }

  /// Writes an adapter. Both files appear whole or not at all, the configuration last: a folder without one is
  /// no adapter.
  ///
  /// - Parameters:
  ///   - parameters: what `Decoder.addLoRA` returned for `configuration`.
  ///   - baseModel: name or path of the base model, for PEFT to find it again.
  ///   - path: created when it is not there.
  /// - Throws: `.unwritable`.
  public static func save(
    _ parameters: Parameters, _ configuration: LoRAConfiguration, baseModel: String, to path: String
  ) throws(SwiftletError) {
    try createFolder(path)
    let entries = parameters.entries.map {
      SafetensorsWriter.Entry($0.name, $0.shape, .weight(.f32))
    }
    let writer = try SafetensorsWriter(path: "\(path)/\(weightsName)", tensors: entries)
    for index in parameters.entries.indices {
      let values = try parameters.values(of: index)
      try writer.append(values.span, to: parameters.entries[index].name)
    }
    let config = configuration.adapterConfig(baseModel: baseModel)
    try writer.finish()
    try writeFile(Array((config.text(.indented(2)) + "\n").utf8), to: "\(path)/\(configName)")
  }

  /// Sets `parameters`, which `addLoRA` gave `model` for this adapter's configuration, to the values in the file.
  ///
  /// - Throws: `.mismatch` when a tensor is missing, too many or of another shape.
  func load(into parameters: Parameters, of model: inout Decoder) throws(SwiftletError) {
    var stored: [String: StoredTensor] = [:]
    for name in file.names { stored[AdapterKey.canonical(name)] = file.tensor(name) }
    for (index, entry) in parameters.entries.enumerated() {
      guard let tensor = stored.removeValue(forKey: AdapterKey.canonical(entry.name)) else {
        throw mismatch(
          "there is no tensor \"\(entry.name)\", which adapter_config.json and the model ask for")
      }
      try parameters.setValues(of: index, to: checked(tensor, shape: entry.shape).floats())
    }
    // Beside an adapter of the head, PEFT saves the head.
    if model.head.down != nil, let head = stored.removeValue(forKey: AdapterKey.whole(.head)) {
      let weight = model.head.parts[0].weight
      let saved = try checked(head, shape: [weight.rows, weight.columns]).weight()
      model.head.parts[0].weight = try model.backend.place(saved, as: nil)
    }
    // In the file's order.
    if let name = file.names.first(where: { stored[AdapterKey.canonical($0)] != nil }) {
      throw mismatch("\"\(name)\" \(file.tensor(name)?.shape ?? []) has no place in the model")
    }
  }

  private func checked(_ tensor: StoredTensor, shape: [Int]) throws(SwiftletError) -> StoredTensor {
    guard tensor.shape == shape else {
      throw mismatch(
        "\"\(tensor.name)\" has the shape \(tensor.shape), adapter_config.json and the model ask for \(shape)"
      )
    }
    return tensor
  }

  private func mismatch(_ what: String) -> SwiftletError {
    SwiftletError(
      .mismatch, "\(file.path): \(what)",
      remedy: baseModel.map { "The adapter was trained on '\($0)': is that the model?" })
  }
}

extension Decoder {
  /// Gives the model an adapter that was trained before; training can go on from it.
  ///
  /// - Returns: the parameters, named as in PEFT's files.
  /// - Throws: `.mismatch` when the adapter does not fit the model; what `addLoRA(_:seed:on:)` throws.
  public mutating func addLoRA(
    _ adapter: AdapterFolder, on backend: any Backend
  ) throws(SwiftletError) -> Parameters {
    var model = self
    let parameters = try model.addLoRA(adapter.configuration, seed: 0, on: backend)
    try adapter.load(into: parameters, of: &model)
    self = model
    return parameters
  }
}
