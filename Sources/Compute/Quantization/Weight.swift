import Basics
import CKernels

/// A weight matrix (out, in) in any storage format, in memory that its `owner` keeps: a mapped file, a buffer
/// made while loading, or trainable parameters.
///
/// `Sendable` because the bytes it points to are not written while a step reads them: frozen weights never
/// change, trainable ones change only between steps.
public struct Weight: @unchecked Sendable {
  /// What the kernels read.
  public var layout: sw_weight
  /// Keeps every buffer that `layout` points to alive.
  public let owner: AnyObject

  public init(layout: sw_weight, owner: AnyObject) {
    self.layout = layout
    self.owner = owner
  }

  /// Output features.
  public var rows: Int { Int(layout.rows) }
  /// Input features.
  public var columns: Int { Int(layout.columns) }

  public var format: StorageFormat {
    guard let format = StorageFormat(rawValue: layout.format.rawValue) else {
      preconditionFailure("a weight of the unknown format \(layout.format.rawValue)")
    }
    return format
  }

  /// Size of everything the matrix needs: its elements and its tables, wherever they lie.
  public var bytes: Int {
    let elements = rows * columns
    let float = MemoryLayout<Float>.size
    switch format {
    case .nf4:
      let scales = NF4.scaleCount(elements: elements)
      let nested = NF4.nestedScaleCount(elements: elements)
      let scaleBytes = layout.absmax == nil ? scales + (nested + 256) * float : scales * float
      return elementBytes + scaleBytes + NF4.table.count * float
    case .int8: return elementBytes + rows * float
    default: return elementBytes
    }
  }

  /// Size of the elements without tables: what `layout.data` points to.
  private var elementBytes: Int {
    let elements = rows * columns
    return switch format {
    case .nf4: (elements + 1) / 2
    case .int8: elements
    default: elements / format.blockSize * format.bytesPerBlock
    }
  }

  /// The mapped file that the elements lie in; nil when they are in memory of their own.
  public var file: MappedFile? { owner as? MappedFile ?? (owner as? Owners)?.file }

  /// Gives back the memory that reading the elements from a mapped file has cost, when they are not needed soon: they
  /// have been converted, say.
  public func forgetFile() { file?.forget(layout.data, count: elementBytes) }

  /// Writes row `row` as `columns` floats.
  public func decode(row: Int, into out: UnsafeMutablePointer<Float>) {
    precondition((0..<rows).contains(row))
    withUnsafePointer(to: layout) { sw_weight_decode($0, Int64(row), 0, Int64(columns), out) }
  }

  /// The matrix as floats, row-major. For small matrices and tests.
  public func floats() -> [Float] {
    Array(unsafeUninitializedCapacity: rows * columns) { out, count in
      guard let start = out.baseAddress else { return }
      for row in 0..<rows { decode(row: row, into: start + row * columns) }
      count = rows * columns
    }
  }
}
