import Basics
import Compute

/// Where a decoder's tensors come from: a model's files, or numbers made up for a test.
public protocol TensorSource {
  /// The matrix in the host's memory or a mapped file, rows in Hugging Face's order.
  ///
  /// - Throws: `.mismatch` when it has another shape.
  func weight(_ name: TensorName, rows: Int, columns: Int) throws(SwiftletError) -> Weight

  /// A norm's weights or a bias.
  ///
  /// - Throws: `.mismatch` when it has another length.
  func vector(_ name: TensorName, count: Int) throws(SwiftletError) -> [Float]
}

/// The tensors of a model's files.
struct FileTensors: TensorSource {
  let file: ModelFile
  let spec: ModelSpec

  func weight(_ name: TensorName, rows: Int, columns: Int) throws(SwiftletError) -> Weight {
    let weight = try file.weight(name, spec)
    guard weight.rows == rows, weight.columns == columns else {
      throw wrongShape(name, "(\(weight.rows), \(weight.columns))", "(\(rows), \(columns))")
    }
    return weight
  }

  func vector(_ name: TensorName, count: Int) throws(SwiftletError) -> [Float] {
    let values = try file.vector(name, spec)
    guard values.count == count else { throw wrongShape(name, "(\(values.count))", "(\(count))") }
    return values
  }

  private func wrongShape(_ name: TensorName, _ found: String, _ expected: String) -> SwiftletError {
    SwiftletError(
      .mismatch,
      "\(file.path): tensor \"\(file.name(name))\" has the shape \(found), the configuration asks for \(expected)"
    )
  }
}
