import Basics
import Foundation

/// The folder of models that can be named without a path: `$XDG_CACHE_HOME/swiftlet/models`, by default under
/// `~/.cache`.
public enum ModelCache {
  /// `~/.cache/swiftlet`, or where the system keeps caches.
  public static var root: String {
    let environment = ProcessInfo.processInfo.environment
    let base = environment["XDG_CACHE_HOME"] ?? (environment["HOME"] ?? ".") + "/.cache"
    return base + "/swiftlet"
  }

  public static var folder: String { root + "/models" }

  /// File and folder names in the cache, sorted.
  public static var names: [String] {
    ((try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []).filter { !$0.hasPrefix(".") }
      .sorted()
  }

  /// The path of a model: `name` itself when it is there, else what the cache has under that name, with or without
  /// `.gguf`, in any case.
  ///
  /// - Throws: `.unreadable` with the names that there are.
  public static func path(of name: String) throws(SwiftletError) -> String {
    if FileManager.default.fileExists(atPath: name) { return name }
    let wanted = name.lowercased()
    let found = names.filter { [wanted, wanted + ".gguf"].contains($0.lowercased()) }
    if let found = found.first { return folder + "/" + found }
    let near = names.filter { $0.lowercased().hasPrefix(wanted) }
    if near.count == 1 { return folder + "/" + near[0] }
    let known =
      names.isEmpty ? "The cache \(folder) is empty." : "In the cache are: \(names.joined(separator: ", "))."
    throw SwiftletError(.unreadable, "there is no model '\(name)'", remedy: known)
  }
}
