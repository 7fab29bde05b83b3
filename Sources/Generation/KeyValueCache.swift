import Basics
import Compute
import Models

/// Keys and values of one sequence, so that each token goes through the layers once (Shazeer, arXiv:1911.02150,
/// section 2.2).
///
/// A step writes its rows after those that count; they count once `advance` says so, outside the step, because a
/// step's code runs a first time only to be planned.
public final class KeyValueCache: KeyValueStore {
  /// Rows that hold tokens.
  public private(set) var count = 0
  /// Rows there is memory for.
  public private(set) var capacity = 0

  /// (capacity, keyValueHeads * D) each, rotated keys and values.
  private var layers: [(k: Tensor, v: Tensor)] = []
  private var memory: [(k: Buffer, v: Buffer)] = []
  private let spec: ModelSpec
  private let dtype: DType
  private let backend: any Backend

  /// Rows are added by so many. Growing copies the cache once per so many tokens, while attention reads it for
  /// each of them: the copies cost nothing beside that, and a short chat takes little memory.
  private static let growth = 256

  /// - Parameter dtype: of the keys and values that are appended.
  public init(_ spec: ModelSpec, dtype: DType, on backend: any Backend) {
    self.spec = spec
    self.dtype = dtype
    self.backend = backend
  }

  /// Bytes of one row in all layers.
  public var bytesPerRow: Int { 2 * spec.layers * width * dtype.size }

  private var width: Int { spec.keyValueHeads * spec.headSize }

  /// Makes room for `rows` rows in all.
  ///
  /// - Throws: `.outOfMemory`; what the cache holds is then untouched.
  public func reserve(_ rows: Int) throws(SwiftletError) {
    guard rows > capacity else { return }
    let grown = (rows + Self.growth - 1) / Self.growth * Self.growth
    for layer in 0..<spec.layers {
      let buffers = (k: try allocate(grown), v: try allocate(grown))
      let tensors = (k: tensor(buffers.k, grown), v: tensor(buffers.v, grown))
      guard layer < layers.count else {
        layers.append(tensors)
        memory.append(buffers)
        continue
      }
      if count > 0 {
        backend.convert(layers[layer].k.rows(0..<count), y: tensors.k.rows(0..<count))
        backend.convert(layers[layer].v.rows(0..<count), y: tensors.v.rows(0..<count))
      }
      layers[layer] = tensors
      memory[layer] = buffers
    }
    capacity = grown
  }

  private func allocate(_ rows: Int) throws(SwiftletError) -> Buffer {
    try backend.allocate(bytes: rows * width * dtype.size)
  }

  private func tensor(_ buffer: Buffer, _ rows: Int) -> Tensor {
    Tensor(buffer, rows: rows, columns: width, dtype: dtype)
  }

  /// Writes the new rows after the counted ones and returns all of them, (count + T, keyValueHeads * D). There must
  /// be room.
  public func append(_ k: Tensor, _ v: Tensor, layer: Int, _ s: Step) -> (k: Tensor, v: Tensor) {
    let end = count + k.rows
    precondition(end <= capacity, "the cache has \(capacity) rows, \(end) are wanted")
    let all = layers[layer]
    s.copy(k, into: all.k.rows(count..<end))
    s.copy(v, into: all.v.rows(count..<end))
    return (all.k.rows(0..<end), all.v.rows(0..<end))
  }

  /// Counts the `rows` rows that the last step appended.
  public func advance(by rows: Int) {
    precondition(count + rows <= capacity)
    count += rows
  }

  /// Forgets all but the first `rows` rows.
  public func truncate(to rows: Int) {
    precondition(rows <= count)
    count = rows
  }
}
