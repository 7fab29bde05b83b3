import Basics

/// Writes a model folder's weights: `model.safetensors`, or shards and their index when they exceed a size.
public final class SafetensorsFolderWriter {
  private let writers: [SafetensorsWriter]
  /// Which writer has a tensor.
  private let shardOf: [String: Int]
  /// The index file's path and text, when there are several shards.
  private let index: (path: String, text: String)?

  /// - Parameters:
  ///   - tensors: distinct names, filled into shards in this order.
  ///   - maximumShard: bytes; transformers' default is 5 GB. A larger tensor has a shard of its own.
  /// - Throws: `.unwritable`.
  public init(
    folder: String, stem: String = "model", tensors: [SafetensorsWriter.Entry],
    maximumShard: Int = 5_000_000_000
  ) throws(SwiftletError) {
    let shards = Self.shards(tensors, maximumShard)
    let files = shards.indices.map { Self.fileName(stem, $0, of: shards.count) }
    var writers: [SafetensorsWriter] = []
    var shardOf: [String: Int] = [:]
    for (number, shard) in shards.enumerated() {
      writers.append(try SafetensorsWriter(path: "\(folder)/\(files[number])", tensors: shard))
      for entry in shard { shardOf[entry.name] = number }
    }
    self.writers = writers
    self.shardOf = shardOf
    index =
      shards.count == 1
      ? nil
      : ("\(folder)/\(stem).safetensors.index.json", Self.index(shards, files).text(.indented(2)) + "\n")
  }

  private static func shards(
    _ tensors: [SafetensorsWriter.Entry], _ maximum: Int
  ) -> [[SafetensorsWriter.Entry]] {
    var shards: [[SafetensorsWriter.Entry]] = [[]]
    var size = 0
    for tensor in tensors {
      if size > 0 && tensor.byteCount > maximum - size {
        shards.append([])
        size = 0
      }
      shards[shards.count - 1].append(tensor)
      size += tensor.byteCount
    }
    return shards
  }

  /// `model-00001-of-00003.safetensors`
  private static func fileName(_ stem: String, _ number: Int, of count: Int) -> String {
    if count == 1 { return "\(stem).safetensors" }
    func padded(_ number: Int) -> String { String(String(100_000 + number).suffix(5)) }
    return "\(stem)-\(padded(number + 1))-of-\(padded(count)).safetensors"
  }

  private static func index(_ shards: [[SafetensorsWriter.Entry]], _ files: [String]) -> JSON {
    let size = shards.joined().reduce(0) { $0 + $1.byteCount }
    let pairs = zip(shards, files).flatMap { shard, file in shard.map { ($0.name, JSON.string(file)) } }
    return [
      "metadata": ["total_size": .int(size)],
      "weight_map": .object(JSON.Object(uniqueKeysWithValues: pairs.sorted { $0.0 < $1.0 })),
    ]
  }

  /// The writer of the tensor `name`, to append its bytes to.
  public func writer(of name: String) -> SafetensorsWriter {
    guard let shard = shardOf[name] else { preconditionFailure("no tensor \"\(name)\" was announced") }
    return writers[shard]
  }

  /// Puts the files in place, the index last.
  public func finish() throws(SwiftletError) {
    for writer in writers { try writer.finish() }
    if let index { try writeFile(Array(index.text.utf8), to: index.path) }
  }
}
