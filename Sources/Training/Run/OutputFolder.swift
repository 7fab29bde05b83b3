import Basics
import Foundation

#if canImport(Glibc)
  import Glibc
#else
  import Darwin
#endif

/// The folder that a run writes to.
public enum OutputFolder {
  /// Creates the folder unless it is there, and sees that a run may write to it.
  ///
  /// - Parameter keepsResults: whether results of an earlier run must not be written over.
  /// - Throws: `.unwritable`; `.invalidConfiguration` when there are results to keep.
  public static func prepare(_ path: String, keepsResults: Bool) throws(SwiftletError) {
    try? FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    let probe = "\(path)/.swiftlet-probe"
    // mkdir's own word on what is wrong, which Foundation does not pass on.
    let isThere = mkdir(path, 0o777) == 0 || errno == EEXIST
    let descriptor = isThere ? open(probe, O_WRONLY | O_CREAT | O_CLOEXEC, 0o644) : -1
    guard descriptor >= 0 else {
      throw SwiftletError(
        .unwritable, "output_dir \(path) cannot be written: \(String(cString: strerror(errno)))",
        remedy: "Choose another output_dir, or make this one writable.")
    }
    close(descriptor)
    unlink(probe)
    guard keepsResults, let result = results(in: path).first else { return }
    throw SwiftletError(
      .invalidConfiguration, "output_dir \(path) holds results of an earlier run (\(result))",
      remedy: "Continue that run with --resume, choose another output_dir, or set overwrite_output_dir: true "
        + "to begin anew.")
  }

  /// Files and checkpoints that training made, sorted.
  private static func results(in path: String) -> [String] {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []
    return names.filter {
      $0.hasSuffix(".safetensors") || $0 == "trainer_state.json" || RunCheckpoint.step(ofFolder: $0) != nil
    }.sorted()
  }
}
