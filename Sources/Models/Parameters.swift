import Basics
import Compute

/// The parameters that training changes, in one block of float32 with their gradients beside them: the optimiser
/// updates all in one or two operations, and saving walks one list. Matrices lie before vectors, which
/// start at a multiple of the block of 8-bit optimiser states.
public final class Parameters {
  /// One matrix of the block.
  public struct Entry: Sendable, Equatable {
    /// Key in the file that it is saved to.
    public let name: String
    public let rows: Int
    public let columns: Int
    /// A bias or a norm, of one dimension in files; a matrix otherwise.
    public let isVector: Bool
    /// Elements before it in the block.
    public fileprivate(set) var offset: Int

    public var count: Int { rows * columns }
    /// The shape in files.
    public var shape: [Int] { isVector ? [columns] : [rows, columns] }
    /// Whether weight decay shrinks it: matrices only, as in transformers' Trainer.
    public var decays: Bool { !isVector }
  }

  /// Lists the parameters, before there is memory for them.
  public struct Layout: Sendable {
    /// Offsets of vectors count from the end of the matrices.
    fileprivate var entries: [Entry] = []
    /// Elements.
    fileprivate var inMatrices = 0
    fileprivate var inVectors = 0

    public init() {}

    /// Number of entries so far: the index of the next.
    public var count: Int { entries.count }

    /// Adds a matrix and returns its index. Matrices added one after the other lie one after the other.
    public mutating func add(_ name: String, rows: Int, columns: Int) -> Int {
      entries.append(
        Entry(name: name, rows: rows, columns: columns, isVector: false, offset: inMatrices))
      inMatrices += rows * columns
      return entries.count - 1
    }

    /// Adds a vector and returns its index.
    public mutating func addVector(_ name: String, count: Int) -> Int {
      entries.append(Entry(name: name, rows: 1, columns: count, isVector: true, offset: inVectors))
      inVectors += count
      return entries.count - 1
    }
  }

  public let entries: [Entry]
  /// Elements of the block, with those between matrices and vectors that belong to no entry.
  public let count: Int
  private let matrices: Range<Int>
  private let vectors: Range<Int>
  private let values: Buffer
  private let gradients: Buffer
  private let backend: any Backend

  /// Memory for all of `layout`; values and gradients start as zeros.
  public init(_ layout: Layout, on backend: any Backend) throws(SwiftletError) {
    matrices = 0..<layout.inMatrices
    let block = AdamW8bitState.block
    let start = layout.inVectors == 0 ? matrices.upperBound : (layout.inMatrices + block - 1) / block * block
    vectors = start..<start + layout.inVectors
    entries = layout.entries.map { entry in
      var entry = entry
      if entry.isVector { entry.offset += start }
      return entry
    }
    count = vectors.upperBound
    values = try backend.allocate(bytes: max(1, count) * MemoryLayout<Float>.size)
    gradients = try backend.allocate(bytes: max(1, count) * MemoryLayout<Float>.size)
    self.backend = backend
    guard count > 0 else { return }
    backend.zero(allValues)
    backend.zero(allGradients)
  }

  /// Numbers that are trained.
  public var trainedCount: Int { matrices.count + vectors.count }

  /// Bytes of the values; the gradients take as many.
  public var bytes: Int { count * MemoryLayout<Float>.size }

  /// (1, count), f32
  public var allValues: Tensor { Tensor(values, rows: 1, columns: count, dtype: .f32) }
  /// (1, count), f32
  public var allGradients: Tensor { Tensor(gradients, rows: 1, columns: count, dtype: .f32) }

  /// Ranges of elements that the optimiser treats alike: those that weight decay shrinks, and the others. Empty
  /// ones are left out.
  public var runs: [(elements: Range<Int>, decays: Bool)] {
    [(matrices, true), (vectors, false)].filter { !$0.0.isEmpty }
  }

  /// The value of one entry, or of several that lie one after the other as one matrix of their joint rows.
  public func value(_ range: Range<Int>) -> Tensor { tensor(in: values, range) }
  public func gradient(_ range: Range<Int>) -> Tensor { tensor(in: gradients, range) }

  /// The same as a weight, for products.
  public func weight(_ range: Range<Int>) -> Weight {
    Weight(value(range), owner: values)
  }

  /// A copy of one entry's elements.
  public func values(of index: Int) throws(SwiftletError) -> [Float] {
    try value(index..<index + 1).read(on: backend)
  }

  /// Sets one entry's elements.
  public func setValues(of index: Int, to floats: [Float]) throws(SwiftletError) {
    try value(index..<index + 1).write(floats, on: backend)
  }

  /// A copy of the elements of one entry's gradient.
  public func gradientValues(of index: Int) throws(SwiftletError) -> [Float] {
    try gradient(index..<index + 1).read(on: backend)
  }

  /// Forgets the gradients added so far.
  public func clearGradients() { backend.zero(allGradients) }

  private func tensor(in buffer: Buffer, _ range: Range<Int>) -> Tensor {
    let first = entries[range.lowerBound]
    let rows = range.reduce(0) { sum, index in
      precondition(entries[index].columns == first.columns && entries[index].isVector == first.isVector)
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
    let whole = LinearExpansion([LinearExpansion.Part(weight: weight, up: nil)], down: nil)
    backend.expand(whole, into: value(index..<index + 1))
    weight.forgetFile()
  }

  /// Sets entry `index` to the values of a vector.
  func load(_ vector: Tensor, into index: Int) {
    precondition(vector.columns == entries[index].count && vector.dtype == .f32)
    backend.convert(vector, y: value(index..<index + 1))
  }
}
