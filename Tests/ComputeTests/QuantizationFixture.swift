import Basics
import Foundation
import Testing

/// `Fixtures/quantization.json`: reference values by gguf's and bitsandbytes' own code.
struct QuantizationFixture {
  let json: JSON

  init() throws {
    let folder = URL(filePath: #filePath).deletingLastPathComponent()
    let file = folder.appending(path: "Fixtures/quantization.json")
    json = try JSON(parsing: Array(Data(contentsOf: file)))
  }
}

extension JSON {
  /// A member that must be there.
  func member(_ keys: String...) throws -> JSON {
    try keys.reduce(self) { try #require($0[$1], "no member \($1)") }
  }

  func integer(_ key: String) throws -> Int { try #require(member(key).int) }

  /// An array given as hex digits of its little-endian bytes.
  func array<T: BitwiseCopyable>(_ key: String, of type: T.Type = T.self) throws -> [T] {
    let digits = Array(try #require(member(key).string).utf8)
    let bytes = stride(from: 0, to: digits.count, by: 2).map { at in
      UInt8(String(decoding: digits[at...at + 1], as: UTF8.self), radix: 16) ?? 0
    }
    return bytes.withUnsafeBytes { raw in
      (0..<bytes.count / MemoryLayout<T>.size).map {
        raw.loadUnaligned(fromByteOffset: $0 * MemoryLayout<T>.size, as: type)
      }
    }
  }
}

/// Bit patterns, so that comparisons tell -0 from 0 and print what differs.
func bits(_ values: [Float]) -> [UInt32] { values.map(\.bitPattern) }
