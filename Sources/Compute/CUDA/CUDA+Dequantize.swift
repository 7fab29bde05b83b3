import CKernels

extension CUDA {
  /// out = scale * weight: each element decoded to float, times `scale`, rounded to out's dtype.
  ///
  /// - Parameters:
  ///   - weight: of any format, in the GPU's memory. Plain floats need their own alignment, blocks none.
  ///   - out: the weight's shape, bf16 or f32; any stride, so that it may be a part of a larger matrix.
  public func dequantize(_ weight: Weight, scale: Float = 1, into out: Tensor) {
    precondition(out.shape == (weight.rows, weight.columns))
    let type =
      switch out.dtype {
      case .bf16: "bf16"
      case .f32: "f32"
      case .f64, .i32, .u8, .f8: preconditionFailure("no weights of \(out.dtype)")
      }
    // A thread makes eight elements of a row.
    let units = (weight.columns + 7) / 8
    let total = weight.rows * units
    precondition(total < 1 << 31, "a weight of \(weight.rows) x \(weight.columns)")
    let isFast = weight.isNF4InWords && out.hasAlignedRows
    let perBlock = isFast ? 256 * 4 : 256  // NF4_THREADS * NF4_WORDS
    launch(
      .dequantize, isFast ? "dequantize_nf4_\(type)" : "dequantize_\(type)",
      grid: Grid(x: (total + perBlock - 1) / perBlock), threads: 256,
      weight.layout, scale, out.address, Int64(out.stride), UInt32(units))
  }
}

extension Weight {
  /// Whether rows are NF4 in whole 32-bit words of eight codes.
  var isNF4InWords: Bool {
    format == .nf4 && columns % 8 == 0 && layout.interleaved_head == 0
      && UInt(bitPattern: layout.data) % 4 == 0
  }
}

extension Tensor {
  /// Whether every row starts at a multiple of 16 bytes.
  fileprivate var hasAlignedRows: Bool { address % 16 == 0 && stride * dtype.size % 16 == 0 }
}
