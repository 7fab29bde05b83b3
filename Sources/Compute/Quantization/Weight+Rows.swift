import Basics

extension Weight {
  /// Bytes of a row that stands alone, rows lying one behind the other; nil in formats with tables for the whole matrix, and
  /// where rows do not lie in their order.
  public var rowBytes: Int? {
    guard format != .nf4, format != .int8, layout.interleaved_head == 0 else { return nil }
    return columns / format.blockSize * format.bytesPerBlock
  }

  /// So many rows of the same kind that lie elsewhere.
  func withRows(_ count: Int, at address: UInt) -> Weight {
    var rows = layout
    rows.rows = Int64(count)
    rows.data = UnsafeRawPointer(bitPattern: address)
    return Weight(layout: rows, owner: owner)
  }

  /// Some rows as floats, one after the other, from whichever device the matrix lies on.
  public func rows(_ range: Range<Int>, on backend: any Backend) throws(SwiftletError) -> [Float] {
    precondition(range.lowerBound >= 0 && range.upperBound <= rows)
    if backend.hasHostMemory {
      return [Float](unsafeUninitializedCapacity: range.count * columns) { out, count in
        count = out.count
        guard let start = out.baseAddress else { return }
        for (index, row) in range.enumerated() { decode(row: row, into: start + index * columns) }
      }
    }
    let (ids, floats) = (
      try backend.allocate(bytes: range.count * DType.i32.size),
      try backend.allocate(bytes: range.count * columns * DType.f32.size)
    )
    let names = Tensor(ids, rows: 1, columns: range.count, dtype: .i32)
    let out = Tensor(floats, rows: range.count, columns: columns, dtype: .f32)
    try names.write(range.map(Int32.init), on: backend)
    backend.embedding(ids: names, weight: self, y: out)
    return try out.read(on: backend)
  }
}
