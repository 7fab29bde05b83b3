import Basics
import Compute
import Foundation
import Models

/// A run's state on disk, in a folder `checkpoint-N`: what the user would want of the model, the optimiser's
/// moments, every step's loss, and `trainer_state.json`. Parameters are kept in float32, so a resumed run continues bit
/// for bit.
struct RunCheckpoint {
  let folder: String
  let step: Int

  private static let prefix = "checkpoint-"
  private static let optimizerFile = "optimizer.safetensors"
  /// Holds the parameters where the saved model does not hold them exactly.
  private static let parametersFile = "parameters.safetensors"
  private static let adapterFile = "adapter_model.safetensors"
  private static let stateFile = "trainer_state.json"
  /// The loss of every step: the log's means, and the whole run's, go on over an interruption.
  private static let lossesFile = "losses.safetensors"

  // MARK: Writing

  /// Writes a checkpoint beside its final name and renames it: it is there whole or not at all.
  ///
  /// - Parameter saveModel: writes adapter or model to the folder it is given.
  static func write(
    in outputFolder: String, step: Int, state: JSON, losses: [Double], parameters: Parameters,
    optimizer: Optimizer, saveModel: (String) throws -> Void
  ) throws -> RunCheckpoint {
    let final = outputFolder + "/\(prefix)\(step)"
    let temporary = final + ".incomplete"
    let files = FileManager.default
    try? files.removeItem(atPath: temporary)
    do { try files.createDirectory(atPath: temporary, withIntermediateDirectories: true) } catch {
      throw SwiftletError(.unwritable, "\(temporary): \(error.localizedDescription)")
    }
    // Nothing is left of one that could not be finished: the disk may be full.
    var isFinished = false
    defer { if !isFinished { try? files.removeItem(atPath: temporary) } }
    try saveModel(temporary)
    if !files.fileExists(atPath: temporary + "/" + adapterFile) {
      try parameters.save(to: temporary + "/" + parametersFile)
    }
    try optimizer.save(to: temporary + "/" + optimizerFile)
    try save(losses, to: temporary + "/" + lossesFile)
    try Training.write(state.text(.indented(2)) + "\n", to: temporary + "/" + stateFile)
    do {
      try? files.removeItem(atPath: final)
      try files.moveItem(atPath: temporary, toPath: final)
    } catch {
      throw SwiftletError(.unwritable, "\(final): \(error.localizedDescription)")
    }
    isFinished = true
    return RunCheckpoint(folder: final, step: step)
  }

  private static func save(_ losses: [Double], to path: String) throws(SwiftletError) {
    let writer = try SafetensorsWriter(path: path, tensors: [.init("losses", [losses.count], .f64)])
    try writer.append(losses.span.bytes, to: "losses")
    try writer.finish()
  }

  /// Removes the oldest checkpoints until `count` are left.
  static func keep(_ count: Int, in outputFolder: String) {
    for old in all(in: outputFolder).dropLast(count) {
      try? FileManager.default.removeItem(atPath: old.folder)
    }
  }

  // MARK: Reading

  /// The step of a checkpoint's folder by its name; nil for other names.
  static func step(ofFolder name: String) -> Int? {
    name.hasPrefix(prefix) ? Int(name.dropFirst(prefix.count)) : nil
  }

  /// The checkpoints of an output folder, oldest first.
  static func all(in outputFolder: String) -> [RunCheckpoint] {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: outputFolder)) ?? []
    return names.compactMap { name in
      step(ofFolder: name).map { RunCheckpoint(folder: outputFolder + "/" + name, step: $0) }
    }.sorted { $0.step < $1.step }
  }

  /// The checkpoint in `folder`.
  init(folder: String) throws(SwiftletError) {
    guard let name = folder.split(separator: "/").last, let step = Self.step(ofFolder: String(name)),
      FileManager.default.fileExists(atPath: folder + "/" + Self.stateFile)
    else {
      throw SwiftletError(
        .unreadable, "\(folder): is no checkpoint of a run",
        remedy: "A checkpoint is a folder checkpoint-N with trainer_state.json in it.")
    }
    self.init(folder: folder, step: step)
  }

  private init(folder: String, step: Int) {
    self.folder = folder
    self.step = step
  }

  /// Sets parameters and optimiser to what they were, and returns the run's state and the losses of its steps.
  func restore(
    _ parameters: Parameters, _ optimizer: Optimizer
  ) throws -> (state: JSON, losses: [Double]) {
    let isAdapter = FileManager.default.fileExists(atPath: folder + "/" + Self.adapterFile)
    try parameters.load(
      from: SafetensorsFile(path: folder + "/" + (isAdapter ? Self.adapterFile : Self.parametersFile)))
    try optimizer.load(from: folder + "/" + Self.optimizerFile)
    let path = folder + "/" + Self.stateFile
    guard let bytes = FileManager.default.contents(atPath: path) else { throw SwiftletError.unreadable(path) }
    return (try JSON(parsing: Array(bytes)), try losses())
  }

  private func losses() throws(SwiftletError) -> [Double] {
    let tensor = try SafetensorsFile(path: folder + "/" + Self.lossesFile).required("losses")
    guard tensor.element == .f64, tensor.shape == [step] else {
      throw SwiftletError(
        .malformedFile, "\(tensor.file.path): expected \(step) losses of type F64, one a step",
        remedy: "Resume from another checkpoint.")
    }
    return tensor.withBytes { bytes in
      (0..<step).map { bytes.loadUnaligned(fromByteOffset: 8 * $0, as: Double.self) }
    }
  }

  /// Sees that the checkpoint, whose run had `state`, belongs to this run, and that there is something left to do.
  func check(_ state: JSON?, totalSteps: Int, stepsPerEpoch: Int) throws(SwiftletError) {
    if let epoch = state?["epoch"]?.double, epoch > 0,
      abs(epoch * Double(stepsPerEpoch) - Double(step)) > 1e-6 * Double(step)
    {
      throw SwiftletError(
        .mismatch,
        "\(folder): its run had \(Int((Double(step) / epoch).rounded())) steps an epoch, this one has \(stepsPerEpoch)",
        remedy: "Resume with the data, batch size and max_seq_length that the run began with.")
    }
    guard step < totalSteps else {
      throw SwiftletError(
        .invalidConfiguration,
        "\(folder): the run ends after step \(totalSteps), so there is nothing left to do",
        remedy: "Raise num_train_epochs or max_steps to train on.")
    }
  }
}

extension Optimizer {
  /// Writes the moments.
  func save(to path: String) throws(SwiftletError) {
    let writer = try SafetensorsWriter(
      path: path, tensors: [.init("state", [memory.count], .u8)],
      metadata: ["format": "pt", "step": "\(step)", "optim": settings.kind.rawValue])
    let bytes = try moments.read(as: UInt8.self, on: backend)
    try writer.append(bytes.span.bytes, to: "state")
    try writer.finish()
  }

  func load(from path: String) throws(SwiftletError) {
    let file = try SafetensorsFile(path: path)
    let state = try file.required("state")
    guard state.count == memory.count, let saved = file.metadata["step"].flatMap({ Int($0) }),
      file.metadata["optim"] == settings.kind.rawValue
    else {
      throw SwiftletError(
        .mismatch,
        "\(path): is the state of \(file.metadata["optim"] ?? "another optimiser") with \(state.count) bytes,"
          + " this run has \(settings.kind.rawValue) with \(memory.count)",
        remedy: "Resume with the configuration that the run began with.")
    }
    step = saved
    try moments.write(state.withBytes { Array($0) }, on: backend)
  }
}
