import Basics
import Foundation

@testable import Text

/// A folder that is gone when the value is.
final class TemporaryFolder: Sendable {
  private let url: URL

  init() throws {
    url = FileManager.default.temporaryDirectory.appending(path: "dataset-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(at: url) }

  func path(_ name: String) -> String { url.appending(path: name).path }

  /// Writes a file and opens it as a data file.
  func file(_ name: String, _ text: String) throws -> DataFile {
    try Data(text.utf8).write(to: URL(filePath: path(name)))
    return try DataFile(path: path(name))
  }
}

extension Tokenizer {
  /// A small byte-level BPE vocabulary with ChatML's tokens, made with the Python package `tokenizers`.
  static func fixture() throws -> Tokenizer {
    let url = URL(filePath: #filePath).deletingLastPathComponent()
      .appending(path: "Fixtures/dataset_tokenizer.json")
    return try Tokenizer(
      tokenizerJSON: try JSON(parsing: Array(try Data(contentsOf: url))),
      configuration: ["eos_token": "<|endoftext|>"])
  }
}

extension ChatTemplate {
  /// ChatML, as SmolLM2 and others use it.
  static let chatML = """
    {% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' \
    + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}
    """
}

extension TokenizedDataset {
  /// Sequences of the given lengths whose tokens are numbered through; all but each first are trained on.
  init(lengths: [Int]) {
    self.init()
    for length in lengths {
      tokens += (0..<length).map { Int32(tokens.count + $0) }
      isTrained += (0..<length).map { $0 > 0 }
      starts.append(tokens.count)
    }
    statistics.rows = lengths.count
    statistics.sequences = lengths.count
    statistics.tokens = tokens.count
    statistics.trainedTokens = tokens.count - lengths.count
    statistics.longest = lengths.max() ?? 0
  }
}
