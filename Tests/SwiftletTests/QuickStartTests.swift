import Swiftlet
import TestSupport
import Testing

/// The code of the documentation's overview, Swiftlet.docc/Swiftlet.md, on a model that is ready in a moment.
@Test func quickStartTrainsAndSaves() async throws {
  let folder = try TemporaryFolder()
  var configuration = TrainingConfiguration()
  configuration.model = try TinyModel.write(to: folder)
  configuration.trainFiles = [try folder.write(TinyModel.conversations(4), "train.jsonl")]
  configuration.run.outputFolder = folder.path + "/adapter"
  configuration.dataset.maxSequenceLength = 128
  configuration.cacheFolder = folder.path + "/cache"

  var losses: [Double] = []
  let trainer = try SFTTrainer(configuration)
  for try await event in trainer.run() {
    if case .step(let step) = event { losses.append(step.loss) }
  }
  #expect(losses.count == trainer.outline.totalSteps && losses.allSatisfy { $0 > 0 })
  #expect(folder.has("adapter/adapter_model.safetensors"))
}
