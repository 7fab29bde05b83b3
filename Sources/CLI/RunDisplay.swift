import Foundation
import Swiftlet

/// Shows a run: a progress bar on a terminal, plain lines in a file, or JSON lines for programs.
///
/// `Sendable` because it is told of one event at a time: preparation ends before the run begins.
final class RunDisplay: @unchecked Sendable {
  private let json: Bool
  private let line = ProgressLine()
  private var memory = 0
  private var outputFolder = ""
  private var isWholeModel = false

  init(json: Bool) {
    self.json = json
  }

  func preparing(_ step: SFTTrainer.Preparation) {
    guard !json, Terminal.progress.isInteractive else { return }
    switch step {
    case .loading(let layer, let count): line.show("Loading", done: layer, of: count, details: [])
    case .tokenizing(let rows, let count): line.show("Tokenising", done: rows, of: count, details: [])
    }
  }

  /// What is known before the first step.
  func prepared(_ trainer: SFTTrainer) {
    line.leave(erasing: true)
    guard !json else { return }
    let (outline, data) = (trainer.outline, trainer.statistics)
    outputFolder = trainer.configuration.run.outputFolder
    isWholeModel = trainer.configuration.fineTuning == .full
    note(
      "\(counted(data.sequences, "sequence"))\(data.aside), \(data.tokens) tokens, \(data.trainedTokens) of them trained;"
        + " \(decimal(100 * trainer.paddingShare, 1))% padding")
    note(
      "\(outline.trainedParameters) trained parameters; \(counted(outline.totalSteps, "step")), \(outline.stepsPerEpoch) an epoch"
    )
    if outline.policies.contains(where: \.isOffloaded) {
      note(
        "Layers: \(outline.policies.summary); \(outline.memory.host.megabytes) of the host's memory locked for them"
      )
    }
    if outline.resumedFrom > 0 { note("Continuing after step \(outline.resumedFrom)") }
  }

  func show(_ event: TrainingEvent) {
    if json {
      print(event.json.text())
      fflush(nil)
      return
    }
    switch event {
    case .began(let outline): memory = outline.memory.total
    case .step(let step):
      line.show(
        "Training", done: step.step, of: step.totalSteps,
        details: [
          "loss \(decimal(step.loss, 4))", "\(Int(Double(step.tokens) / max(step.seconds, 1e-9))) tok/s",
          "ETA \(clockText(step.secondsLeft))", memory.megabytes,
        ])
    case .evaluated(let report):
      line.leave()
      note(
        "Step \(report.step): held-out loss \(decimal(report.loss, 4)), perplexity \(decimal(report.perplexity, 2))"
      )
    case .saved(let folder, _):
      line.leave()
      note("Saved \(folder)")
    case .ended(let report):
      line.leave()
      note(
        "\(counted(report.steps, "step")) in \(clockText(report.seconds)), "
          + "\(Int(Double(report.tokens) / max(report.seconds, 1e-9))) tokens/s; "
          + "\(report.memory.total.megabytes) planned, \(report.peakResident.megabytes) resident at most"
          + (report.peakDevice.map { ", \($0.megabytes) on the GPU" } ?? ""))
      note("Saved in \(outputFolder)")
      if isWholeModel, !FileManager.default.fileExists(atPath: outputFolder + "/tokenizer.json") {
        note("To use it, put the original model's tokenizer.json there; a GGUF file does not hold it.")
      }
    }
  }

  func end() { line.leave() }
}

extension TokenizedDataset.Statistics {
  /// What became of rows that are not kept whole, in parentheses; nothing when all are.
  var aside: String {
    let counts = [
      (truncated, "truncated"), (dropped, "dropped as too long"), (untrainable, "without a trained token"),
      (empty, "empty"),
    ]
    let notes = counts.filter { $0.0 > 0 }.map { "\($0.0) \($0.1)" }
    return notes.isEmpty ? "" : " (\(notes.joined(separator: ", ")))"
  }
}

extension TrainingEvent {
  /// The event for programs.
  var json: JSON {
    switch self {
    case .began(let outline):
      [
        "event": "began", "steps": .int(outline.totalSteps), "steps_per_epoch": .int(outline.stepsPerEpoch),
        "resumed_from": .int(outline.resumedFrom), "trained_parameters": .int(outline.trainedParameters),
        "memory": outline.memory.json, "predicted_resident": .int(outline.predictedResident),
      ]
    case .step(let step):
      [
        "event": "step", "step": .int(step.step), "epoch": .double(step.epoch), "loss": .double(step.loss),
        "grad_norm": .double(step.gradientNorm), "learning_rate": .double(step.learningRate),
        "tokens": .int(step.tokens), "seconds": .double(step.seconds),
      ]
    case .evaluated(let report): report.json
    case .saved(let folder, let step): ["event": "saved", "folder": .string(folder), "step": .int(step)]
    case .ended(let report):
      [
        "event": "ended", "steps": .int(report.steps), "seconds": .double(report.seconds),
        "tokens": .int(report.tokens), "loss": .double(report.loss), "memory": report.memory.json,
        "peak_resident": .int(report.peakResident),
        "peak_device": report.peakDevice.map { .int($0) } ?? nil,
      ]
    }
  }
}

extension EvaluationReport {
  var json: JSON {
    [
      "event": "evaluated", "step": .int(step), "loss": .double(loss), "perplexity": .double(perplexity),
      "labels": .int(labels), "seconds": .double(seconds),
    ]
  }
}

extension MemoryOutline {
  /// Bytes by part.
  var json: JSON {
    var object: JSON.Object = ["total": .int(total)]
    for (name, bytes) in parts { object[name] = .int(bytes) }
    object["host"] = .int(host)
    return .object(object)
  }
}
