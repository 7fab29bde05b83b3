import Basics
import Compute
import Foundation

/// The element type of a saved model.
public enum CheckpointPrecision: String, Sendable, CaseIterable {
  case float32, float16, bfloat16

  var format: StorageFormat {
    switch self {
    case .float32: .f32
    case .float16: .f16
    case .bfloat16: .bf16
    }
  }
}

extension Decoder {
  /// Writes the model as a Hugging Face folder: weights with adapters merged in, config.json and, when `source` is
  /// a folder, copies of its tokenizer's files. One row is in memory at a time.
  ///
  /// A GGUF file has no tokenizer.json to copy: whoever loads the folder needs the tokenizer from elsewhere.
  ///
  /// - Parameters:
  ///   - source: what the model was loaded from.
  ///   - maximumShard: bytes of one file.
  /// - Throws: `.unwritable`; `.unsupported` for a rotary scaling that config.json cannot say.
  public func save(
    to folder: String, as precision: CheckpointPrecision, source: ModelFile, maximumShard: Int = 5_000_000_000
  ) throws(SwiftletError) {
    let config = try config(source, precision)
    try createFolder(folder)
    let tensors = tensors
    let entries = tensors.map { name, site in
      let (rows, columns) = shape(of: site)
      return SafetensorsWriter.Entry(
        name.huggingFace ?? "", site.isMatrix ? [rows, columns] : [columns], .weight(precision.format))
    }
    let writer = try SafetensorsFolderWriter(folder: folder, tensors: entries, maximumShard: maximumShard)
    for ((_, site), entry) in zip(tensors, entries) {
      let file = writer.writer(of: entry.name)
      try forEachRow(of: site) { row throws(SwiftletError) in try file.append(row.span, to: entry.name) }
    }
    try writer.finish()
    if case .folder(let source, _) = source { try Self.copyTokenizer(from: source.path, to: folder) }
    try writeFile(Array((config.text(.indented(2)) + "\n").utf8), to: "\(folder)/config.json")
  }

  /// Sees that `save` can say what this model is, so that nobody trains in vain.
  ///
  /// - Throws: `.unsupported` for a rotary scaling that config.json cannot say.
  public func checkSave(source: ModelFile) throws(SwiftletError) { _ = try config(source, .bfloat16) }

  private func config(_ source: ModelFile, _ precision: CheckpointPrecision) throws(SwiftletError) -> JSON {
    var config: JSON.Object
    switch source {
    case .folder(_, .object(let object)): config = object
    case .folder(let folder, _):
      throw SwiftletError(.malformedFile, "\(folder.path): config.json is no object")
    case .gguf(let file): config = try spec.config(tokenizer: file.metadata)
    }
    config["quantization_config"] = nil
    config["torch_dtype"] = nil
    config["dtype"] = .string(precision.rawValue)
    config["tie_word_embeddings"] = .bool(!hasOwnHead)
    return .object(config)
  }

  /// Calls `body` with each row of a tensor.
  private func forEachRow(
    of site: TensorSite, _ body: (UnsafeMutableBufferPointer<Float>) throws(SwiftletError) -> Void
  ) throws(SwiftletError) {
    let (rows, columns) = shape(of: site)
    let buffer = try Buffer(count: columns * MemoryLayout<Float>.size)
    let row = UnsafeMutableBufferPointer<Float>(start: buffer.pointer(), count: columns)
    for index in 0..<rows {
      switch site {
      case .embedding: embedding.decode(row: index, into: buffer.pointer())
      case .weight(let path, let part): self[keyPath: path].decodeMerged(part, row: index, into: row)
      case .bias(let path, let part): row.copy(self[keyPath: path].parts[part].bias)
      case .norm(let path): row.copy(self[keyPath: path].weight)
      }
      try body(row)
    }
  }

  private static let tokenizerFiles = [
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "merges.txt", "tokenizer.model", "chat_template.jinja", "chat_template.json", "generation_config.json",
  ]

  private static func copyTokenizer(from source: String, to folder: String) throws(SwiftletError) {
    for name in tokenizerFiles where isFile("\(source)/\(name)") {
      let file = try MappedFile(path: "\(source)/\(name)")
      try writeFile(file.copy(0..<file.count) ?? [], to: "\(folder)/\(name)")
    }
  }
}

extension Linear {
  /// Row `row` of W + scale B A of one part.
  fileprivate func decodeMerged(_ part: Int, row: Int, into out: UnsafeMutableBufferPointer<Float>) {
    guard let start = out.baseAddress else { return }
    parts[part].weight.decode(row: row, into: start)
    guard let adapter = parts[part].adapter, let down else { return }
    let rank = adapter.columns.count
    withUnsafeTemporaryAllocation(of: Float.self, capacity: rank + out.count) { scratch in
      guard let b = scratch.baseAddress else { return }
      let a = b + rank
      adapter.up.decode(row: row, into: b)
      for (index, downRow) in adapter.columns.enumerated() {
        down.weight.decode(row: downRow, into: a)
        for column in out.indices { out[column] += adapter.scale * b[index] * a[column] }
      }
    }
  }
}

extension UnsafeMutableBufferPointer<Float> {
  fileprivate func copy(_ vector: Tensor?) {
    if let vector { _ = update(fromContentsOf: vector.hostFloats) }
  }
}
