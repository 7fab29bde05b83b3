import Foundation
import Swiftlet
import TestSupport
import Testing

/// Fine-tuning from a configuration, as a program does it.
struct SFTTrainerTests {
  private let folder: TemporaryFolder
  private var configuration = TrainingConfiguration()

  init() throws {
    folder = try TemporaryFolder()
    configuration.model = try TinyModel.write(to: folder)
    let rows = (0..<20).map { index in
      #"{"messages": [{"role": "user", "content": "\#(index)?"}, {"role": "assistant", "content": "Ahoy \#(index)!"}]}"#
    }
    configuration.trainFiles = [try folder.write(rows.joined(separator: "\n"), "train.jsonl")]
    configuration.dataset.maxSequenceLength = 40
    configuration.cacheFolder = folder.path + "/cache"
    configuration.run.outputFolder = folder.path + "/out"
    configuration.run.learningRate = 1e-2
    configuration.run.maximumSteps = 30
  }

  @Test(arguments: [TrainingConfiguration.FineTuning.lora, .full])
  func trainsSavesAndLoads(_ kind: TrainingConfiguration.FineTuning) async throws {
    var configuration = configuration
    configuration.fineTuning = kind
    configuration.evaluationFiles = configuration.trainFiles
    let trainer = try SFTTrainer(configuration)
    let before = try #require(try trainer.evaluate()).loss
    var names: [String] = []
    var report: RunReport?
    for try await event in trainer.run() {
      switch event {
      case .began: names.append("began")
      case .step(let step): if step.step == 1 { names.append("step") }
      case .evaluated: break
      case .saved: names.append("saved")
      case .ended(let result):
        names.append("ended")
        report = result
      }
    }
    #expect(names == ["began", "step", "ended"])
    let after = try #require(report?.evaluation).loss
    #expect(after < 0.8 * before)

    let model = try LanguageModel(kind == .full ? folder.path + "/out" : configuration.model)
    if kind == .lora { try model.loadAdapter(folder.path + "/out") }
    let options = configuration.dataset
    let data = try TokenizedDataset.build(
      files: [DataFile(path: configuration.trainFiles[0])], tokenizer: model.tokenizer,
      chatTemplate: model.chatTemplate, options: options)
    let plan = BatchPlan(data, batchSize: 4, rowLength: 40, isPacked: true, order: .fixed, paddingID: 0)
    let compute = try configuration.precision.dtype(on: CPU())
    let loss = try Evaluator(model.decoder, compute: compute, on: model.backend).run(plan).loss
    // A whole model is saved in bfloat16.
    #expect(abs(loss - after) < (kind == .full ? 0.05 : 1e-6) * after)
  }

  /// Ending the loop over events ends the run, with a checkpoint.
  @Test func endsWithItsEvents() async throws {
    var configuration = configuration
    // More than a machine under load trains before this task gets its turn.
    configuration.run.maximumSteps = 1_000_000_000
    // Nor so many that their log takes longer to save than all other tests.
    configuration.run.gradientAccumulation = 200
    let trainer = try SFTTrainer(configuration)
    for try await event in trainer.run() {
      if case .step(let step) = event, step.step == 3 { break }
    }
    await trainer.ended()
    #expect(Trainer.newestCheckpoint(in: folder.path + "/out") != nil)
  }

  /// Settings that do not fit what the files hold, and words of the error.
  @Test(
    arguments: [
      (["eval_split": 0.01], "leaves 20 to train on and 0"), (["max_seq_length": 257], "256 tokens"),
      (["train_file": "none.jsonl"], "none.jsonl: cannot be read: No such file"),
      (["resume_from_checkpoint": "nowhere"], "nowhere"), (["chat_template": "none.jinja"], "none.jinja"),
      (["dataset_format": "alpaca"], "line 1"), (["adapter_name_or_path": "nowhere"], "adapter_config.json"),
      (["max_seq_length": 4], "none is left"), (["memory_budget": "1KB"], "memory budget"),
    ] as [(JSON.Object, String)])
  func saysWhatDoesNotFit(_ changes: JSON.Object, _ words: String) throws {
    var values = try #require(configuration.json.object)
    values.merge(changes)
    let changed = try TrainingConfiguration(.object(values), source: "run.yaml")
    let error = #expect(throws: SwiftletError.self) { try SFTTrainer(changed) }
    #expect(error?.message.contains(words) == true, "\(String(describing: error))")
  }
}
