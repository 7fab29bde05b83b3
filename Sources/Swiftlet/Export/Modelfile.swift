import Basics
import Foundation
import Text

extension LanguageModel {
  /// Writes an Ollama Modelfile beside a GGUF file of this model: where the weights are, and what ends an answer. Ollama
  /// reads the chat template out of the file where it knows it, so none is repeated here.
  ///
  /// - Parameters:
  ///   - gguf: what `export` or `exportAdapter` wrote.
  ///   - adapterOnly: whether that holds adapters alone, for this model's file as the base.
  /// - Returns: the Modelfile's path.
  /// - Throws: `.unwritable`; `.unsupported` for adapters of a model that is no GGUF file.
  public func writeModelfile(for gguf: String, adapterOnly: Bool = false) throws(SwiftletError) -> String {
    let url = URL(fileURLWithPath: gguf).standardizedFileURL
    var lines: [String]
    if adapterOnly {
      guard path.hasSuffix(".gguf") else {
        throw SwiftletError(
          .unsupported, "\(path) is no GGUF file, as Ollama wants the base of a GGUF adapter to be",
          remedy: "Export the base too, and write FROM with its path.")
      }
      lines = [
        "FROM \(URL(fileURLWithPath: path).standardizedFileURL.path)", "ADAPTER ./\(url.lastPathComponent)",
      ]
    } else {
      lines = ["FROM ./\(url.lastPathComponent)"]
    }
    let stops = stopTokens.sorted().compactMap { tokenizer.token(of: $0) }
    lines += stops.map { "PARAMETER stop \(JSON.string($0).text())" }
    lines.append("PARAMETER num_ctx \(min(contextLength, 8192))")
    let file = url.deletingLastPathComponent().path + "/Modelfile"
    do {
      try Data((lines.joined(separator: "\n") + "\n").utf8).write(
        to: URL(fileURLWithPath: file), options: .atomic)
    } catch { throw SwiftletError(.unwritable, "\(file): \(error.localizedDescription)") }
    return file
  }
}
