import Basics
import CKernels

extension Weight {
  /// Trainable parameters as a weight: a contiguous f32 matrix of `owner`'s.
  public init(_ parameters: Tensor, owner: Buffer) {
    precondition(parameters.dtype == .f32 && parameters.isContiguous)
    var layout = sw_weight()
    layout.data = UnsafeRawPointer(bitPattern: parameters.address)
    layout.rows = Int64(parameters.rows)
    layout.columns = Int64(parameters.columns)
    layout.format = SW_W_F32
    self.init(layout: layout, owner: owner)
  }

  /// A matrix of `floats`, (rows, columns), in memory of its own on `backend`.
  ///
  /// - Parameter format: `f32`, `f16` or `bf16`.
  /// - Throws: `.outOfMemory`.
  public init(
    _ floats: [Float], rows: Int, columns: Int, as format: StorageFormat, on backend: any Backend
  ) throws(SwiftletError) {
    precondition(floats.count == rows * columns)
    let bytes = format.encoded(floats.span)
    let memory = try backend.allocate(bytes: bytes.count)
    try Tensor(memory, rows: 1, columns: bytes.count, dtype: .u8).write(bytes, on: backend)
    var layout = sw_weight()
    layout.data = UnsafeRawPointer(memory.base)
    layout.rows = Int64(rows)
    layout.columns = Int64(columns)
    layout.format = sw_format(rawValue: format.rawValue)
    self.init(layout: layout, owner: memory)
  }
}
