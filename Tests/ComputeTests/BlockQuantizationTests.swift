import Basics
import Testing

@testable import Compute

/// Quantisers of ggml's blocks: the same bytes as ggml's own, and what they decode to.
struct BlockQuantizationTests {
  /// SHA-256 of what `ggml_quantize_chunk` (ggml 0.25) makes of `hashed` without an importance matrix, and the relative
  /// error that it leaves.
  static let expected: [(StorageFormat, String, Double)] = [
    (.q4_0, "e377f519a059540a6fc5a738a35d5ff290c707d78f7dee04fb66d63450ac2d68", 0.0662),
    (.q4_1, "5bd69ed572c9405026a8cc6426e5844dc0c8e3ffcc28045371fcf8502c3e3e79", 0.0625),
    (.q5_0, "4f34f3c69eb87904efff08cadbaddd34272d8c4db494a42a1cce1d8d1c6e8e48", 0.0319),
    (.q5_1, "b3a54322968f45589dc9696de7ed4a209b51dcb1a39504a03792430771ef3958", 0.0309),
    (.q8_0, "7e24b43630b8f20e95f82390599c996f20263f1d6b9fc2e73bb02726aac7e00e", 0.0039),
    (.q4_K, "02aaa8cf7207f64bfcf846a5eb6824474f105649708a3e86786b96db541f6c24", 0.0607),
    (.q5_K, "96cfa2625f2fe112cdbf4123435b23b07a37b4de141c1649adb7c6e7f85fe47a", 0.0299),
    (.q6_K, "16a8bfb033134a82d0149b7f91a2353a8698f1eda18ee4d7d5b1ab4bd53a630a", 0.0141),
  ]

  private let rows = 24
  private let columns = 768

  /// As in Fixtures/make_quantization.py: a hash of the index, in units that differ by 64.
  private var hashed: [Float] {
    (0..<rows * columns).map { i in
      Float(Int32(bitPattern: UInt32(truncatingIfNeeded: i &* 2_654_435_761)))
        * 0x1p-31 * (Float(1 + i / 64 % 37) / 8)
    }
  }

  private func decoded(_ bytes: [UInt8], _ format: StorageFormat, rows: Int, columns: Int) throws -> [Float] {
    let buffer = try Buffer(count: bytes.count)
    buffer.pointer(to: UInt8.self).update(from: bytes, count: bytes.count)
    return Weight(layout: Weight.layout(format, rows, columns, buffer.base), owner: buffer).floats()
  }

  @Test(arguments: expected)
  func makesTheBytesThatGGMLMakes(format: StorageFormat, digest: String, error: Double) throws {
    let values = hashed
    let bytes = format.encoded(values.span)
    let hex = SHA256.hash(bytes).map { byte in
      String(byte >> 4, radix: 16) + String(byte & 15, radix: 16)
    }.joined()
    #expect(hex == digest)
    let decoded = try self.decoded(bytes, format, rows: rows, columns: columns)
    let difference = zip(decoded, values).reduce(0.0) { $0 + Double(($1.0 - $1.1) * ($1.0 - $1.1)) }
    let norm = values.reduce(0.0) { $0 + Double($1 * $1) }
    #expect((difference / norm).squareRoot() < error)
  }

  /// Blocks of one number, of nothing, of numbers too small for a half, and beside each other extremes of both signs.
  @Test(arguments: expected.map(\.0))
  func keepsWhatItCan(format: StorageFormat) throws {
    for value: Float in [0, 1e-40, 0.5, -0.5, 60000] {
      let values = [Float](repeating: value, count: 256)
      let decoded = try decoded(format.encoded(values.span), format, rows: 1, columns: 256)
      #expect(decoded.allSatisfy { abs($0 - value) <= abs(value) / 100 + 1e-7 }, "\(value)")
    }
    let values = (0..<256).map { Float($0 % 2 == 0 ? 1 : -1) * Float($0 % 16) }
    let decoded = try decoded(format.encoded(values.span), format, rows: 1, columns: 256)
    #expect(zip(decoded, values).allSatisfy { abs($0 - $1) < 1.3 })
  }

  /// Pieces are encoded on several threads.
  @Test func joinsPieces() {
    let values = (0..<5 << 15).map { Float($0 % 977) - 488 }
    for format: StorageFormat in [.f16, .q8_0, .q6_K] {
      let whole = format.encoded(values.span)
      let parts = stride(from: 0, to: values.count, by: 256).flatMap { start in
        format.encoded(Array(values[start..<start + 256]).span)
      }
      #expect(whole == parts)
    }
  }

  @Test func addsLowRankUpdates() throws {
    let cpu = try CPU(threads: 1)
    let up = try Weight([1, 2, 3, 4, 5, 6], rows: 3, columns: 2)
    let update = LowRankUpdate(up: up, down: [1, 0, 2, 0, 1, 1], scale: 0.5)
    var rows: [Float] = [10, 20, 30, 40, 50, 60]
    try update.add(rows: 1..<3, to: &rows, on: cpu)
    #expect(rows == [11.5, 22, 35, 42.5, 53, 68])
  }
}
