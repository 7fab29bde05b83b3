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
  public static var names: [String] { names(in: folder) }

  private static func names(in folder: String) -> [String] {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
    return names.filter { !$0.hasPrefix(".") }.sorted()
  }

  /// The path of a model: `name` itself when it is there, else what the cache has under that name, in any case and
  /// with or without what follows a dot (`.gguf`, `.Q4_1.gguf`).
  ///
  /// - Throws: `.unreadable` with the names that there are, or those that `name` could mean.
  public static func path(of name: String) throws(SwiftletError) -> String { try path(of: name, in: folder) }

  static func path(of name: String, in folder: String) throws(SwiftletError) -> String {
    if FileManager.default.fileExists(atPath: name) { return name }
    let (names, wanted) = (names(in: folder), name.lowercased())
    if let same = names.first(where: { $0.lowercased() == wanted }) { return folder + "/" + same }
    let candidates = names.filter { $0.lowercased().hasPrefix(wanted + ".") }
    if candidates.count == 1 { return folder + "/" + candidates[0] }
    let remedy =
      if !candidates.isEmpty {
        "It could be one of: \(candidates.joined(separator: ", "))."
      } else if names.isEmpty {
        "Give a GGUF file or a model folder, or put one into the cache, \(folder)."
      } else if let near = nearest(to: name, in: names) {
        "Did you mean '\(near)'?"
      } else {
        "In the cache are: \(names.joined(separator: ", "))."
      }
    throw SwiftletError(.unreadable, "there is no model '\(name)'", remedy: remedy)
  }
}

extension ModelFile {
  /// Opens a model by its path or its name in the cache.
  ///
  /// - Throws: `.invalidConfiguration` for an adapter's folder, naming its base model.
  public init(named name: String) throws(SwiftletError) {
    let path = try ModelCache.path(of: name)
    let files = FileManager.default
    if let bytes = files.contents(atPath: path + "/adapter_config.json"),
      !files.fileExists(atPath: path + "/config.json")
    {
      let base = (try? JSON(parsing: Array(bytes)))?["base_model_name_or_path"]?.string
      throw SwiftletError(
        .invalidConfiguration, "\(path) is an adapter, not a model",
        remedy:
          "Name its base model\(base.map { ", '\($0)'," } ?? "") as the model, and this folder as the adapter."
      )
    }
    try self.init(path: path)
  }
}
