import Basics
import Compute

/// A metadata value of a GGUF file.
public enum GGUFValue: Sendable {
  case unsigned(UInt64)
  case signed(Int64)
  case float(Double)
  case bool(Bool)
  case string(String)
  case array(GGUFArray)

  /// Value types by their number in the file.
  enum Kind: UInt32 {
    case u8, i8, u16, i16, u32, i32, f32, bool, string, array, u64, i64, f64

    /// Bytes of one value; nil when that varies.
    var size: Int? {
      switch self {
      case .u8, .i8, .bool: 1
      case .u16, .i16: 2
      case .u32, .i32, .f32: 4
      case .u64, .i64, .f64: 8
      case .string, .array: nil
      }
    }
  }

  /// The value as an integer, when it is one and fits.
  public var int: Int? {
    switch self {
    case .unsigned(let value): Int(exactly: value)
    case .signed(let value): Int(exactly: value)
    default: nil
    }
  }

  /// The value as a floating-point number; integers count.
  public var double: Double? {
    switch self {
    case .unsigned(let value): Double(value)
    case .signed(let value): Double(value)
    case .float(let value): value
    default: nil
    }
  }

  public var bool: Bool? { if case .bool(let value) = self { value } else { nil } }
  public var string: String? { if case .string(let value) = self { value } else { nil } }
  public var array: GGUFArray? { if case .array(let value) = self { value } else { nil } }
}

/// An array that stays in the file until it is asked for: a vocabulary's is as long as the vocabulary. Its bounds
/// are known to lie within the file.
public struct GGUFArray: Sendable {
  public let count: Int
  let kind: GGUFValue.Kind
  let file: MappedFile
  /// Of the first element.
  let offset: Int

  /// The elements.
  ///
  /// - Throws: `.malformedFile` when a string is not UTF-8.
  public func values() throws(SwiftletError) -> [GGUFValue] {
    var cursor = GGUFCursor(file: file, offset: offset)
    var values: [GGUFValue] = []
    values.reserveCapacity(count)
    for _ in 0..<count { values.append(try cursor.value(kind)) }
    return values
  }

  /// The elements of an array of strings; nil for any other.
  ///
  /// - Throws: `.malformedFile` when a string is not UTF-8.
  public func strings() throws(SwiftletError) -> [String]? {
    guard kind == .string else { return nil }
    var cursor = GGUFCursor(file: file, offset: offset)
    var strings: [String] = []
    strings.reserveCapacity(count)
    for _ in 0..<count { strings.append(try cursor.string()) }
    return strings
  }
}
