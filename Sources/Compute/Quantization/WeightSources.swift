import Basics
import CKernels

extension Weight {
  /// A matrix that lies whole at byte `offset` of a mapped file: any format but NF4 and INT8, which have tables.
  ///
  /// - Parameter interleavedHead: see `sw_weight.interleaved_head`; 0 for rows in Hugging Face's order.
  public init(
    _ format: StorageFormat, rows: Int, columns: Int, in file: MappedFile, at offset: Int,
    interleavedHead: Int = 0
  ) {
    precondition(format != .nf4 && format != .int8 && columns % format.blockSize == 0)
    precondition(interleavedHead == 0 || (interleavedHead % 2 == 0 && rows % interleavedHead == 0))
    var layout = Self.layout(format, rows, columns, file.address(offset))
    layout.interleaved_head = Int32(interleavedHead)
    self.init(layout: layout, owner: file)
    precondition(bytes <= file.count - offset)
  }

  /// A float32 copy of `floats`, row-major.
  public init(_ floats: [Float], rows: Int, columns: Int) throws(SwiftletError) {
    precondition(floats.count == rows * columns)
    let buffer = try Buffer(count: floats.count * MemoryLayout<Float>.size)
    buffer.pointer().update(from: floats, count: floats.count)
    self.init(layout: Self.layout(.f32, rows, columns, buffer.base), owner: buffer)
  }

  /// An NF4 matrix as bitsandbytes stores it.
  ///
  /// - Parameters:
  ///   - codes: two codes a byte, high nibble first, row-major; (rows * columns + 1) / 2 bytes
  ///     that `owners` keep.
  ///   - table: the sixteen values of the codes. Copied, as are the float arrays of `scales`.
  public init(
    nf4 codes: UnsafeRawPointer, rows: Int, columns: Int, table: [Float] = NF4.table, scales: NF4.Scales,
    owners: AnyObject...
  ) throws(SwiftletError) {
    precondition(table.count == 16)
    let elements = rows * columns
    let tables: TableBuffer
    var layout = Self.layout(.nf4, rows, columns, codes)
    switch scales {
    case .plain(let absmax):
      precondition(absmax.count == NF4.scaleCount(elements: elements))
      tables = try TableBuffer([table, absmax])
      layout.absmax = tables.starts[1]
    case .nested(let scaleCodes, let map, let absmax, let offset):
      precondition(map.count == 256 && absmax.count == NF4.nestedScaleCount(elements: elements))
      tables = try TableBuffer([table, map, absmax])
      layout.absmax_codes = scaleCodes.assumingMemoryBound(to: UInt8.self)
      layout.absmax_map = tables.starts[1]
      layout.nested_absmax = tables.starts[2]
      layout.nested_offset = offset
    }
    layout.code = tables.starts[0]
    self.init(layout: layout, owner: Owners(owners + [tables.buffer]))
  }

  /// An INT8 matrix as bitsandbytes stores it.
  ///
  /// - Parameters:
  ///   - codes: rows * columns signed bytes that `owners` keep, row-major.
  ///   - scales: each row's largest magnitude. Copied.
  public init(
    int8 codes: UnsafeRawPointer, rows: Int, columns: Int, scales: [Float], owners: AnyObject...
  ) throws(SwiftletError) {
    precondition(scales.count == rows)
    let tables = try TableBuffer([scales])
    var layout = Self.layout(.int8, rows, columns, codes)
    layout.row_scale = tables.starts[0]
    self.init(layout: layout, owner: Owners(owners + [tables.buffer]))
  }

  static func layout(
    _ format: StorageFormat, _ rows: Int, _ columns: Int, _ data: UnsafeRawPointer
  ) -> sw_weight {
    var layout = sw_weight()
    layout.data = data
    layout.rows = Int64(rows)
    layout.columns = Int64(columns)
    layout.format = sw_format(rawValue: format.rawValue)
    return layout
  }
}

/// Keeps several things alive.
final class Owners {
  private let objects: [AnyObject]
  var file: MappedFile? { objects.lazy.compactMap { $0 as? MappedFile }.first }

  init(_ objects: [AnyObject]) { self.objects = objects }
}

/// Copies of float arrays in one buffer; files need not align theirs.
private struct TableBuffer {
  let buffer: Buffer
  let starts: [UnsafePointer<Float>]

  init(_ arrays: [[Float]]) throws(SwiftletError) {
    buffer = try Buffer(count: arrays.reduce(0) { $0 + $1.count } * MemoryLayout<Float>.size)
    var next = buffer.pointer(to: Float.self)
    var starts: [UnsafePointer<Float>] = []
    for array in arrays {
      next.update(from: array, count: array.count)
      starts.append(UnsafePointer(next))
      next += array.count
    }
    self.starts = starts
  }
}
