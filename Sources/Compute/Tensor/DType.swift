/// The type of a tensor's elements.
public enum DType: UInt8, Sendable, CaseIterable {
  case f32
  /// bfloat16: the upper half of a float32.
  case bf16
  /// Arithmetic in double precision, for gradient checks on the CPU.
  case f64
  case i32
  case u8
  /// float8 e4m3, of which only products know the scale: see `Float8Rows`.
  case f8

  /// Bytes of one element.
  public var size: Int {
    switch self {
    case .f64: 8
    case .f32, .i32: 4
    case .bf16: 2
    case .u8, .f8: 1
    }
  }
}
