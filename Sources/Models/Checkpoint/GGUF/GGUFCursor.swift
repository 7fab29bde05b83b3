import Basics
import Compute

/// Reads a GGUF file's header front to back. Every read is checked against the file's size, so that a lying
/// count or length ends in an error after at most one pass over the file.
struct GGUFCursor {
  let file: MappedFile
  var offset: Int

  /// Arrays of arrays deeper than this are refused; no known key has any.
  private static let maximumDepth = 8

  mutating func integer<T: FixedWidthInteger & BitwiseCopyable>(
    _ type: T.Type = T.self
  ) throws(SwiftletError) -> T {
    guard let value = file.integer(at: offset, as: type) else { throw truncated() }
    offset += MemoryLayout<T>.size
    return value
  }

  mutating func string() throws(SwiftletError) -> String {
    let range = try stringRange()
    guard let text = file.text(range) else {
      throw malformed("a string at byte \(range.lowerBound) is not UTF-8")
    }
    offset = range.upperBound
    return text
  }

  private mutating func stringRange() throws(SwiftletError) -> Range<Int> {
    let length = try integer(UInt64.self)
    guard length <= UInt64(file.count - offset) else { throw truncated() }
    return offset..<offset + Int(length)
  }

  mutating func kind() throws(SwiftletError) -> GGUFValue.Kind {
    let number = try integer(UInt32.self)
    guard let kind = GGUFValue.Kind(rawValue: number) else {
      throw malformed("unknown metadata type \(number) at byte \(offset - 4)")
    }
    return kind
  }

  mutating func value(_ kind: GGUFValue.Kind) throws(SwiftletError) -> GGUFValue {
    switch kind {
    case .u8: .unsigned(UInt64(try integer(UInt8.self)))
    case .u16: .unsigned(UInt64(try integer(UInt16.self)))
    case .u32: .unsigned(UInt64(try integer(UInt32.self)))
    case .u64: .unsigned(try integer())
    case .i8: .signed(Int64(try integer(Int8.self)))
    case .i16: .signed(Int64(try integer(Int16.self)))
    case .i32: .signed(Int64(try integer(Int32.self)))
    case .i64: .signed(try integer())
    case .f32: .float(Double(Float(bitPattern: try integer())))
    case .f64: .float(Double(bitPattern: try integer()))
    case .bool: .bool(try integer(UInt8.self) != 0)
    case .string: .string(try string())
    case .array: .array(try array(depth: 1))
    }
  }

  /// Notes where an array lies and steps over it.
  private mutating func array(depth: Int) throws(SwiftletError) -> GGUFArray {
    guard depth <= Self.maximumDepth else {
      throw malformed("arrays nested deeper than \(Self.maximumDepth)")
    }
    let kind = try kind()
    let length = try integer(UInt64.self)
    // No element takes less than a byte.
    guard length <= UInt64(file.count - offset) else { throw truncated() }
    let array = GGUFArray(count: Int(length), kind: kind, file: file, offset: offset)
    if let size = kind.size {
      guard array.count <= (file.count - offset) / size else { throw truncated() }
      offset += array.count * size
    } else {
      for _ in 0..<array.count {
        if kind == .string {
          offset = try stringRange().upperBound
        } else {
          _ = try self.array(depth: depth + 1)
        }
      }
    }
    return array
  }

  func truncated() -> SwiftletError {
    SwiftletError(
      .malformedFile, "\(file.path): the header asks for more than the file's \(file.count) bytes",
      remedy: "The file may be cut short: download or copy it again.")
  }

  func malformed(_ what: String) -> SwiftletError {
    SwiftletError(.malformedFile, "\(file.path): \(what)")
  }
}
