import Basics
import Compute
import Foundation
import Models
import TestSupport
import Text

@testable import Training

/// A run of a tiny model on a few texts, in a folder of its own.
final class TinyRun {
  let folder: TemporaryFolder
  var settings: TrainerSettings
  var lora = LoRAConfiguration()
  var trainsAll = false
  var batchSize = 2
  var rowLength = 48
  var isPacked = true
  var texts = 24
  /// Called before anything of a checkpoint or a result is written.
  var beforeSave: () throws -> Void = {}
  private let model: String

  init() throws {
    folder = try TemporaryFolder()
    model = try TinyModel.write(to: folder)
    settings = TrainerSettings(outputFolder: folder.path + "/out")
    settings.maximumSteps = 9
    settings.learningRate = 1e-2
    lora.r = 4
  }

  /// Files of the output folder.
  var files: [String] {
    ((try? FileManager.default.contentsOfDirectory(atPath: settings.outputFolder)) ?? []).sorted()
  }

  /// The bytes of what was trained.
  func result() throws -> Data {
    let name = trainsAll ? "model" : "adapter_model"
    return try Data(contentsOf: URL(filePath: "\(settings.outputFolder)/\(name).safetensors"))
  }

  func json(_ name: String) throws -> JSON {
    try JSON(parsing: Array(Data(contentsOf: URL(filePath: "\(settings.outputFolder)/\(name)"))))
  }

  /// A trainer with a model opened anew.
  ///
  /// - Parameter resume: a checkpoint's step.
  func trainer(resume step: Int? = nil) throws -> Trainer {
    let cpu = try CPU(threads: 2)
    let file = try ModelFile(path: model)
    var decoder = try Decoder(file, on: cpu)
    let parameters =
      trainsAll ? try decoder.trainAll(on: cpu) : try decoder.addLoRA(lora, seed: settings.seed, on: cpu)
    let (trained, lora, trainsAll) = (decoder, lora, trainsAll)
    let data = try batches()
    return try Trainer(
      decoder, training: parameters, on: data, evaluation: data, settings,
      resume: step.map { "\(settings.outputFolder)/checkpoint-\($0)" }, backend: cpu
    ) { [beforeSave] path in
      try beforeSave()
      if trainsAll {
        try trained.save(to: path, as: .bfloat16, source: file)
      } else {
        try AdapterFolder.save(parameters, lora, baseModel: "tiny", to: path)
      }
    }
  }

  /// Texts of 3 to 34 bytes.
  private func batches() throws -> BatchPlan {
    let rows = (0..<texts).map { index in
      let text = String(repeating: "swiftlet \(index) ", count: 3).prefix(3 + 7 * index % 32)
      return JSON.object(["text": .string(String(text))]).text()
    }
    let path = try folder.write(rows.joined(separator: "\n"), "train.jsonl")
    var options = DatasetOptions()
    options.maxSequenceLength = 48
    let data = try TokenizedDataset.build(
      files: [DataFile(path: path)], tokenizer: Tokenizer(folder: model), chatTemplate: nil,
      options: options)
    return BatchPlan(
      data, batchSize: batchSize, rowLength: rowLength, isPacked: isPacked,
      order: .shuffled(seed: settings.seed),
      paddingID: 0)
  }

  /// Trains to the end.
  ///
  /// - Returns: a report of each update.
  @discardableResult
  func train(resume step: Int? = nil) throws -> [StepReport] {
    var steps: [StepReport] = []
    _ = try trainer(resume: step).run(report: { if case .step(let report) = $0 { steps.append(report) } })
    return steps
  }

  /// Trains until `microBatches` are done.
  ///
  /// - Returns: the error that tells of the interruption.
  func trainInterrupted(after microBatches: Int) throws -> SwiftletError? {
    var left = microBatches
    do {
      _ = try trainer().run(isInterrupted: {
        left -= 1
        return left < 0
      })
      return nil
    } catch let error as SwiftletError { return error }
  }
}
