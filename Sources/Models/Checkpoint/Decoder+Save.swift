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
  /// A GGUF file has no tokenizer.json to copy: `GGUFVocabulary` of the target Text writes one.
  ///
  /// - Parameters:
  ///   - source: what the model was loaded from.
  ///   - maximumShard: bytes of one file.
  ///   - progress: called with the tensors written and of all.
  /// - Throws: `.unwritable`; `.unsupported` for a rotary scaling that config.json cannot say, and for numbers beyond
  ///   the range of `precision`; `.malformedFile` for what is no finite number.
  public func save(
    to folder: String, as precision: CheckpointPrecision, source: ModelFile,
    maximumShard: Int = 5_000_000_000,
    progress: (Int, Int) -> Void = { _, _ in }
  ) throws(SwiftletError) {
    let config = try JSON.object(config(source, precision))
    try createFolder(folder)
    let tensors = tensors
    let entries = tensors.map { name, site in
      let (rows, columns) = shape(of: site)
      return SafetensorsWriter.Entry(
        name.huggingFace ?? "", site.isMatrix ? [rows, columns] : [columns], .weight(precision.format))
    }
    let writer = try SafetensorsFolderWriter(folder: folder, tensors: entries, maximumShard: maximumShard)
    for (number, ((_, site), entry)) in zip(tensors, entries).enumerated() {
      let file = writer.writer(of: entry.name)
      try forEachPiece(of: site, named: entry.name, as: precision.format) {
        rows throws(SwiftletError) in try file.append(rows.span, to: entry.name)
      }
      progress(number + 1, tensors.count)
    }
    try writer.finish()
    if case .folder(let source, _) = source { try Self.copyTokenizer(from: source.path, to: folder) }
    try writeFile(Array((config.text(.indented(2)) + "\n").utf8), to: "\(folder)/config.json")
  }

  /// Sees that `save` can say what this model is, so that nobody trains in vain.
  ///
  /// - Throws: `.unsupported` for a rotary scaling that config.json cannot say.
  public func checkSave(source: ModelFile) throws(SwiftletError) { _ = try config(source, .bfloat16) }

  /// The content of config.json.
  func config(
    _ source: ModelFile, _ precision: CheckpointPrecision
  ) throws(SwiftletError) -> JSON.Object {
    var config: JSON.Object
    switch source {
    case .folder(_, .object(let object)): config = object
    case .folder(let folder, _):
      throw SwiftletError(.malformedFile, "\(folder.path): config.json is no object")
    case .gguf(let file): config = try spec.config(tokenizer: file.metadata)
    }
    config["quantization_config"] = nil
    // transformers 5 reads the one, older versions and vLLM's the other.
    config["dtype"] = .string(precision.rawValue)
    config["torch_dtype"] = .string(precision.rawValue)
    config["tie_word_embeddings"] = .bool(!hasOwnHead)
    return config
  }

  private static let tokenizerFiles = [
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "merges.txt", "tokenizer.model", "chat_template.jinja", "chat_template.json", "generation_config.json",
  ]

  static func copyTokenizer(from source: String, to folder: String) throws(SwiftletError) {
    for name in tokenizerFiles where isFile("\(source)/\(name)") {
      let file = try MappedFile(path: "\(source)/\(name)")
      try writeFile(file.copy(0..<file.count) ?? [], to: "\(folder)/\(name)")
    }
  }
}
