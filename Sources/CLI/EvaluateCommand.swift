import ArgumentParser
import Foundation
import Swiftlet

struct EvaluateCommand: ReportingCommand {
  static let configuration = CommandConfiguration(
    commandName: "evaluate", abstract: "Mean loss per label token, and perplexity, on a data set.")

  @OptionGroup var model: ModelArguments
  @Option(help: "Data: .jsonl, .json, .csv or .tsv.", completion: .file()) var dataset: [String]
  @Option(help: "Tokens of a row; by default 1024, or what the model was made for where that is less.")
  var maxSeqLength: Count?
  @Option(help: "Rows of a batch.") var batchSize: Count = 4
  @Flag(help: "Count all tokens, not only what the assistant writes.") var allTokens = false
  @Flag(help: "Print one JSON object.") var json = false

  func execute() throws {
    let model = try self.model.open()
    let length = maxSeqLength?.value ?? min(1024, model.contextLength)
    try model.checkContext(length)
    var options = DatasetOptions()
    options.maxSequenceLength = length
    options.responsesOnly = !allTokens
    let data = try TokenizedDataset.build(
      files: dataset.map { try DataFile(path: $0) }, tokenizer: model.tokenizer,
      chatTemplate: model.chatTemplate,
      options: options)
    let plan = BatchPlan(
      data, batchSize: batchSize.value, rowLength: length, isPacked: true, order: .fixed,
      paddingID: model.text.paddingID)
    let line = ProgressLine()
    let report = try Evaluator(
      model.decoder, compute: self.model.place.dtype.dtype(on: model.backend), on: model.backend
    ).run(plan) {
      line.show("Evaluating", done: $0, of: $1, details: [])
    }
    line.leave(erasing: true)
    if json {
      print(report.json.text())
    } else {
      print(
        "loss \(decimal(report.loss, 4))  perplexity \(decimal(report.perplexity, 2))  "
          + "\(counted(report.labels, "label")) in \(counted(data.count, "sequence"))\(data.statistics.aside)"
      )
    }
  }
}
