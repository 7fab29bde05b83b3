import Basics
import Compute

/// A metadata key of a GGUF file that is written, and its value.
public struct GGUFEntry: Sendable {
  /// Values in the types that llama.cpp reads them in.
  public enum Value: Sendable {
    case u32(UInt32)
    case f32(Float)
    case bool(Bool)
    case string(String)
    case strings([String])
    case integers([Int32])
    case floats([Float])
  }

  public let key: String
  public let value: Value

  public init(_ key: String, _ value: Value) {
    self.key = key
    self.value = value
  }

  /// A count or an id. Both fit: files' headers and configurations are checked when they are read.
  public init(_ key: String, _ number: Int) { self.init(key, .u32(UInt32(number))) }

  func write(to bytes: inout GGUFHeader) {
    bytes.add(key)
    switch value {
    case .u32(let number):
      bytes.add(.u32)
      bytes.add(number)
    case .f32(let number):
      bytes.add(.f32)
      bytes.add(number.bitPattern)
    case .bool(let flag):
      bytes.add(.bool)
      bytes.add(flag ? 1 : 0 as UInt8)
    case .string(let text):
      bytes.add(.string)
      bytes.add(text)
    case .strings(let texts): bytes.add(texts, of: .string) { $0.add($1) }
    case .integers(let numbers): bytes.add(numbers, of: .i32) { $0.add($1) }
    case .floats(let numbers): bytes.add(numbers, of: .f32) { $0.add($1.bitPattern) }
    }
  }
}

/// The bytes of a GGUF file's header.
struct GGUFHeader {
  private(set) var bytes: [UInt8] = []

  mutating func add(_ integer: some FixedWidthInteger) {
    withUnsafeBytes(of: integer.littleEndian) { bytes += $0 }
  }

  mutating func add(_ text: String) {
    add(UInt64(text.utf8.count))
    bytes += text.utf8
  }

  mutating func add(_ kind: GGUFValue.Kind) { add(kind.rawValue) }

  mutating func add<Element>(
    _ elements: [Element], of kind: GGUFValue.Kind, _ add: (inout GGUFHeader, Element) -> Void
  ) {
    self.add(.array)
    self.add(kind)
    self.add(UInt64(elements.count))
    for element in elements { add(&self, element) }
  }

  mutating func pad(to alignment: Int) {
    bytes += Array(repeating: 0, count: -bytes.count & (alignment - 1))
  }
}
