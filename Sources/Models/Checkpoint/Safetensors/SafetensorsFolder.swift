import Basics
import Compute

/// The tensors of a Hugging Face model folder: `model.safetensors`, or the shards that
/// `model.safetensors.index.json` lists.
public struct SafetensorsFolder: TensorStore {
  public let path: String
  public let names: [String]
  private let tensors: [String: StoredTensor]

  /// - Parameter stem: the files' name before `.safetensors`.
  /// - Throws: `.unreadable` when neither file is there or a shard is missing; what `SafetensorsFile` throws;
  ///   `.malformedFile` when the index names a tensor that its shard has not.
  public init(path: String, stem: String = "model") throws(SwiftletError) {
    self.path = path
    let single = "\(path)/\(stem).safetensors"
    let index = "\(single).index.json"
    if isFile(single) {
      let file = try SafetensorsFile(path: single)
      names = file.names
      tensors = file.tensors
    } else if isFile(index) {
      (names, tensors) = try Self.sharded(path, index)
    } else {
      throw SwiftletError(
        .unreadable, "\(path): there is neither \(stem).safetensors nor \(stem).safetensors.index.json",
        remedy: "Give a folder with safetensors weights, or a GGUF file.")
    }
  }

  public func tensor(_ name: String) -> StoredTensor? { tensors[name] }

  private static func sharded(
    _ folder: String, _ index: String
  ) throws(SwiftletError) -> ([String], [String: StoredTensor]) {
    var shards: [String: SafetensorsFile] = [:]
    var names: [String] = []
    var tensors: [String: StoredTensor] = [:]
    for (name, shardName) in try weightMap(index) {
      let shard: SafetensorsFile
      if let open = shards[shardName] {
        shard = open
      } else {
        guard isFile("\(folder)/\(shardName)") else {
          throw SwiftletError(
            .unreadable, "\(folder): the shard \(shardName), which holds \"\(name)\", is missing",
            remedy: "Download it again: the folder is incomplete.")
        }
        shard = try SafetensorsFile(path: "\(folder)/\(shardName)")
        shards[shardName] = shard
      }
      guard let tensor = shard.tensor(name) else {
        throw SwiftletError(
          .malformedFile, "\(index): says that \"\(name)\" lies in \(shardName), which has no such tensor")
      }
      names.append(name)
      tensors[name] = tensor
    }
    return (names, tensors)
  }

  /// Tensor and shard names of an index.
  private static func weightMap(_ index: String) throws(SwiftletError) -> [(String, String)] {
    let file = try MappedFile(path: index)
    let json: JSON
    do { json = try JSON(parsing: file.copy(0..<file.count) ?? []) } catch {
      throw SwiftletError(.malformedFile, "\(index): \(error.message)")
    }
    guard let map = json["weight_map"]?.object else {
      throw SwiftletError(.malformedFile, "\(index): there is no object \"weight_map\"")
    }
    var pairs: [(String, String)] = []
    for (name, value) in map {
      // A shard lies in the folder itself: an index must not reach out of it.
      guard let shard = value.string, !shard.isEmpty, !shard.contains("/") else {
        throw SwiftletError(
          .malformedFile, "\(index): \"\(name)\": expected a file name, found \(value.text())")
      }
      pairs.append((name, shard))
    }
    return pairs
  }
}
