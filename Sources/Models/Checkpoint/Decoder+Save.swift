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
  /// a folder, copies of its tokenizer's files. Some rows are in memory at a time.
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
      try forEachPiece(of: site) { rows throws(SwiftletError) in try file.append(rows.span, to: entry.name) }
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

  /// Elements of the rows that are in memory at a time.
  private static let pieceElements = 1 << 22

  /// Calls `body` with all rows of a tensor, some at a time.
  private func forEachPiece(
    of site: TensorSite, _ body: ([Float]) throws(SwiftletError) -> Void
  ) throws(SwiftletError) {
    let (rows, columns) = shape(of: site)
    let size = max(1, Self.pieceElements / columns)
    for start in stride(from: 0, to: rows, by: size) {
      let range = start..<min(rows, start + size)
      switch site {
      case .embedding: try body(embedding.rows(range, on: backend))
      case .weight(let path, let part): try body(self[keyPath: path].mergedRows(range, of: part, on: backend))
      case .bias(let path, let part):
        if let bias = self[keyPath: path].parts[part].bias { try body(bias.read(on: backend)) }
      case .norm(let path): try body(self[keyPath: path].weight.read(on: backend))
      }
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
  /// Rows of W + scale B A of one part.
  fileprivate func mergedRows(
    _ range: Range<Int>, of part: Int, on backend: any Backend
  ) throws(SwiftletError) -> [Float] {
    var rows = try parts[part].weight.rows(range, on: backend)
    guard let adapter = parts[part].adapter, let down else { return rows }
    let b = try adapter.up.rows(range, on: backend)
    let a = try down.weight.rows(adapter.columns, on: backend)
    let rank = adapter.columns.count
    for row in 0..<range.count {
      for index in 0..<rank {
        let factor = adapter.scale * b[row * rank + index]
        for column in 0..<inputs { rows[row * inputs + column] += factor * a[index * inputs + column] }
      }
    }
    return rows
  }
}
