import Basics
import Models

extension Parameters {
  /// Forgets the gradients of an update that was not completed.
  func clearGradients() { allGradients.hostFloats.update(repeating: 0) }

  /// Writes every entry as float32.
  func save(to path: String) throws(SwiftletError) {
    let writer = try SafetensorsWriter(
      path: path, tensors: entries.map { .init($0.name, [$0.rows, $0.columns], .weight(.f32)) })
    for index in entries.indices {
      try writer.append(value(index..<index + 1).hostFloats.span, to: entries[index].name)
    }
    try writer.finish()
  }

  /// Sets every entry to the tensor of its name.
  ///
  /// - Throws: `.mismatch` when one is missing or has another shape.
  func load(from store: some TensorStore) throws(SwiftletError) {
    for (index, entry) in entries.enumerated() {
      guard let tensor = store.tensor(entry.name), tensor.count == entry.count else {
        throw SwiftletError(
          .mismatch,
          "\(store.path): tensor \"\(entry.name)\" is missing or not of shape (\(entry.rows), \(entry.columns))",
          remedy: "Resume with the configuration that the run began with.")
      }
      let values = try tensor.floats()
      withValues(index) { _ = $0.update(fromContentsOf: values) }
    }
  }
}
