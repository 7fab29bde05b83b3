import Basics
import Foundation

/// A run's history: every entry at once as a line of `metrics.jsonl`, and all of them in `trainer_state.json` as
/// transformers' Trainer writes it.
struct RunLog {
  private(set) var history: [JSON] = []
  private let metricsPath: String

  /// A log that continues `history`; no file is touched yet.
  init(folder: String, history: [JSON] = []) {
    metricsPath = folder + "/metrics.jsonl"
    self.history = history
  }

  /// Brings the file to the history: lines after the last kept step are dropped.
  func begin() throws(SwiftletError) {
    try write(history.map { $0.text(.spaced) + "\n" }.joined(), to: metricsPath)
  }

  mutating func append(_ entry: JSON) throws(SwiftletError) {
    history.append(entry)
    guard let file = FileHandle(forUpdatingAtPath: metricsPath) else {
      throw SwiftletError(.unwritable, "\(metricsPath): cannot be written")
    }
    defer { try? file.close() }
    do {
      try file.seekToEnd()
      try file.write(contentsOf: Data((entry.text(.spaced) + "\n").utf8))
    } catch {
      throw SwiftletError(.unwritable, "\(metricsPath): \(error.localizedDescription)")
    }
  }
}

/// Writes a small file whole or not at all.
func write(_ text: String, to path: String) throws(SwiftletError) {
  do { try Data(text.utf8).write(to: URL(fileURLWithPath: path), options: .atomic) } catch {
    throw SwiftletError(.unwritable, "\(path): \(error.localizedDescription)")
  }
}
