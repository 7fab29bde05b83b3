import Basics
import CKernels

/// Makes a matrix in a chosen format from rows of floats, without ever holding all of them.
///
/// ```swift
/// let converter = try WeightConverter(rows: w.rows, columns: w.columns, to: .nf4)
/// for piece in converter.pieces { converter.convert(piece) { w.decode(row: $0, into: $1) } }
/// let quantised = try converter.finish()
/// ```
///
/// `Sendable` because pieces write disjoint memory: they may be converted in any order and concurrently; only
/// `finish` must come after all of them. The result does not depend on the order.
public final class WeightConverter: @unchecked Sendable {
  public enum Target: Sendable, CaseIterable {
    /// Double-quantised NF4; codes and scales are bitsandbytes' own.
    case nf4
    /// One scale per row; codes and scales are bitsandbytes' own.
    case int8
    case bf16
    case f32
  }

  public let rows: Int
  public let columns: Int
  public let target: Target
  /// Ranges of rows that together are the matrix: about 2^16 elements each, and for NF4 whole blocks.
  public let pieces: [Range<Int>]

  /// The elements; for NF4 the scales' codes follow.
  private let elements: Buffer
  /// NF4: the absmax of each block, (rows * columns / 64). INT8: of each row, (rows).
  private let scales: Buffer

  /// - Throws: `.outOfMemory` when the result does not fit.
  public init(rows: Int, columns: Int, to target: Target) throws(SwiftletError) {
    precondition(rows > 0 && columns > 0)
    (self.rows, self.columns, self.target) = (rows, columns, target)
    let count = rows * columns
    let blocks = NF4.scaleCount(elements: count)
    let (elementBytes, scaleCount) =
      switch target {
      case .nf4: ((count + 1) / 2 + blocks, blocks)
      case .int8: (count, rows)
      case .bf16: (2 * count, 0)
      case .f32: (4 * count, 0)
      }
    elements = try Buffer(count: elementBytes)
    scales = try Buffer(count: scaleCount * MemoryLayout<Float>.size)
    pieces = Self.pieces(rows: rows, columns: columns)
  }

  private static func pieces(rows: Int, columns: Int) -> [Range<Int>] {
    // The least number of rows that is a whole number of NF4 blocks: 64 / gcd(64, columns).
    let unit = NF4.blockSize >> min(columns.trailingZeroBitCount, NF4.blockSize.trailingZeroBitCount)
    let size = max(1, (1 << 16) / (columns * unit)) * unit
    return stride(from: 0, to: rows, by: size).map { $0..<min($0 + size, rows) }
  }

  /// Converts the rows of one of `pieces`.
  ///
  /// - Parameter fill: writes the row it is given as `columns` floats.
  public func convert<Failure>(
    _ piece: Range<Int>, fill: (_ row: Int, _ out: UnsafeMutablePointer<Float>) throws(Failure) -> Void
  ) throws(Failure) {
    let count = piece.count * columns
    let values = UnsafeMutablePointer<Float>.allocate(capacity: count)
    defer { values.deallocate() }
    for (index, row) in piece.enumerated() { try fill(row, values + index * columns) }
    let first = piece.lowerBound * columns
    let scales = scales.pointer(to: Float.self)
    switch target {
    case .nf4:
      sw_quantize_nf4(
        values, Int64(count), NF4.table, elements.pointer(at: first / 2), scales + first / NF4.blockSize)
    case .int8:
      for (index, row) in piece.enumerated() {
        scales[row] = sw_quantize_int8(
          values + index * columns, Int64(columns), elements.pointer(at: row * columns))
      }
    case .bf16: sw_encode(values, Int64(count), SW_W_BF16, elements.base + 2 * first)
    case .f32: sw_encode(values, Int64(count), SW_W_F32, elements.base + 4 * first)
    }
  }

  /// The matrix, once every piece is converted.
  public func finish() throws(SwiftletError) -> Weight {
    switch target {
    case .nf4:
      let absmax = UnsafeBufferPointer(start: scales.pointer(to: Float.self), count: scales.count / 4)
      return try nested(absmax)
    case .int8:
      let scales = Array(UnsafeBufferPointer(start: scales.pointer(to: Float.self), count: rows))
      return try Weight(int8: elements.base, rows: rows, columns: columns, scales: scales, owners: elements)
    case .bf16: return Weight(layout: Weight.layout(.bf16, rows, columns, elements.base), owner: elements)
    case .f32: return Weight(layout: Weight.layout(.f32, rows, columns, elements.base), owner: elements)
    }
  }

  /// Double quantisation: the scales less their mean, in 8 bits (QLoRA, section 3).
  private func nested(_ absmax: UnsafeBufferPointer<Float>) throws(SwiftletError) -> Weight {
    let offset = NF4.nestedOffset(absmax)
    let codes = elements.base + (rows * columns + 1) / 2
    let nested = [Float](
      unsafeUninitializedCapacity: NF4.nestedScaleCount(elements: rows * columns)
    ) { out, count in
      count = out.count
      sw_quantize_dynamic(
        absmax.baseAddress, Int64(absmax.count), offset, DynamicMap.signed,
        codes.assumingMemoryBound(to: UInt8.self), out.baseAddress)
    }
    return try Weight(
      nf4: elements.base, rows: rows, columns: columns,
      scales: .nested(codes: codes, map: DynamicMap.signed, absmax: nested, offset: offset), owners: elements)
  }
}

extension Weight {
  /// The same matrix in another format, rows in Hugging Face's order; on the calling thread.
  public func converted(to target: WeightConverter.Target) throws(SwiftletError) -> Weight {
    let converter = try WeightConverter(rows: rows, columns: columns, to: target)
    for piece in converter.pieces { converter.convert(piece) { decode(row: $0, into: $1) } }
    return try converter.finish()
  }
}
