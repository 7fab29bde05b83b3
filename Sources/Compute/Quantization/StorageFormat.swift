import CKernels
import Dispatch

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
  /// Elements that one thread encodes at a time: whole blocks of every format.
  private static let encodedPiece = 1 << 15

  /// `floats` as bytes of this format: rounded to nearest, ties to even, or in ggml's blocks. On all cores.
  ///
  /// - Precondition: the format has no tables of its own, as NF4 and INT8 have; the floats are whole blocks, and finite
  ///   where the format is one of blocks.
  public func encoded(_ floats: Span<Float>) -> [UInt8] {
    precondition(self != .nf4 && self != .int8 && floats.count % blockSize == 0)
    return [UInt8](unsafeUninitializedCapacity: floats.count / blockSize * bytesPerBlock) { out, count in
      count = floats.count / blockSize * bytesPerBlock
      guard let out = out.baseAddress else { return }
      floats.withUnsafeBufferPointer { floats in
        guard let floats = floats.baseAddress else { return }
        encode(floats, count: count / bytesPerBlock * blockSize, into: out)
      }
    }
  }

  private func encode(_ floats: UnsafePointer<Float>, count: Int, into out: UnsafeMutablePointer<UInt8>) {
    // Pieces read and write disjoint memory.
    nonisolated(unsafe) let (floats, out) = (floats, out)
    let format = sw_format(rawValue: rawValue)
    DispatchQueue.concurrentPerform(iterations: (count + Self.encodedPiece - 1) / Self.encodedPiece) {
      piece in
      let start = piece * Self.encodedPiece
      let size = Int64(min(Self.encodedPiece, count - start))
      let target = out + start / blockSize * bytesPerBlock
      switch self {
      case .f32, .f16, .bf16: sw_encode(floats + start, size, format, target)
      default: sw_quantize_blocks(floats + start, size, format, target)
      }
    }
  }
}
