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
      return (elements + 1) / 2 + scaleBytes + NF4.table.count * float
    case .int8:
      return elements + rows * float
    default:
      return elements / format.blockSize * format.bytesPerBlock
    }
  }

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
