import Foundation
import TestSupport
import Testing

@testable import Swiftlet

/// A run in a folder that holds one already.
@Suite struct RunFolderTests {
  let folder: TemporaryFolder
  let configuration: TrainingConfiguration

  init() throws {
    folder = try TemporaryFolder()
    var configuration = TrainingConfiguration()
    configuration.model = try TinyModel.write(to: folder)
    configuration.trainFiles = [try folder.write(TinyModel.conversations(8), "train.jsonl")]
    configuration.cacheFolder = folder.path + "/cache"
    configuration.dataset.maxSequenceLength = 64
    configuration.trainBatchSize = 1
    configuration.lora.r = 2
    configuration.run.outputFolder = folder.path + "/run"
    configuration.run.maximumSteps = 2
    configuration.run.saveSteps = 1
    self.configuration = configuration
  }

  private func train(_ change: (inout TrainingConfiguration) -> Void = { _ in }) throws -> RunReport {
    var changed = configuration
    change(&changed)
    return try SFTTrainer(changed).runHere { _ in }
  }

  @Test func isNotOverwrittenUnasked() throws {
    let report = try train()
    #expect(report.steps == 2 && report.loss.isFinite)
    #expect(try JSON(parsing: try folder.text("run/swiftlet_config.json")) == configuration.json)
    let adapter = try folder.text("run/metrics.jsonl")
    #expect {
      try train()
    } throws: { error in
      let error = error as? SwiftletError
      return error?.code == .invalidConfiguration && error?.message.contains("holds a run already") == true
    }
    #expect(try folder.text("run/metrics.jsonl") == adapter)
  }

  @Test func isOverwrittenWhole() throws {
    _ = try train { $0.run.maximumSteps = 4 }
    #expect(folder.has("run/checkpoint-3"))
    _ = try train { $0.overwritesOutputFolder = true }
    // The old run's later checkpoint is not there to be resumed.
    #expect(folder.has("run/checkpoint-1") && !folder.has("run/checkpoint-3"))
  }

  @Test func goesOn() throws {
    _ = try train()
    let report = try train {
      $0.resume = .newest
      $0.run.maximumSteps = 3
    }
    #expect(report.steps == 3)
    let metrics = try folder.text("run/metrics.jsonl").split(separator: "\n")
    let steps = try metrics.map { try JSON(parsing: String($0))["step"]?.int }
    #expect(Array(steps.prefix(3)) == [1, 2, 3])
  }

  /// Nor does a run begin anew where one was to go on: in a folder that holds a finished run, and in none.
  @Test(arguments: [true, false]) func hasNothingToContinue(afterARun: Bool) throws {
    if afterARun { _ = try train { $0.run.saveSteps = nil } }
    #expect {
      try train {
        $0.resume = .newest
        $0.overwritesOutputFolder = true
      }
    } throws: { "\($0)".contains("no checkpoint to continue from") }
    #expect(folder.has("run") == afterARun)
  }

  /// Planning a run opens everything and changes nothing.
  @Test func aPlanWritesNothing() throws {
    _ = try train()
    let before = try folder.text("run/metrics.jsonl")
    var plan = configuration
    plan.overwritesOutputFolder = true
    #expect(try SFTTrainer(plan).outline.totalSteps == 2)
    #expect(try folder.text("run/metrics.jsonl") == before)
    #expect(folder.has("run/checkpoint-1"))
  }

  @Test func aSplitMustLeaveBothParts() throws {
    #expect {
      try train { $0.evaluationSplit = 0.01 }
    } throws: { "\($0)".contains("8 to train on and 0 to evaluate on") }
  }
}
