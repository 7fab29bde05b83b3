import CKernels

/// How a weight matrix lies in memory or in a file. Raw values are those of `sw_format` in CKernels.
///
/// Sources: ggml's block structures for the `q` formats, bitsandbytes for `nf4` and `int8`.
public enum StorageFormat: Int32, Sendable, CaseIterable {
  case f32, f16, bf16
  case q4_0, q4_1, q5_0, q5_1, q8_0
  case q4_K, q5_K, q6_K
  /// 4-bit NormalFloat, one scale per 64 elements, the scales themselves in 8 bits (QLoRA, arXiv:2305.14314).
  case nf4
  /// 8-bit integers with one scale per row (LLM.int8, arXiv:2208.07339).
  case int8

  /// Elements of one block; a row is a whole number of blocks (NF4's blocks run across rows).
  public var blockSize: Int {
    switch self {
    case .f32, .f16, .bf16, .int8: 1
    case .q4_0, .q4_1, .q5_0, .q5_1, .q8_0: 32
    case .q4_K, .q5_K, .q6_K: 256
    case .nf4: 64
    }
  }

  /// Bytes of one block, without tables that lie elsewhere (NF4's and INT8's scales).
  public var bytesPerBlock: Int {
    switch self {
    case .f32: 4
    case .f16, .bf16: 2
    case .int8: 1
    case .q4_0: 18
    case .q4_1: 20
    case .q5_0: 22
    case .q5_1: 24
    case .q8_0: 34
    case .q4_K: 144
    case .q5_K: 176
    case .q6_K: 210
    case .nf4: 32
    }
  }
}

extension StorageFormat {
  /// `floats` as bytes of this format, rounded to nearest, ties to even.
  ///
  /// - Precondition: the format is `f32`, `f16` or `bf16`.
  public func encoded(_ floats: Span<Float>) -> [UInt8] {
    [UInt8](unsafeUninitializedCapacity: floats.count * bytesPerBlock) { out, count in
      floats.withUnsafeBufferPointer {
        sw_encode($0.baseAddress, Int64($0.count), sw_format(rawValue: rawValue), out.baseAddress)
      }
      count = floats.count * bytesPerBlock
    }
  }
}
