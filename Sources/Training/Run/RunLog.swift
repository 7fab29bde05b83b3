import Basics
import Foundation

/// A run's history: every entry at once as a line of `metrics.jsonl`, and all of them in `trainer_state.json` as
/// transformers' Trainer writes it.
struct RunLog {
  private(set) var history: [JSON] = []
  private let metricsPath: String
  private var isBegun = false

  /// - Parameter history: what is kept of an earlier run's entries.
  init(folder: String, history: [JSON] = []) {
    metricsPath = folder + "/metrics.jsonl"
    self.history = history
  }

  /// Opens the file with the history in it and nothing else. Until then no byte of it changes: a plan alone must not
  /// cost an earlier run its metrics.
  mutating func begin() throws(SwiftletError) {
    try write(history.map { $0.text(.spaced) + "\n" }.joined(), to: metricsPath)
    isBegun = true
  }

  mutating func append(_ entry: JSON) throws(SwiftletError) {
    history.append(entry)
    guard isBegun else { return }
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
