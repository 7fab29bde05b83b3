import Compute

extension StoredTensor {
  /// What a stored tensor is made of.
  public enum Element: Sendable, Hashable {
    /// Floats and quantised blocks that kernels read.
    case weight(StorageFormat)
    case f64
    case i8, i16, i32, i64
    case u8, u16, u32, u64
    case bool
    case f8E4M3, f8E5M2
  }
}

extension StoredTensor.Element {
  /// The name in messages; for what safetensors knows, its name there.
  public var name: String {
    switch self {
    case .weight(let format): "\(format)".uppercased()
    case .f8E4M3: "F8_E4M3"
    case .f8E5M2: "F8_E5M2"
    default: "\(self)".uppercased()
    }
  }

  /// Elements of one block; the last dimension is a whole number of blocks.
  var blockSize: Int { if case .weight(let format) = self { format.blockSize } else { 1 } }

  var bytesPerBlock: Int {
    switch self {
    case .weight(let format): format.bytesPerBlock
    case .f64, .i64, .u64: 8
    case .i32, .u32: 4
    case .i16, .u16: 2
    case .i8, .u8, .bool, .f8E4M3, .f8E5M2: 1
    }
  }

  /// Bytes of a tensor of this shape; nil when that exceeds an Int, a dimension is negative, or the last
  /// dimension is no whole number of blocks.
  func byteCount(_ shape: [Int]) -> Int? {
    guard shape.allSatisfy({ $0 >= 0 }), (shape.last ?? 1) % blockSize == 0 else { return nil }
    if shape.contains(0) { return 0 }
    // Blocks first: their number never exceeds that of the bytes.
    var count = bytesPerBlock
    for (axis, size) in shape.enumerated() {
      let factor = axis == shape.count - 1 ? size / blockSize : size
      let (product, overflow) = count.multipliedReportingOverflow(by: factor)
      if overflow { return nil }
      count = product
    }
    return count
  }
}

extension StoredTensor.Element {
  /// The types that a safetensors file can hold and we can name, in the order in which the reference
  /// implementation lays tensors out: each type's start is then aligned.
  private static let safetensors: [StoredTensor.Element] = [
    .u64, .i64, .f64, .weight(.f32), .u32, .i32, .weight(.bf16), .weight(.f16), .u16, .i16, .f8E4M3, .f8E5M2,
    .i8, .u8, .bool,
  ]

  /// The type that a safetensors header calls `name`.
  init?(safetensors name: String) {
    guard let element = Self.safetensors.first(where: { $0.name == name }) else { return nil }
    self = element
  }

  /// The type's place in a safetensors file's order; nil when the format does not have it.
  var safetensorsRank: Int? { Self.safetensors.firstIndex(of: self) }
}
