/// Random numbers by counter: Philox4x32-10. Any number of the sequence can be had without those before it.
///
/// Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
struct Philox {
  private let key: SIMD2<UInt32>
  private let stream: UInt64

  /// What random numbers are for; each use has numbers of its own.
  enum Stream: Sendable {
    /// Which sequences are held back for evaluation.
    case split
    /// The order of sequences of equal length when they are packed.
    case packing(epoch: Int)
    /// The order of packed rows.
    case rows(epoch: Int)
  }

  init(seed: UInt64, stream: Stream) {
    key = SIMD2(UInt32(truncatingIfNeeded: seed), UInt32(truncatingIfNeeded: seed >> 32))
    self.stream =
      switch stream {
      case .split: 0
      case .packing(let epoch): 1 + 2 * UInt64(epoch)
      case .rows(let epoch): 2 + 2 * UInt64(epoch)
      }
  }

  /// The random number at `counter`.
  subscript(counter: UInt64) -> UInt64 {
    let block = Self.block(
      SIMD4(
        UInt32(truncatingIfNeeded: counter), UInt32(truncatingIfNeeded: counter >> 32),
        UInt32(truncatingIfNeeded: stream), UInt32(truncatingIfNeeded: stream >> 32)), key)
    return UInt64(block[0]) | UInt64(block[1]) << 32
  }

  /// Ten rounds over a counter.
  static func block(_ counter: SIMD4<UInt32>, _ key: SIMD2<UInt32>) -> SIMD4<UInt32> {
    var (x, key) = (counter, key)
    for _ in 0..<10 {
      let a = UInt64(0xD251_1F53) * UInt64(x[0])
      let b = UInt64(0xCD9E_8D57) * UInt64(x[2])
      x = SIMD4(
        UInt32(b >> 32) ^ x[1] ^ key[0], UInt32(truncatingIfNeeded: b),
        UInt32(a >> 32) ^ x[3] ^ key[1], UInt32(truncatingIfNeeded: a))
      key &+= SIMD2(0x9E37_79B9, 0xBB67_AE85)
    }
    return x
  }
}

/// The numbers 0 to `count` - 1 in an order that seed and stream decide (Fisher and Yates).
func permutation(of count: Int, seed: UInt64, stream: Philox.Stream) -> [Int32] {
  let random = Philox(seed: seed, stream: stream)
  var order = Array(0..<Int32(count))
  for last in stride(from: count - 1, to: 0, by: -1) {
    // The high half of a product maps 64 bits to 0...last; its bias is below count / 2^64.
    let other = Int(random[UInt64(last)].multipliedFullWidth(by: UInt64(last + 1)).high)
    order.swapAt(last, other)
  }
  return order
}
