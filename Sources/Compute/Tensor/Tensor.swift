import CKernels

/// A matrix of activations, or a vector as one row: a handle, not an owner.
///
/// Higher ranks are folded into rows and columns: a hidden state is (T, C), queries are (T, heads * headSize).
/// Rows are contiguous; `stride` elements lie between their starts, so that a range of columns is a tensor
/// too. While a step is being recorded the address means nothing and is never read.
public struct Tensor: Sendable {
  /// The first element's address on its device.
  public let address: UInt
  public let rows: Int
  public let columns: Int
  /// Elements from one row's start to the next.
  public let stride: Int
  public let dtype: DType
  /// Number of the tensor in the step's plan; nil for memory that outlives the step.
  let slot: Int?

  init(address: UInt, rows: Int, columns: Int, stride: Int, dtype: DType, slot: Int?) {
    self.address = address
    self.rows = rows
    self.columns = columns
    self.stride = stride
    self.dtype = dtype
    self.slot = slot
  }

  /// A tensor over memory that outlives any step.
  public init(_ buffer: Buffer, offset: Int = 0, rows: Int, columns: Int, dtype: DType) {
    precondition(offset + rows * columns * dtype.size <= buffer.count, "a tensor ends past its buffer")
    self.init(
      address: UInt(bitPattern: buffer.base) + UInt(offset), rows: rows, columns: columns, stride: columns,
      dtype: dtype,
      slot: nil)
  }

  public var shape: (Int, Int) { (rows, columns) }
  public var isContiguous: Bool { stride == columns || rows == 1 }

  /// Columns `range` of every row, without a copy.
  public func columns(_ range: Range<Int>) -> Tensor {
    precondition(range.lowerBound >= 0 && range.upperBound <= columns)
    return Tensor(
      address: address + UInt(range.lowerBound * dtype.size), rows: rows, columns: range.count,
      stride: stride, dtype: dtype, slot: slot)
  }

  /// Rows `range`, without a copy.
  public func rows(_ range: Range<Int>) -> Tensor {
    precondition(range.lowerBound >= 0 && range.upperBound <= rows)
    return Tensor(
      address: address + UInt(range.lowerBound * stride * dtype.size), rows: range.count, columns: columns,
      stride: stride, dtype: dtype, slot: slot)
  }

  /// Rows that lie one behind the other as one; nil where they do not, or one is missing.
  public static func joined(_ rows: [Tensor?]) -> Tensor? {
    guard var joined = rows.first ?? nil else { return nil }
    for next in rows.dropFirst() {
      let end = joined.address + UInt(joined.columns * joined.dtype.size)
      guard let next, joined.rows == 1, next.rows == 1, next.dtype == joined.dtype, next.slot == joined.slot,
        next.address == end
      else { return nil }
      let columns = joined.columns + next.columns
      joined = Tensor(
        address: joined.address, rows: 1, columns: columns, stride: columns, dtype: joined.dtype,
        slot: joined.slot)
    }
    return joined
  }

  /// The front of every row's memory as elements of a smaller type: where a gradient may replace wider values.
  func narrowed(to dtype: DType) -> Tensor {
    precondition(dtype.size <= self.dtype.size && self.dtype.size % dtype.size == 0)
    return Tensor(
      address: address, rows: rows, columns: columns, stride: stride * self.dtype.size / dtype.size,
      dtype: dtype, slot: slot)
  }

  /// The elements of a contiguous f32 tensor in host memory. Valid as long as its owner lives and while no step
  /// writes it.
  public var hostFloats: UnsafeMutableBufferPointer<Float> { host(.f32) }

  /// The elements of a contiguous f64 tensor in host memory, as above.
  public var hostDoubles: UnsafeMutableBufferPointer<Double> { host(.f64) }

  /// The elements of a contiguous i32 tensor in host memory, as above.
  public var hostInts: UnsafeMutableBufferPointer<Int32> { host(.i32) }

  private func host<Element>(_ expected: DType) -> UnsafeMutableBufferPointer<Element> {
    precondition(dtype == expected && isContiguous && slot == nil)
    return UnsafeMutableBufferPointer(start: pointer(), count: rows * columns)
  }

  /// The tensor as the kernels take it.
  var matrix: sw_matrix {
    sw_matrix(
      data: UnsafeMutableRawPointer(bitPattern: address), rows: Int64(rows), columns: Int64(columns),
      stride: Int64(stride), dtype: dtype.kernel)
  }

  /// The first element as a pointer of `Element`, which must be the dtype's.
  func pointer<Element>(_: Element.Type = Element.self) -> UnsafeMutablePointer<Element>? {
    assert(MemoryLayout<Element>.size == dtype.size)
    return UnsafeMutablePointer(bitPattern: address)
  }
}

extension DType {
  var kernel: sw_dtype {
    switch self {
    case .f32: SW_F32
    case .bf16: SW_BF16
    case .f64: SW_F64
    case .i32, .u8, .f8: preconditionFailure("\(self) is no type of activations")
    }
  }

  /// The type in which sums, norms and losses of this type are kept, and the residual stream with its gradient:
  /// sixty additions rounded to bfloat16 would cost more accuracy than all products.
  public var arithmetic: DType { self == .f64 ? .f64 : .f32 }

  /// Whether products may be of this type while the stream beside them is of type `wide`.
  func isNarrow(side wide: DType) -> Bool { self == wide || self == .bf16 && wide == .f32 }
}
