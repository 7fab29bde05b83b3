import Basics
import Compute
import Foundation

/// A base model on disk: a GGUF file, or a folder with a config.json and safetensors.
public enum ModelFile: Sendable {
  case gguf(GGUFFile)
  case folder(SafetensorsFolder, config: JSON)

  /// Opens and checks the headers; no weight is read.
  ///
  /// - Parameter path: a GGUF file or a folder.
  public init(path: String) throws(SwiftletError) {
    var isFolder: ObjCBool = false
    guard FileManager.default.fileExists(atPath: path, isDirectory: &isFolder) else {
      throw SwiftletError(.unreadable, "\(path): there is no such file or folder")
    }
    guard isFolder.boolValue else {
      self = .gguf(try GGUFFile(path: path))
      return
    }
    let configPath = path + "/config.json"
    guard let bytes = FileManager.default.contents(atPath: configPath) else {
      throw SwiftletError(
        .unreadable, "\(configPath): there is no such file",
        remedy: "A model folder holds config.json, model.safetensors and tokenizer.json.")
    }
    let config: JSON
    do { config = try JSON(parsing: Array(bytes)) } catch {
      throw SwiftletError(.malformedFile, "\(configPath): \(error.message)")
    }
    self = .folder(try SafetensorsFolder(path: path), config: config)
  }

  public var path: String { store.path }

  public func spec() throws(SwiftletError) -> ModelSpec {
    switch self {
    case .gguf(let file): try ModelSpec(gguf: file)
    case .folder(let folder, let config): try ModelSpec(config: config, path: folder.path + "/config.json")
    }
  }

  var store: any TensorStore {
    switch self {
    case .gguf(let file): file
    case .folder(let folder, _): folder
    }
  }

  /// The tensor's name in this file.
  func name(_ tensor: TensorName) -> String {
    switch self {
    case .gguf: tensor.gguf
    case .folder: tensor.huggingFace ?? ""
    }
  }

  /// The matrix as it is stored, rows in Hugging Face's order.
  func weight(_ tensor: TensorName, _ spec: ModelSpec) throws(SwiftletError) -> Weight {
    let name = name(tensor)
    if case .folder(let folder, _) = self, let quantised = try folder.bitsAndBytesWeight(name.withoutSuffix) {
      return quantised
    }
    var interleavedHead = 0
    if case .gguf = self, spec.family.ggufInterleavesRotary, case .weight(let kind, _) = tensor {
      interleavedHead = kind == .q || kind == .k ? spec.headSize : 0
    }
    return try store.required(name).weight(interleavedHead: interleavedHead)
  }

  /// A vector as floats. GGUF interleaves the biases of q and k as it does their rows.
  func vector(_ tensor: TensorName, _ spec: ModelSpec) throws(SwiftletError) -> [Float] {
    let values = try store.required(name(tensor)).floats()
    guard case .gguf = self, spec.family.ggufInterleavesRotary, case .bias(let kind, _) = tensor,
      kind == .q || kind == .k
    else { return values }
    let half = spec.headSize / 2
    return values.indices.map { row in
      let (head, inner) = row.quotientAndRemainder(dividingBy: spec.headSize)
      return values[head * spec.headSize + 2 * (inner % half) + inner / half]
    }
  }
}

extension String {
  /// Without a trailing `.weight`.
  fileprivate var withoutSuffix: String { hasSuffix(".weight") ? String(dropLast(7)) : self }
}
