/// A set of byte values.
struct ByteSet: Hashable, Sendable {
  /// Bit b of word w: the byte 64 w + b is in.
  private var words = SIMD4<UInt64>()

  init(_ bytes: some Sequence<UInt8>) {
    for byte in bytes { insert(byte) }
  }

  init(_ characters: String) { self.init(characters.utf8) }

  mutating func insert(_ byte: UInt8) { words[Int(byte >> 6)] |= 1 << UInt64(byte & 63) }

  func contains(_ byte: UInt8) -> Bool { words[Int(byte >> 6)] >> UInt64(byte & 63) & 1 == 1 }

  var isEmpty: Bool { words == SIMD4() }

  static let digits = ByteSet("0123456789")
  static let hexDigits = ByteSet("0123456789abcdefABCDEF")
}

/// Bytes that no set of a grammar tells apart, numbered: an automaton's rows have a column for each class.
struct ByteClasses: Sendable {
  private(set) var count = 1
  /// The class of each byte.
  private(set) var ofByte = [UInt8](repeating: 0, count: 256)

  init(telling sets: some Sequence<ByteSet>) {
    for set in sets {
      // A class that the set cuts becomes two.
      var halves: [Int: UInt8] = [:]
      for byte in UInt8.min...UInt8.max {
        let half = Int(ofByte[Int(byte)]) << 1 | (set.contains(byte) ? 1 : 0)
        let number = halves[half] ?? UInt8(halves.count)
        halves[half] = number
        ofByte[Int(byte)] = number
      }
      count = halves.count
    }
  }

  /// The classes whose bytes `set` holds; `set` is one of those told apart.
  func classes(in set: ByteSet) -> [UInt8] {
    Array(Set((UInt8.min...UInt8.max).lazy.filter(set.contains).map { ofByte[Int($0)] })).sorted()
  }
}
