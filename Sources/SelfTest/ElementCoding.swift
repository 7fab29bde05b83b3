import Compute

/// Elements of each dtype as they lie in memory.
extension DType {
  /// `value` rounded to nearest, ties to even.
  func encode(_ value: Double, to target: UnsafeMutableRawPointer) {
    switch self {
    case .f64: target.storeBytes(of: value, as: Double.self)
    case .f32: target.storeBytes(of: Float(value), as: Float.self)
    case .bf16: target.storeBytes(of: Self.bfloat16(Float(value)), as: UInt16.self)
    case .i32: target.storeBytes(of: Int32(value), as: Int32.self)
    case .u8: target.storeBytes(of: UInt8(value), as: UInt8.self)
    case .f8: preconditionFailure("no operand is float8")
    }
  }

  func decode(_ source: UnsafeRawPointer) -> Double {
    switch self {
    case .f64: source.loadUnaligned(as: Double.self)
    case .f32: Double(source.loadUnaligned(as: Float.self))
    case .bf16: Double(Float(bitPattern: UInt32(source.loadUnaligned(as: UInt16.self)) << 16))
    case .i32: Double(source.loadUnaligned(as: Int32.self))
    case .u8: Double(source.loadUnaligned(as: UInt8.self))
    case .f8: Self.e4m3(source.loadUnaligned(as: UInt8.self))
    }
  }

  /// `value` as an element of this type would have it.
  func round(_ value: Double) -> Double {
    withUnsafeTemporaryAllocation(byteCount: 8, alignment: 8) {
      encode(value, to: $0.baseAddress!)
      return decode($0.baseAddress!)
    }
  }

  /// The value of an e4m3 code.
  private static func e4m3(_ code: UInt8) -> Double {
    let (exponent, mantissa) = (Int(code >> 3 & 15), Double(code & 7))
    guard exponent != 15 || mantissa != 7 else { return .nan }
    let magnitude = exponent == 0 ? mantissa / 8 : 1 + mantissa / 8
    return Double(
      sign: code & 0x80 == 0 ? .plus : .minus, exponent: max(exponent, 1) - 7, significand: magnitude)
  }

  /// The nearest e4m3 number, ties to even, at most 448 in magnitude.
  static func nearestE4M3(_ value: Float) -> Double {
    let magnitude = min(abs(Double(value)), 448)
    let exponent = max(magnitude == 0 ? -6 : Int(magnitude.exponent), -6)
    let gap = Double(sign: .plus, exponent: exponent - 3, significand: 1)
    return (value < 0 ? -1 : 1) * (magnitude / gap).rounded(.toNearestOrEven) * gap
  }

  /// The upper half of a float, rounded by arithmetic rather than on bits: 2^(e-7) is the gap between
  /// bfloat16s of exponent e, and adding 1.5 * 2^(e+16) rounds a float to a multiple of it.
  private static func bfloat16(_ value: Float) -> UInt16 {
    guard value.isFinite, value != 0 else { return UInt16(value.bitPattern >> 16) }
    let gap = Double(sign: .plus, exponent: max(Int(value.exponent), -126) - 7, significand: 1)
    let rounded = Float((Double(value) / gap).rounded(.toNearestOrEven) * gap)
    return UInt16(rounded.bitPattern >> 16)
  }
}
