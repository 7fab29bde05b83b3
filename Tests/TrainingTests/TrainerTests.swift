import Basics
import Foundation
import Models
import Testing

@testable import Training

/// The training loop: what must be equal is equal to the bit, and what a run leaves behind is what it should.
struct TrainerTests {
  /// Settings that keep state of their own.
  enum Variant: String, CaseIterable, Sendable {
    case plain, dropout, adamW8bit, wholeHead, bfloat16, allWeights

    func run() throws -> TinyRun {
      let run = try TinyRun()
      run.settings.gradientAccumulation = 2
      switch self {
      case .plain: break
      case .dropout: run.lora.dropout = 0.2
      case .adamW8bit: run.settings.optimizer.kind = .adamW8bit
      case .wholeHead: run.lora.modulesToSave = ["lm_head"]
      case .bfloat16: run.settings.compute = .bf16
      case .allWeights: run.trainsAll = true
      }
      return run
    }
  }

  @Test(arguments: Variant.allCases) func repeatsItselfAndResumesToTheBit(_ variant: Variant) throws {
    let whole = try variant.run()
    let losses = try whole.train().map(\.loss)
    let again = try variant.run()
    #expect(try again.train().map(\.loss) == losses)
    #expect(try again.result() == whole.result())

    // In the middle of the seventh update, in the third epoch.
    let parted = try variant.run()
    let error = try parted.trainInterrupted(after: 11)
    #expect(error?.code == .interrupted)
    #expect(error?.message.contains("after step 6 of 9") == true)
    #expect(error?.remedy?.contains("--resume") == true)
    #expect(!parted.files.contains { $0.hasPrefix("adapter_model") || $0.hasPrefix("model") })
    #expect(try parted.train(resume: 6).map(\.loss) == Array(losses[6...]))
    #expect(try parted.result() == whole.result())

    let other = try variant.run()
    other.settings.seed = 43
    try other.train()
    #expect(try other.result() != whole.result())
  }

  /// Every label token of an update counts the same, in whichever micro-batch it is.
  @Test(arguments: [(1, 4), (2, 2)], [true, false])
  func accumulatesExactly(_ split: (lines: Int, microBatches: Int), isPacked: Bool) throws {
    func run(_ lines: Int, _ microBatches: Int) throws -> [StepReport] {
      let run = try TinyRun()
      run.isPacked = isPacked
      run.batchSize = lines
      run.settings.gradientAccumulation = microBatches
      run.settings.maximumSteps = 3
      return try run.train()
    }
    for (one, parts) in try zip(run(4, 1), run(split.lines, split.microBatches)) {
      #expect(abs(one.loss - parts.loss) < 2e-6 * one.loss)
      #expect(abs(one.gradientNorm - parts.gradientNorm) < 2e-5 * one.gradientNorm)
      #expect(one.tokens == parts.tokens)
    }
  }

  /// With all data in one batch, it does not matter how sequences lie in rows.
  @Test func packsWithoutEffect() throws {
    let reports = try [true, false].map { isPacked in
      let run = try TinyRun()
      (run.isPacked, run.batchSize, run.settings.maximumSteps) = (isPacked, run.texts, 2)
      return try run.train()
    }
    for (packed, alone) in zip(reports[0], reports[1]) {
      #expect(abs(packed.loss - alone.loss) < 2e-6 * alone.loss)
      #expect(abs(packed.gradientNorm - alone.gradientNorm) < 2e-5 * alone.gradientNorm)
    }
  }

  @Test func learns() throws {
    let run = try TinyRun()
    run.settings.maximumSteps = 60
    let losses = try run.train().map(\.loss)
    #expect(losses[57...].reduce(0, +) < 0.8 * losses[..<3].reduce(0, +))
  }

  // MARK: - What is left behind

  @Test func keepsTheNewestCheckpoints() throws {
    let run = try TinyRun()
    (run.settings.saveSteps, run.settings.savedCheckpoints) = (2, 2)
    try run.train()
    #expect(
      run.files == [
        "adapter_config.json", "adapter_model.safetensors", "checkpoint-6", "checkpoint-8", "metrics.jsonl",
        "trainer_state.json",
      ])
    let checkpoint = try run.json("checkpoint-8/trainer_state.json")
    #expect(checkpoint["global_step"] == 8)
    #expect(checkpoint["log_history"]?.array?.last?["step"] == 8)
  }

  /// What the log averages, and the whole run's mean, do not show where a run was interrupted.
  @Test func logsAsIfNeverInterrupted() throws {
    func lossesLogged(_ run: TinyRun) throws -> [[JSON?]] {
      try #require(run.json("trainer_state.json")["log_history"]?.array).map {
        [$0["loss"], $0["train_loss"]]
      }
    }
    let (whole, parted) = (try TinyRun(), try TinyRun())
    for run in [whole, parted] {
      run.settings.loggingSteps = 4
      run.settings.saveSteps = 6
    }
    try whole.train()
    _ = try parted.trainInterrupted(after: 7)
    try parted.train(resume: 6)
    #expect(try lossesLogged(parted) == lossesLogged(whole))
    #expect(try lossesLogged(whole).contains { $0[1] != nil })
  }

  /// `metrics.jsonl` has, line by line, the history of `trainer_state.json`, without gaps or repetitions after a
  /// resumption.
  @Test func logsEveryStepOnce() throws {
    let run = try TinyRun()
    run.settings.saveSteps = 4
    run.settings.evaluationStrategy = .no
    try run.train()
    try run.train(resume: 4)
    let history = try #require(run.json("trainer_state.json")["log_history"]?.array)
    #expect(history.dropLast().map { $0["step"] } == (1...9).map { .int($0) })
    let keys: Set = ["epoch", "grad_norm", "learning_rate", "loss", "step"]
    #expect(history.dropLast().allSatisfy { Set($0.object?.keys ?? []) == keys })
    #expect(history.last?["train_loss"] != nil)
    let lines = try String(contentsOfFile: run.settings.outputFolder + "/metrics.jsonl", encoding: .utf8)
    #expect(try lines.split(separator: "\n").map { try JSON(parsing: Array($0.utf8)) } == history)
  }

  // MARK: - Refusals

  @Test func savesNothingBeforeTheFirstStep() throws {
    let run = try TinyRun()
    let error = try run.trainInterrupted(after: 0)
    #expect(error?.code == .interrupted)
    #expect(run.files == ["metrics.jsonl"])
  }

  /// A checkpoint that cannot be finished leaves the earlier ones, and nothing of itself.
  @Test func removesAnUnfinishedCheckpoint() throws {
    let run = try TinyRun()
    run.settings.saveSteps = 2
    struct DiskIsFull: Error {}
    var saves = 0
    run.beforeSave = {
      saves += 1
      if saves == 2 { throw DiskIsFull() }
    }
    #expect(throws: DiskIsFull.self) { try run.train() }
    #expect(run.files == ["checkpoint-2", "metrics.jsonl"])
  }

  /// A device that fails leaves the checkpoints, and the error names the one to continue from.
  @Test func namesTheCheckpointWhenTheDeviceFails() throws {
    func error(saveSteps: Int) throws -> (SwiftletError?, TinyRun) {
      let run = try TinyRun()
      run.settings.saveSteps = saveSteps
      let trainer = try run.trainer()
      let error = #expect(throws: SwiftletError.self) {
        try trainer.run(report: { event in
          guard case .step(let report) = event, report.step == 5 else { return }
          throw SwiftletError(.unavailable, "the GPU is lost", remedy: "Start again.")
        })
      }
      return (error, run)
    }
    let (saved, run) = try error(saveSteps: 2)
    #expect(saved?.message == "after step 5 of 9: the GPU is lost")
    #expect(saved?.remedy?.contains("checkpoint-4: the same command with --resume") == true)
    #expect(saved?.remedy?.hasPrefix("Start again.\n") == true)
    #expect(try run.train(resume: 4).last?.step == 9)
    #expect(try error(saveSteps: 6).0?.remedy?.contains("No checkpoint") == true)
  }

  @Test func refusesAFolderThatCannotBeWritten() throws {
    let run = try TinyRun()
    run.settings.outputFolder = try run.folder.write("", "file") + "/out"
    let error = #expect(throws: SwiftletError.self) { try run.train() }
    #expect(error?.code == .unwritable)
    #expect(error?.message.contains("Not a directory") == true)
  }

  /// Less memory than a step needs: the error says what would fit, and that does, but nothing longer.
  @Test func saysWhatFitsTheMemory() throws {
    func trainer(_ length: Int, _ lines: Int, budget: Int?) throws -> Trainer {
      let run = try TinyRun()
      (run.rowLength, run.batchSize, run.settings.memoryBudget) = (length, lines, budget)
      // Evaluation takes what training does.
      run.settings.checkpointing = budget == nil ? .full : nil
      return try run.trainer()
    }
    let needed = try trainer(640, 2, budget: nil).outline.memory
    let budget = needed.total - needed.batch - needed.activations / 8
    let error = try #require(throws: SwiftletError.self) { try trainer(640, 2, budget: budget) }
    #expect(error.code == .outOfMemory)
    let remedy = try #require(error.remedy)
    let match = try #require(remedy.firstMatch(of: /max_seq_length (\d+) with per_device_train_batch_size 2/))
    let length = try #require(Int(match.1))
    #expect((320..<640).contains(length) && length % 20 == 0)
    #expect(remedy.contains("max_seq_length 640 with per_device_train_batch_size 1"))
    _ = try trainer(length, 2, budget: budget)
    _ = try trainer(640, 1, budget: budget)
    #expect(throws: SwiftletError.self) { try trainer(length + 20, 2, budget: budget) }
    let nothing = #expect(throws: SwiftletError.self) { try trainer(640, 2, budget: 1 << 10) }
    #expect(nothing?.remedy?.contains("No shorter") == true)
  }

  /// Changes after which a checkpoint is not this run's, and a word of the error.
  @Test(arguments: [
    ("data", "steps an epoch"), ("optimizer", "adamw_8bit"), ("rank", "shape"), ("end", "nothing left"),
  ])
  func refusesAnotherRunsCheckpoint(_ change: String, _ word: String) throws {
    let run = try TinyRun()
    run.settings.saveSteps = 5
    try run.train()
    switch change {
    case "data": run.texts = 80
    case "optimizer": run.settings.optimizer.kind = .adamW8bit
    case "rank": run.lora.r = 8
    default: run.settings.maximumSteps = 5
    }
    let error = #expect(throws: SwiftletError.self) { try run.train(resume: 5) }
    #expect(error?.message.contains(word) == true, "\(String(describing: error))")
  }

  @Test func stopsWhenTheLossIsNoNumber() throws {
    let run = try TinyRun()
    run.settings.learningRate = 1e38
    run.settings.optimizer.maximumNorm = nil
    let error = #expect(throws: SwiftletError.self) { try run.train() }
    #expect(error?.code == .invalidData)
    #expect(error?.remedy?.contains("learning_rate") == true)
  }
}
