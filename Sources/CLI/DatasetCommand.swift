import ArgumentParser
import Foundation
import Swiftlet

struct DatasetCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "dataset", abstract: "Looks into training data.", subcommands: [DatasetPreview.self])
}

struct DatasetPreview: ReportingCommand {
  static let configuration = CommandConfiguration(
    commandName: "preview",
    abstract: "Shows what a run will train on: which tokens count, how long rows are, how much is padding.")

  @OptionGroup var arguments: ConfigurationArguments
  @Option(help: "Rows to show of each file.") var rows: Count = 3
  @Flag(help: "Print one JSON object.") var json = false

  func execute() throws {
    let configuration = try arguments.load()
    var text = try LanguageModelText(configuration.model)
    if let template = configuration.chatTemplate { try text.useChatTemplate(template) }
    let data = try TrainingData(configuration, text)
    if json {
      print(summary(data).text())
      return
    }
    for path in configuration.trainFiles {
      try showRows(try DataFile(path: path), text, try TrainingData.options(configuration))
    }
    showHistogram(data.sequences)
    showCounts(data, rowLength: configuration.dataset.maxSequenceLength)
  }

  private func showRows(_ file: DataFile, _ text: LanguageModelText, _ options: DatasetOptions) throws {
    let encoder = try RowEncoder(
      for: file, tokenizer: text.tokenizer, chatTemplate: text.chatTemplate, options: options)
    for index in 0..<min(rows.value, file.count) {
      if let preview = try encoder.preview(file.row(index)) {
        show(preview, file.place(of: index))
      } else {
        print("\(file.place(of: index)): nothing to learn from\n")
      }
    }
  }

  /// Trained text green, or in brackets where there are no colours; what is cut off dim, or only said.
  private func show(_ preview: RowPreview, _ place: String) {
    let terminal = Terminal.output
    print(terminal.styled("\(place): \(preview.tokenCount) tokens, \(preview.trainedCount) trained", .bold))
    for piece in preview.pieces {
      switch piece.fate {
      case .context: print(piece.text, terminator: "")
      case .trained:
        print(terminal.hasColour ? terminal.styled(piece.text, .green) : "[\(piece.text)]", terminator: "")
      case .cut: print(terminal.hasColour ? terminal.styled(piece.text, .dim) : " (cut here)", terminator: "")
      }
    }
    print("\n")
  }

  private func showHistogram(_ data: TokenizedDataset) {
    let buckets = data.lengthHistogram()
    let most = buckets.map(\.count).max() ?? 1
    let room = max(10, min(60, Terminal.output.columns - 28))
    for bucket in buckets {
      let label = "\(bucket.lengths.lowerBound)-\(bucket.lengths.upperBound)"
      let bar = String(repeating: "#", count: most > 0 ? room * bucket.count / most : 0)
      print(label + String(repeating: " ", count: max(1, 14 - label.count)) + bar + " \(bucket.count)")
    }
  }

  private func showCounts(_ data: TrainingData, rowLength: Int) {
    let counts = data.sequences.statistics
    let (packing, trained) = (data.training.packing, Double(counts.trainedTokens) / Double(counts.tokens))
    print(
      "\(counted(counts.sequences, "sequence")) of \(counted(counts.rows, "row")); \(counts.empty) empty, "
        + "\(counts.dropped) dropped as too long, \(counts.truncated) truncated, "
        + "\(counts.untrainable) without a trained token")
    print(
      "\(counts.tokens) tokens, \(counts.trainedTokens) trained (\(decimal(100 * trained, 1))%); "
        + "\(decimal(100 * (1 - packing.efficiency), 1))% padding in \(counted(packing.count, "row")) of \(rowLength)"
    )
    if let held = data.evaluation?.packing {
      print(
        "\(decimal(100 * (1 - held.efficiency), 1))% padding in \(counted(held.count, "row")) of the evaluation data"
      )
    }
  }

  private func summary(_ data: TrainingData) -> JSON {
    let counts = data.sequences.statistics
    return [
      "rows": .int(counts.rows), "sequences": .int(counts.sequences), "empty": .int(counts.empty),
      "dropped": .int(counts.dropped), "truncated": .int(counts.truncated),
      "untrainable": .int(counts.untrainable), "tokens": .int(counts.tokens),
      "trained_tokens": .int(counts.trainedTokens), "longest": .int(counts.longest),
      "packed_rows": .int(data.training.packing.count),
      "padding": .double(1 - data.training.packing.efficiency),
      "histogram": .array(
        data.sequences.lengthHistogram().map {
          ["from": .int($0.lengths.lowerBound), "to": .int($0.lengths.upperBound), "count": .int($0.count)]
        }),
    ]
  }
}
