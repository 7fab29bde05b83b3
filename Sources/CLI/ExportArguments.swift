import ArgumentParser
import Foundation
import Swiftlet

/// The model that is written, and where.
struct ExportArguments: ParsableArguments {
  /// Which numbers the base model's matrices have.
  enum Base: String, CaseIterable, ExpressibleByArgument {
    /// Those in its file.
    case original
    /// What the adapter was trained on: its run's record says.
    case trained
    case nf4, int8
  }

  @OptionGroup var model: ModelName
  @Option(help: "PEFT adapter folder to merge in.", completion: .directory) var adapter: String?
  @Option(help: "The base's weights: original, as trained on (rounded to NF4, say), nf4 or int8.")
  var baseWeights = Base.original
  @Flag(help: "Take the adapter although it names another base model.") var otherBase = false
  @Flag(help: "Replace an output that is there.") var force = false
  @Flag(help: "Print one JSON object.") var json = false

  /// Opens the model in the processor's memory, with the adapter, and says what was taken.
  func open() throws -> LanguageModel {
    let folder = try adapter.map { try AdapterFolder(path: $0) }
    let weights = try weights(folder)
    let line = ProgressLine()
    let opened = try LanguageModel(model.name, weights: weights, backend: CPU()) {
      if weights != .file { line.show("Rounding", done: $0, of: $1, details: []) }
    }
    line.leave(erasing: true)
    if let folder {
      guard otherBase || folder.canBelong(to: opened.path) else {
        throw SwiftletError(
          .mismatch,
          "the adapter \(folder.path) was trained on '\(folder.baseModel ?? "")', not on \(opened.path)",
          remedy: "Name that model, or say --other-base if they are the same.")
      }
      try opened.loadAdapter(folder.path)
    }
    return opened
  }

  private func weights(_ adapter: AdapterFolder?) throws -> BaseWeights {
    switch baseWeights {
    case .original: return .file
    case .nf4: return .nf4
    case .int8: return .int8
    case .trained:
      guard let adapter else {
        throw SwiftletError(
          .invalidConfiguration, "--base-weights trained needs an adapter, whose run it asks")
      }
      return try adapter.trainedBaseWeights()
    }
  }

  /// "SmolLM2-135M-Instruct.Q4_1.gguf + runs/mine, base weights: original"
  private func source(_ model: LanguageModel) -> String {
    let name = URL(fileURLWithPath: model.path).lastPathComponent
    let weights = model.weights == .file ? "original, as stored" : "\(model.weights.rawValue)"
    return name + (adapter.map { " + \($0)" } ?? "") + "; base weights: \(weights)"
  }

  /// Writes the model and prints what came of it.
  func export(_ model: LanguageModel, to path: String, as format: ExportFormat, maximumShard: ByteSize) throws
    -> ExportReport
  {
    if !json { note(source(model)) }
    let line = ProgressLine()
    let report = try model.export(
      to: path, as: format, maximumShard: maximumShard.bytes, replacing: force
    ) {
      line.show("Writing", done: $0, of: $1, details: [])
      if $0 == $1 {
        line.leave(erasing: true)
        if !json { note("Reading it back...") }
      }
    }
    if json {
      print(report.json(base: model.weights).text())
    } else {
      print("\(report.path)  \(report.bytes.megabytes)")
      print(report.comparison.summary)
    }
    return report
  }
}

/// "5GB", "500MB", "2GiB": as transformers counts.
struct ByteSize: ExpressibleByArgument {
  let bytes: Int

  init(_ bytes: Int) { self.bytes = bytes }

  init?(argument: String) {
    let units = ["GIB": 1 << 30, "MIB": 1 << 20, "GB": 1_000_000_000, "MB": 1_000_000]
    let text = argument.uppercased()
    guard let (unit, size) = units.first(where: { text.hasSuffix($0.key) }),
      let count = Double(text.dropLast(unit.count)), count > 0, count < 1e6
    else { return nil }
    bytes = Int(count * Double(size))
  }

  var defaultValueDescription: String { "\(bytes / 1_000_000_000)GB" }
}

extension LogitComparison {
  fileprivate var summary: String {
    "logits differ by \(String(format: "%.2g", largestDifference)) at most, relative, "
      + "and at half of the positions by \(String(format: "%.2g", medianDifference)) or less; "
      + "the most probable token is the same at \(agreeing) of \(positions) positions"
  }
}

extension ExportReport {
  fileprivate func json(base: BaseWeights) -> JSON {
    [
      "path": .string(path), "bytes": .int(bytes), "base_weights": .string(base.rawValue),
      "largest_difference": .double(comparison.largestDifference),
      "median_difference": .double(comparison.medianDifference),
      "agreeing": .int(comparison.agreeing),
      "positions": .int(comparison.positions),
    ]
  }
}
