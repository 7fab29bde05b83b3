import Basics
import Compute
import Foundation
import Models
import Text

/// The training loop: micro-batches, updates, evaluations, checkpoints. One loop for every kind of training; what is
/// trained is in `parameters`, what it is trained on in `data`.
///
/// Runs on the calling thread. `SFTTrainer` in Swiftlet wraps it for programs that want an asynchronous sequence.
public final class Trainer {
  public let settings: TrainerSettings
  public let parameters: Parameters
  /// What is trained. Its head may have been brought to the device.
  public let model: Decoder
  private let data: BatchPlan
  private let evaluation: BatchPlan?
  private let backend: any Backend
  private let saveModel: (_ folder: String) throws -> Void
  private let optimizer: Optimizer
  private let runner: StepRunner
  private let schedule: LearningRateSchedule
  public let outline: RunOutline
  /// Told how long each operation of the training steps takes.
  public var timer: StepTimer? {
    get { runner.update.gradients.timer }
    set { runner.update.gradients.timer = newValue }
  }

  private var log: RunLog
  private var step = 0
  private var tokensSeen = 0
  /// Of every step so far, those before an interruption too.
  private var losses: [Double] = []
  /// Packing an epoch takes time, so it is kept while it lasts.
  private var currentEpoch: (number: Int, batches: BatchPlan.Epoch)?

  /// Plans the run and takes its memory: fails here when that does not suffice, saying what would fit. Nothing is written
  /// before `run`.
  ///
  /// - Parameters:
  ///   - model: with adapters or trainable weights attached, whose values are `parameters`.
  ///   - saveModel: writes what was trained to a folder that exists.
  ///   - resume: a checkpoint folder to continue from.
  public init(
    _ model: Decoder, training parameters: Parameters, on data: BatchPlan, evaluation: BatchPlan? = nil,
    _ settings: TrainerSettings, resume: String? = nil, backend: any Backend,
    saveModel: @escaping (_ folder: String) throws -> Void
  ) throws {
    self.settings = settings
    self.parameters = parameters
    self.data = data
    self.evaluation = evaluation
    self.saveModel = saveModel
    self.backend = backend
    let optimizer = try Optimizer(settings.optimizer, for: parameters, on: backend)
    self.optimizer = optimizer
    // Where the device's memory is the host's there is nothing to gain.
    let isOffloaded = backend.hasHostMemory ? false : settings.offloadsActivations
    let budget = Self.budget(settings, backend)
    let compute = settings.compute
    func fits(_ model: Decoder, _ batch: DeviceBatch) -> Bool {
      GradientStep.fits(
        model, batch, compute: compute, checkpointing: settings.checkpointing, isOffloaded: isOffloaded,
        arenaBudget: budget - Self.memory(model, parameters, optimizer).total, on: backend)
    }
    let model = try Self.placingHead(of: model) {
      guard !settings.wantsLeastMemory else { return false }
      let rotary = try $0.spec.rotary.table(
        positions: data.rowLength, headSize: $0.spec.headSize, on: backend)
      return fits($0, try DeviceBatch(for: data, compute: compute, rotary: rotary, on: backend))
    }
    self.model = model
    let fixed = Self.memory(model, parameters, optimizer)
    do {
      runner = try StepRunner(
        model, compute: compute, on: data, evaluation: evaluation,
        microBatches: settings.gradientAccumulation, optimizer: optimizer,
        checkpointing: settings.checkpointing, isOffloaded: isOffloaded, arenaBudget: budget - fixed.total,
        backend: backend)
    } catch let error as SwiftletError where error.code == .outOfMemory {
      throw SmallerBatch(lines: data.batchSize, length: data.rowLength) { lines, length in
        let batch = try? GradientStep.device(
          model, compute: compute, lines: lines, length: length, on: backend)
        return batch.map { fits(model, $0) } ?? false
      }.explaining(error)
    }

    let stepsPerEpoch =
      (data.batchesPerEpoch + settings.gradientAccumulation - 1) / settings.gradientAccumulation
    let totalSteps = settings.maximumSteps ?? Int((settings.epochs * Double(stepsPerEpoch)).rounded(.up))
    let warmup =
      settings.warmupSteps > 0
      ? settings.warmupSteps : Int((settings.warmupRatio * Double(totalSteps)).rounded(.up))
    schedule = LearningRateSchedule(
      settings.schedule, peak: settings.learningRate, warmupSteps: warmup, totalSteps: totalSteps)
    var state: JSON?
    if let resume {
      let checkpoint = try RunCheckpoint(folder: resume)
      (state, losses) = try checkpoint.restore(parameters, optimizer)
      step = checkpoint.step
      tokensSeen = state?["num_input_tokens_seen"]?.int ?? 0
      try checkpoint.check(state, totalSteps: totalSteps, stepsPerEpoch: stepsPerEpoch)
    }
    log = RunLog(folder: settings.outputFolder, history: state?["log_history"]?.array ?? [])
    outline = runner.outline(
      fixed, totalSteps: totalSteps, stepsPerEpoch: stepsPerEpoch, resumedFrom: step,
      trainedParameters: parameters.trainedCount)
  }

  // MARK: The loop

  /// Trains to the end.
  ///
  /// - Parameters:
  ///   - isInterrupted: asked before every micro-batch; when true, a checkpoint is saved and `.interrupted`
  ///     thrown.
  ///   - report: told everything that happens, on this thread.
  /// - Throws: `.interrupted`; what failed on the device, naming the checkpoint to continue from.
  public func run(
    isInterrupted: () -> Bool = { false }, report: (TrainingEvent) throws -> Void = { _ in }
  ) throws -> RunReport {
    do {
      return try runToEnd(isInterrupted, report)
    } catch let error as SwiftletError where error.code == .unavailable || error.code == .outOfMemory {
      throw lost(error)
    }
  }

  private func runToEnd(
    _ isInterrupted: () -> Bool, _ report: (TrainingEvent) throws -> Void
  ) throws -> RunReport {
    try Self.makeWritable(settings.outputFolder)
    try log.begin()
    try report(.began(outline))
    let clock = ContinuousClock()
    let start = clock.now
    let (firstStep, firstTokens) = (step, tokensSeen)
    var lastEvaluation: EvaluationReport?
    while step < outline.totalSteps {
      let began = clock.now
      guard let update = try runStep(isInterrupted) else { throw try interrupted(report) }
      losses.append(update.loss)
      let elapsed = (clock.now - start).seconds
      let pace = elapsed / Double(step - firstStep)
      let stepReport = StepReport(
        step: step, totalSteps: outline.totalSteps, epoch: epoch, loss: update.loss,
        gradientNorm: update.norm, learningRate: update.rate, tokens: update.tokens,
        seconds: (clock.now - began).seconds, secondsLeft: pace * Double(outline.totalSteps - step))
      try report(.step(stepReport))
      if step % settings.loggingSteps == 0 { try record(stepReport, losses.suffix(settings.loggingSteps)) }
      let (total, perEpoch) = (outline.totalSteps, outline.stepsPerEpoch)
      if settings.isEvaluationDue(after: step, of: total, stepsPerEpoch: perEpoch),
        let result = try evaluate()
      {
        try report(.evaluated(result))
        lastEvaluation = result
      }
      if settings.isSaveDue(after: step, of: total, stepsPerEpoch: perEpoch) { try save(report) }
    }
    let result = RunReport(
      steps: step, seconds: (clock.now - start).seconds, tokens: tokensSeen - firstTokens,
      loss: losses.reduce(0, +) / Double(losses.count), evaluation: lastEvaluation,
      memory: outline.memory, peakResident: ProcessMemory.peakResident,
      peakDevice: backend.peakAllocatedBytes)
    try finish(result)
    try report(.ended(result))
    return result
  }

  /// One update; nil when interrupted before all of its micro-batches were done.
  private func runStep(
    _ isInterrupted: () -> Bool
  ) throws -> (loss: Double, norm: Double, rate: Double, tokens: Int)? {
    let batches = microBatches(of: step)
    // Every label token of the step counts the same, in whichever micro-batch it is.
    let labels = batches.reduce(0) { $0 + $1.labelCount }
    let weight = labels > 0 ? 1 / Float(labels) : 0
    let rate = schedule.rate(after: step)
    let result = try runner.update.run(
      batches, scale: weight, seed: settings.seed, first: step * settings.gradientAccumulation,
      learningRate: rate, isInterrupted: isInterrupted)
    guard let (loss, norm) = result else { return nil }
    guard loss.isFinite, norm.isFinite else {
      throw SwiftletError(
        .invalidData,
        "step \(step + 1): the loss is \(loss / Double(max(1, labels))), its gradient's norm \(norm)",
        remedy: "Lower learning_rate, or resume from the last checkpoint.")
    }
    step += 1
    let tokens = batches.reduce(0) { $0 + $1.tokenCount }
    tokensSeen += tokens
    return (loss / Double(max(1, labels)), norm, rate, tokens)
  }

  private func microBatches(of step: Int) -> [PackedBatch] {
    let (epochNumber, inEpoch) = step.quotientAndRemainder(dividingBy: outline.stepsPerEpoch)
    let known = currentEpoch?.number == epochNumber ? currentEpoch?.batches : nil
    let batches = known ?? data.epoch(epochNumber)
    currentEpoch = (epochNumber, batches)
    let first = inEpoch * settings.gradientAccumulation
    return (first..<min(batches.count, first + settings.gradientAccumulation)).map { batches[$0] }
  }

  /// Mean loss per label token over the evaluation data; nil when there are none.
  public func evaluate() throws -> EvaluationReport? {
    guard let evaluation, let report = try runner.evaluate(evaluation, at: step) else { return nil }
    if step > 0 {
      try log.append([
        "epoch": .double(self.epoch), "eval_loss": .double(report.loss),
        "eval_runtime": .double(report.seconds),
        "step": .int(step),
      ])
    }
    return report
  }

  private var epoch: Double { Double(step) / Double(outline.stepsPerEpoch) }

  // MARK: What is kept

  private func record(_ report: StepReport, _ losses: ArraySlice<Double>) throws {
    try log.append([
      "epoch": .double(report.epoch), "grad_norm": .double(report.gradientNorm),
      "learning_rate": .double(report.learningRate),
      "loss": .double(losses.reduce(0, +) / Double(max(1, losses.count))), "step": .int(report.step),
    ])
  }

  private func save(_ report: (TrainingEvent) throws -> Void) throws {
    let checkpoint = try RunCheckpoint.write(
      in: settings.outputFolder, step: step, state: state, losses: losses, parameters: parameters,
      optimizer: optimizer, saveModel: saveModel)
    if let count = settings.savedCheckpoints { RunCheckpoint.keep(count, in: settings.outputFolder) }
    try report(.saved(folder: checkpoint.folder, step: step))
  }

  private func interrupted(_ report: (TrainingEvent) throws -> Void) throws -> SwiftletError {
    guard step > 0 else {
      return SwiftletError(.interrupted, "interrupted before the first step; there is nothing to save")
    }
    try save(report)
    return SwiftletError(
      .interrupted,
      "interrupted after step \(step) of \(outline.totalSteps); the run is saved in "
        + "\(settings.outputFolder)/checkpoint-\(step)",
      remedy: "Run the same command with --resume to continue.")
  }

  /// The error of a device that stopped, with what is left of the run.
  private func lost(_ error: SwiftletError) -> SwiftletError {
    let rest =
      Self.newestCheckpoint(in: settings.outputFolder).map {
        "The run is saved in \($0): the same command with --resume continues there."
      } ?? "No checkpoint was saved by then; save_steps says how often one is."
    return SwiftletError(
      error.code, "after step \(step) of \(outline.totalSteps): \(error.message)",
      remedy: [error.remedy, rest].compactMap(\.self).joined(separator: "\n"))
  }

  private func finish(_ report: RunReport) throws {
    try log.append([
      "epoch": .double(epoch), "step": .int(step), "train_loss": .double(report.loss),
      "train_runtime": .double(report.seconds),
      "train_tokens_per_second": .double(Double(report.tokens) / max(report.seconds, 1e-9)),
    ])
    try saveModel(settings.outputFolder)
    try write(state.text(.indented(2)) + "\n", to: settings.outputFolder + "/trainer_state.json")
  }

  /// `trainer_state.json`, with the keys that transformers' TrainerState has.
  private var state: JSON {
    [
      "best_metric": nil, "best_model_checkpoint": nil, "epoch": .double(epoch),
      "eval_steps": .int(settings.evaluationSteps ?? outline.stepsPerEpoch), "global_step": .int(step),
      "is_hyper_param_search": false, "is_local_process_zero": true, "is_world_process_zero": true,
      "log_history": .array(log.history), "logging_steps": .int(settings.loggingSteps),
      "max_steps": .int(outline.totalSteps), "num_input_tokens_seen": .int(tokensSeen),
      "num_train_epochs": .int(Int(settings.epochs.rounded(.up))),
      "save_steps": .int(settings.saveSteps ?? outline.totalSteps), "stateful_callbacks": [:],
      "total_flos": 0, "train_batch_size": .int(data.batchSize), "trial_name": nil, "trial_params": nil,
    ]
  }

  // MARK: Before the run

  /// Sees that a run may write to `folder`, which is created unless it is there.
  ///
  /// - Throws: `.unwritable`.
  public static func makeWritable(_ folder: String) throws(SwiftletError) {
    try? FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    let probe = "\(folder)/.swiftlet-probe"
    // mkdir's own word on what is wrong, which Foundation does not pass on.
    let isThere = mkdir(folder, 0o777) == 0 || errno == EEXIST
    let descriptor = isThere ? open(probe, O_WRONLY | O_CREAT | O_CLOEXEC, 0o644) : -1
    guard descriptor >= 0 else {
      throw SwiftletError(
        .unwritable, "output_dir \(folder) cannot be written: \(String(cString: strerror(errno)))",
        remedy: "Choose another output_dir, or make this one writable.")
    }
    close(descriptor)
    unlink(probe)
  }

  /// `model`, its head on the device when a step fits beside it there, or else in the host's memory.
  private static func placingHead(of model: Decoder, _ fits: (Decoder) throws -> Bool) throws -> Decoder {
    // A plan reads no weight: it does not matter yet where this one lies.
    guard model.headStream != nil else { return model }
    var onDevice = model
    onDevice.headStream = nil
    var placed = model
    try placed.placeHead(onDevice: fits(onDevice))
    return placed
  }

  private static func memory(_ model: Decoder, _ parameters: Parameters, _ optimizer: Optimizer)
    -> MemoryOutline
  {
    MemoryOutline(
      weights: model.frozenBytes, parameters: parameters.bytes, gradients: parameters.bytes,
      optimizer: optimizer.memory.count)
  }

  /// Without a budget, what is free with a tenth left for others.
  private static func budget(_ settings: TrainerSettings, _ backend: any Backend) -> Int {
    settings.memoryBudget ?? backend.availableMemory.map { $0 / 10 * 9 } ?? .max / 2
  }
}

extension StepRunner {
  fileprivate func outline(
    _ fixed: MemoryOutline, totalSteps: Int, stepsPerEpoch: Int, resumedFrom: Int, trainedParameters: Int
  ) -> RunOutline {
    var memory = fixed
    memory.activations = activationBytes
    memory.batch = batchBytes
    memory.host = update.gradients.plan.hostBytes + model.streamedBytes
    return RunOutline(
      totalSteps: totalSteps, stepsPerEpoch: stepsPerEpoch, resumedFrom: resumedFrom,
      trainedParameters: trainedParameters, policies: update.gradients.policies, memory: memory,
      predictedResident: ProcessMemory.resident + activationBytes + model.untouchedBytes)
  }
}

extension Duration {
  var seconds: Double { Double(components.seconds) + Double(components.attoseconds) * 1e-18 }
}

extension Trainer {
  /// The newest checkpoint of an output folder; nil when there is none.
  public static func newestCheckpoint(in outputFolder: String) -> String? {
    RunCheckpoint.all(in: outputFolder).last?.folder
  }
}
