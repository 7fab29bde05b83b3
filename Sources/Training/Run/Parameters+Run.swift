import Basics
import Models

extension Parameters {
  /// Writes every entry as float32.
  func save(to path: String) throws(SwiftletError) {
    let writer = try SafetensorsWriter(
      path: path, tensors: entries.map { .init($0.name, [$0.rows, $0.columns], .weight(.f32)) })
    for index in entries.indices {
      let floats = try values(of: index)
      try writer.append(floats.span, to: entries[index].name)
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
      try setValues(of: index, to: tensor.floats())
    }
  }
}
