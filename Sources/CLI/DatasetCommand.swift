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
  @Option(help: "Rows to show.") var rows = 3
  @Flag(help: "Print one JSON object.") var json = false

  func execute() throws {
    let configuration = try arguments.load()
    let text = try LanguageModelText(configuration.model)
    var options = configuration.dataset
    options.format = try configuration.rowFormat()
    let chatTemplate = try configuration.ownChatTemplate() ?? text.chatTemplate
    let files = try configuration.trainFiles.map { try DataFile(path: $0) }
    let data = try TokenizedDataset.build(
      files: files, tokenizer: text.tokenizer, chatTemplate: chatTemplate, options: options)
    let plan = BatchPlan(
      data, batchSize: configuration.trainBatchSize, rowLength: options.maxSequenceLength,
      isPacked: configuration.packing, order: .fixed, paddingID: 0)
    let padding = 1 - plan.packing.efficiency
    if json {
      print(summary(data, padding).text())
      return
    }
    for file in files.prefix(1) {
      let encoder = try RowEncoder(
        for: file, tokenizer: text.tokenizer, chatTemplate: chatTemplate, options: options)
      for index in 0..<max(0, min(rows, file.count)) {
        if let preview = try encoder.preview(file.row(index)) { show(preview, file.place(of: index)) }
      }
    }
    showHistogram(data)
    let s = data.statistics
    print(
      "\(s.sequences) sequences of \(s.rows) rows; \(s.empty) empty, \(s.dropped) dropped as too long, "
        + "\(s.truncated) truncated, \(s.untrainable) without a trained token")
    print(
      "\(s.tokens) tokens, \(s.trainedTokens) trained (\(decimal(100 * Double(s.trainedTokens) / Double(max(1, s.tokens))  , 1))%); "
        + "\(decimal(100 * padding, 1))% padding in \(plan.packing.count) rows of \(options.maxSequenceLength)"
    )
  }

  /// Trained text green, or in brackets where there are no colours; what was cut off dim.
  private func show(_ preview: RowPreview, _ place: String) {
    let terminal = Terminal.output
    print(terminal.styled("\(place): \(preview.tokenCount) tokens, \(preview.trainedCount) trained", .bold))
    for piece in preview.pieces {
      switch piece.fate {
      case .context: print(piece.text, terminator: "")
      case .trained:
        print(terminal.hasColour ? terminal.styled(piece.text, .green) : "[\(piece.text)]", terminator: "")
      case .cut: print(terminal.hasColour ? terminal.styled(piece.text, .dim) : "", terminator: "")
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

  private func summary(_ data: TokenizedDataset, _ padding: Double) -> JSON {
    let s = data.statistics
    return [
      "rows": .int(s.rows), "sequences": .int(s.sequences), "empty": .int(s.empty),
      "dropped": .int(s.dropped),
      "truncated": .int(s.truncated), "untrainable": .int(s.untrainable), "tokens": .int(s.tokens),
      "trained_tokens": .int(s.trainedTokens), "longest": .int(s.longest), "padding": .double(padding),
      "histogram": .array(
        data.lengthHistogram().map {
          ["from": .int($0.lengths.lowerBound), "to": .int($0.lengths.upperBound), "count": .int($0.count)]
        }),
    ]
  }
}
