import Basics
import Compute

/// A tensor that lies in a mapped checkpoint file. Its bytes are known to lie within the file and to be as many
/// as shape and element ask for.
public struct StoredTensor: Sendable {
  public let name: String
  /// Row-major: the last dimension is contiguous. Empty for a scalar.
  public let shape: [Int]
  public let element: Element
  public let file: MappedFile
  /// Where the bytes lie in the file.
  public let range: Range<Int>

  /// Number of elements.
  public var count: Int { shape.contains(0) ? 0 : shape.reduce(1, *) }

  /// Calls `body` with the tensor's bytes, which may have any alignment.
  public func withBytes<Result, Failure>(
    _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try file.withBytes(range, body)
  }

  /// Where the bytes lie in memory, as long as `file` lives.
  var address: UnsafeRawPointer { file.address(range.lowerBound) }

  /// The tensor as a weight matrix (out, in) that stays in the file.
  ///
  /// - Parameter interleavedHead: head size where the file interleaves each head's rows (GGUF, llama
  ///   architecture: q and k); 0 otherwise.
  /// - Throws: `.mismatch` when it is no matrix of floats or quantised blocks.
  public func weight(interleavedHead: Int = 0) throws(SwiftletError) -> Weight {
    guard case .weight(let format) = element, shape.count == 2, count > 0,
      interleavedHead == 0 || shape[0] % interleavedHead == 0
    else { throw mismatch("a weight matrix") }
    return Weight(
      format, rows: shape[0], columns: shape[1], in: file, at: range.lowerBound,
      interleavedHead: interleavedHead)
  }

  /// A copy of the elements as floats: for norms, biases and other small tensors.
  ///
  /// - Throws: `.mismatch` when the elements are integers.
  public func floats() throws(SwiftletError) -> [Float] {
    switch element {
    case .weight(let format):
      if count == 0 { return [] }
      // One long row; blocks do not mind.
      return Weight(format, rows: 1, columns: count, in: file, at: range.lowerBound).floats()
    case .f64:
      return withBytes { bytes in
        (0..<count).map { Float(bytes.loadUnaligned(fromByteOffset: 8 * $0, as: Double.self)) }
      }
    default: throw mismatch("a tensor of floats")
    }
  }

  private func mismatch(_ expected: String) -> SwiftletError {
    SwiftletError(
      .mismatch, "\(file.path): tensor \"\(name)\": expected \(expected), found \(element.name) \(shape)")
  }
}

/// Something that holds tensors by name: a file, or a folder of them.
public protocol TensorStore: Sendable {
  /// The file, or the folder of files.
  var path: String { get }
  /// In the order in which the file or the index lists them.
  var names: [String] { get }
  func tensor(_ name: String) -> StoredTensor?
}

extension TensorStore {
  /// A tensor that the model cannot do without.
  public func required(_ name: String) throws(SwiftletError) -> StoredTensor {
    guard let tensor = tensor(name) else {
      throw SwiftletError(.malformedFile, "\(path): there is no tensor \"\(name)\"")
    }
    return tensor
  }
}
