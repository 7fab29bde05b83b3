import Basics
import Foundation
import Models

/// What an adapter says of the model that it was trained on.
extension AdapterFolder {
  /// Whether the model at `path` can be that model, by name: a quantised file or a copy of it has a longer one.
  public func canBelong(to path: String) -> Bool {
    guard let baseModel else { return true }
    let (named, given) = (Self.stem(baseModel), Self.stem(path))
    return named.isEmpty || given.isEmpty || named.hasPrefix(given) || given.hasPrefix(named)
  }

  /// "smollm2135minstruct" of "HuggingFaceTB/SmolLM2-135M-Instruct" and of "models/SmolLM2-135M-Instruct.Q4_1.gguf".
  private static func stem(_ path: String) -> String {
    let parts = path.split(separator: "/")
    // Hugging Face's cache: models--ORGANISATION--NAME/snapshots/COMMIT.
    let cached = parts.last { $0.hasPrefix("models--") }.flatMap { $0.components(separatedBy: "--").last }
    var name = (cached ?? parts.last.map(String.init) ?? "").lowercased()
    if name.hasSuffix(".gguf") {
      name.removeLast(5)
      // What follows the last dot is the type.
      if let dot = name.lastIndex(of: ".") { name = String(name[..<dot]) }
    }
    return name.filter { $0.isLetter || $0.isNumber }
  }

  /// What the base model's matrices were held as when this program trained the adapter, by the configuration that lies
  /// beside it or beside its checkpoints.
  ///
  /// - Throws: `.invalidConfiguration` when there is none.
  public func trainedBaseWeights() throws(SwiftletError) -> BaseWeights {
    let folder = URL(fileURLWithPath: path, isDirectory: true)
    for place in [folder, folder.deletingLastPathComponent()] {
      guard let data = FileManager.default.contents(atPath: place.path + "/swiftlet_config.json"),
        let config = try? JSON(parsing: Array(data))
      else { continue }
      if let weights = (config["base_weights"]?.string).flatMap(BaseWeights.init) { return weights }
    }
    throw SwiftletError(
      .invalidConfiguration, "\(path): nothing says what the base model's weights were held as in training",
      remedy: "Say it: --base-weights nf4, int8, or original.")
  }
}
