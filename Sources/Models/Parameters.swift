import Basics
import Compute

/// The parameters that training changes, in one block of float32 with their gradients beside them: the optimiser
/// updates all in one operation, and saving walks one list.
public final class Parameters {
  /// One matrix of the block.
  public struct Entry: Sendable, Equatable {
    /// Key in the file that it is saved to.
    public let name: String
    public let rows: Int
    public let columns: Int
    /// Elements before it in the block.
    public let offset: Int

    public var count: Int { rows * columns }
  }

  /// Lists the parameters, before there is memory for them.
  public struct Layout: Sendable {
    public private(set) var entries: [Entry] = []
    /// Elements of the block.
    public private(set) var count = 0

    public init() {}

    /// Adds a matrix and returns its index. Matrices added one after the other lie one after the other.
    public mutating func add(_ name: String, rows: Int, columns: Int) -> Int {
      entries.append(Entry(name: name, rows: rows, columns: columns, offset: count))
      count += rows * columns
      return entries.count - 1
    }
  }

  public let entries: [Entry]
  public let count: Int
  private let values: Buffer
  private let gradients: Buffer

  /// Memory for all of `layout`; gradients start as zeros, values undefined.
  public init(_ layout: Layout, on backend: any Backend) throws(SwiftletError) {
    entries = layout.entries
    count = layout.count
    values = try backend.allocate(bytes: max(1, count) * MemoryLayout<Float>.size)
    gradients = try backend.allocate(bytes: max(1, count) * MemoryLayout<Float>.size)
    if count > 0 { backend.zero(allGradients) }
  }

  /// Bytes of the values; the gradients take as many.
  public var bytes: Int { count * MemoryLayout<Float>.size }

  /// (1, count), f32
  public var allValues: Tensor { Tensor(values, rows: 1, columns: count, dtype: .f32) }
  /// (1, count), f32
  public var allGradients: Tensor { Tensor(gradients, rows: 1, columns: count, dtype: .f32) }

  /// The value of one entry, or of several that lie one after the other as one matrix of their joint rows.
  public func value(_ range: Range<Int>) -> Tensor { tensor(in: values, range) }
  public func gradient(_ range: Range<Int>) -> Tensor { tensor(in: gradients, range) }

  /// The same as a weight, for products.
  public func weight(_ range: Range<Int>) -> Weight {
    Weight(value(range), owner: values)
  }

  /// The elements of one entry, on the host. Valid while no step runs.
  public func withValues<Result>(
    _ index: Int, _ body: (UnsafeMutableBufferPointer<Float>) throws -> Result
  ) rethrows -> Result {
    let entry = entries[index]
    let start = values.pointer(to: Float.self) + entry.offset
    return try body(UnsafeMutableBufferPointer(start: start, count: entry.count))
  }

  private func tensor(in buffer: Buffer, _ range: Range<Int>) -> Tensor {
    let first = entries[range.lowerBound]
    let rows = range.reduce(0) { sum, index in
      precondition(entries[index].columns == first.columns)
      return sum + entries[index].rows
    }
    return Tensor(
      buffer, offset: first.offset * MemoryLayout<Float>.size, rows: rows, columns: first.columns, dtype: .f32
    )
  }
}

extension Parameters {
  /// Sets entry `index` to the values of `weight`.
  func load(_ weight: Weight, into index: Int) {
    precondition(entries[index].rows == weight.rows && entries[index].columns == weight.columns)
    withValues(index) { values in
      guard let start = values.baseAddress else { return }
      for row in 0..<weight.rows { weight.decode(row: row, into: start + row * weight.columns) }
    }
  }

  /// Sets entry `index` to the values of a host vector.
  func load(_ vector: Tensor, into index: Int) {
    precondition(vector.columns == entries[index].count && vector.dtype == .f32)
    withValues(index) { $0.baseAddress?.update(from: vector.hostFloats.baseAddress!, count: $0.count) }
  }
}
