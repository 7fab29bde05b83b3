import Basics
import Foundation

/// A file or folder that appears under its name whole or not at all: it is made and checked beside it, then renamed.
///
/// What an interrupted program leaves lies under a hidden name, which the next attempt clears away.
final class StagedOutput {
  /// Where to write.
  let stage: String
  private let path: String
  private var isCommitted = false

  /// - Parameters:
  ///   - replacing: whether a file, or a folder that holds a model, may be in the place already.
  ///   - source: what is read meanwhile and must stay.
  /// - Throws: `.invalidConfiguration` when something is in the place; `.unwritable`.
  init(_ path: String, replacing: Bool, source: String) throws(SwiftletError) {
    let url = URL(fileURLWithPath: path).standardizedFileURL
    self.path = url.path
    stage = url.deletingLastPathComponent().path + "/." + url.lastPathComponent + ".partial"
    try Self.check(self.path, replacing: replacing, source: source)
    do {
      try FileManager.default.createDirectory(
        at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
      try Self.removeIfThere(stage)
    } catch { throw Self.unwritable(stage, error) }
  }

  private static func check(_ path: String, replacing: Bool, source: String) throws(SwiftletError) {
    let files = FileManager.default
    var isFolder: ObjCBool = false
    guard files.fileExists(atPath: path, isDirectory: &isFolder) else { return }
    if isFolder.boolValue, (try? files.contentsOfDirectory(atPath: path))?.isEmpty == true { return }
    let resolved = { URL(fileURLWithPath: $0).resolvingSymlinksInPath().path }
    guard resolved(path) != resolved(source) else {
      throw SwiftletError(
        .invalidConfiguration, "\(path) is the model that is read", remedy: "Choose another output.")
    }
    guard replacing else {
      throw SwiftletError(
        .invalidConfiguration, "\(path) is there already",
        remedy: "Choose another output, or replace it with --force.")
    }
    // Nobody loses a folder of other things to a slip of the keyboard.
    guard !isFolder.boolValue || files.fileExists(atPath: path + "/config.json") else {
      throw SwiftletError(
        .invalidConfiguration, "\(path) is a folder, and holds no model that could be replaced",
        remedy: "Choose another output.")
    }
  }

  /// Puts what was written in its place.
  func commit() throws(SwiftletError) {
    let old = stage + ".old"
    do {
      try Self.removeIfThere(old)
      // A folder cannot be renamed over one that holds something.
      if FileManager.default.fileExists(atPath: path) {
        try FileManager.default.moveItem(atPath: path, toPath: old)
      }
      try FileManager.default.moveItem(atPath: stage, toPath: path)
      isCommitted = true
      try Self.removeIfThere(old)
    } catch { throw Self.unwritable(path, error) }
  }

  deinit { if !isCommitted { try? Self.removeIfThere(stage) } }

  private static func removeIfThere(_ path: String) throws {
    if FileManager.default.fileExists(atPath: path) { try FileManager.default.removeItem(atPath: path) }
  }

  private static func unwritable(_ path: String, _ error: any Error) -> SwiftletError {
    SwiftletError(.unwritable, "\(path): \(error.localizedDescription)")
  }
}
