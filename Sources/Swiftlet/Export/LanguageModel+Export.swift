import Basics
import Compute
import Foundation
import Models
import Text

/// What a model can be written as.
public enum ExportFormat: Sendable, Equatable {
  /// A Hugging Face folder of 16- or 32-bit safetensors.
  case safetensors(CheckpointPrecision)
  /// The same with the linear layers in bitsandbytes' NF4.
  case bitsAndBytes
  /// A GGUF file.
  case gguf(GGUFType)
}

/// What was written, and how it compares with the model in memory.
public struct ExportReport: Sendable {
  public let path: String
  /// Of all files.
  public let bytes: Int
  public let comparison: LogitComparison
}

extension LanguageModel {
  /// Writes the model, its adapters merged in: complete for whoever loads it, with tokenizer and chat template.
  ///
  /// The result appears under its name whole or not at all, and only once it has been read back: its tokenizer gives
  /// the same tokens, and its logits are those of this model as far as `format` can hold them.
  ///
  /// ```swift
  /// let model = try LanguageModel("Qwen2.5-0.5B-Instruct")
  /// try model.loadAdapter("runs/mine")
  /// try model.export(to: "merged", as: .safetensors(.bfloat16))
  /// try model.export(to: "merged.gguf", as: .gguf(.q4_K_M))
  /// ```
  ///
  /// - Parameters:
  ///   - maximumShard: bytes of one safetensors file.
  ///   - replacing: whether a file, or a folder that holds a model, may be replaced.
  ///   - progress: called with the tensors written and of all.
  /// - Throws: `.invalidConfiguration` when something is in the place; `.unsupported` for what the format cannot say;
  ///   `.unwritable`; `.mismatch` when what was written is not this model.
  @discardableResult
  public func export(
    to path: String, as format: ExportFormat, maximumShard: Int = 5_000_000_000, replacing: Bool = false,
    progress: (Int, Int) -> Void = { _, _ in }
  ) throws -> ExportReport {
    let output = try StagedOutput(path, replacing: replacing, source: self.path)
    switch format {
    case .safetensors(let precision):
      try decoder.save(
        to: output.stage, as: precision, source: file, maximumShard: maximumShard, progress: progress)
      try writeTokenizer(to: output.stage)
    case .bitsAndBytes:
      try decoder.saveBitsAndBytes(
        to: output.stage, source: file, maximumShard: maximumShard, progress: progress)
      try writeTokenizer(to: output.stage)
    case .gguf(let type):
      try decoder.saveGGUF(
        to: output.stage, as: type, name: displayName, tokenizer: ggufTokenizer(), progress: progress)
    }
    let comparison = try compare(with: output.stage, format)
    let bytes = Self.size(of: output.stage)
    try output.commit()
    return ExportReport(path: path, bytes: bytes, comparison: comparison)
  }

  /// Writes the adapters alone as a GGUF file, which llama.cpp loads beside the base model.
  ///
  /// - Parameters:
  ///   - replacing: whether a file may be replaced.
  /// - Throws: `.invalidConfiguration` when the model has no adapters, or something is in the place; `.unsupported` for
  ///   what such a file cannot say; `.unwritable`.
  /// - Returns: the file's bytes.
  @discardableResult
  public func exportAdapter(
    to path: String, as type: GGUFType = .f16, replacing: Bool = false
  ) throws(SwiftletError) -> Int {
    guard let lora else {
      throw SwiftletError(
        .invalidConfiguration, "the model has no adapter to export", remedy: "Name one with --adapter.")
    }
    let output = try StagedOutput(path, replacing: replacing, source: self.path)
    try decoder.saveLoRAGGUF(to: output.stage, as: type, name: displayName, configuration: lora)
    let bytes = Self.size(of: output.stage)
    try output.commit()
    return bytes
  }

  /// The model's file or folder, without what a name ends in.
  private var displayName: String {
    let name = URL(fileURLWithPath: path).lastPathComponent
    return name.hasSuffix(".gguf") ? String(name.dropLast(5)) : name
  }

  private static func size(of path: String) -> Int {
    let files = FileManager.default
    let names = (try? files.contentsOfDirectory(atPath: path)).map { $0.map { "\(path)/\($0)" } } ?? [path]
    return names.reduce(0) { sum, name in
      sum + (((try? files.attributesOfItem(atPath: name))?[.size] as? NSNumber)?.intValue ?? 0)
    }
  }
}
