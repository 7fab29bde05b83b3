import Basics
import Foundation
import Training

/// The output folder before a run begins: an earlier run in it is not lost unasked.
enum RunFolder {
  /// - Throws: `.invalidConfiguration` when a new run would overwrite what is there, or one that is to go on has no
  ///   checkpoint.
  static func check(_ configuration: TrainingConfiguration) throws(SwiftletError) {
    let folder = configuration.run.outputFolder
    switch configuration.resume {
    case .folder: return
    case .newest:
      guard Trainer.newestCheckpoint(in: folder) == nil else { return }
      throw SwiftletError(
        .invalidConfiguration, "output_dir \(folder) has no checkpoint to continue from",
        remedy:
          "Leave out --resume (resume_from_checkpoint) to begin a new run. Checkpoints are saved when a run is "
          + "interrupted, and every save_steps.")
    case .no:
      guard !configuration.overwritesOutputFolder, holdsRun(folder) else { return }
      throw SwiftletError(
        .invalidConfiguration, "output_dir \(folder) holds a run already",
        remedy:
          "Choose another output_dir, continue with --resume, or begin anew with overwrite_output_dir: true.")
    }
  }

  /// Makes way for a new run, and records the configuration beside its results.
  ///
  /// - Throws: `.unwritable`.
  static func prepare(_ configuration: TrainingConfiguration) throws(SwiftletError) {
    let folder = configuration.run.outputFolder
    let record = folder + "/swiftlet_config.json"
    do {
      // An older run's checkpoints would be taken for this one's when it is resumed.
      while configuration.resume == .no, let checkpoint = Trainer.newestCheckpoint(in: folder) {
        try FileManager.default.removeItem(atPath: checkpoint)
      }
      try Data((configuration.json.text(.indented(2)) + "\n").utf8)
        .write(to: URL(fileURLWithPath: record), options: .atomic)
    } catch { throw SwiftletError(.unwritable, "\(record): \(error.localizedDescription)") }
  }

  private static func holdsRun(_ folder: String) -> Bool {
    FileManager.default.fileExists(atPath: folder + "/trainer_state.json")
      || Trainer.newestCheckpoint(in: folder) != nil
  }
}
