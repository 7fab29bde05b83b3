/// The printable character that stands for each byte in the vocabulary of a byte-level BPE.
///
/// Bytes that are printable in Latin-1 stand for themselves; the other 68 take U+0100 and up, in order.
/// Source: GPT-2's `bytes_to_unicode` (Radford et al., 2019).
struct ByteLevelAlphabet: Sendable {
  /// The character of each byte.
  let scalars: [Unicode.Scalar]
  /// The byte of each character below U+0144; -1 for characters outside the alphabet.
  private let bytes: [Int16]

  static let standard = ByteLevelAlphabet()

  private init() {
    var next: UInt32 = 0x100
    var scalars: [Unicode.Scalar] = []
    var bytes = [Int16](repeating: -1, count: 0x144)
    for byte in UInt8.min...UInt8.max {
      var value = UInt32(byte)
      if !Self.isPrintable(byte) {
        value = next
        next += 1
      }
      scalars.append(Unicode.Scalar(value) ?? Unicode.Scalar(byte))
      bytes[Int(value)] = Int16(byte)
    }
    self.scalars = scalars
    self.bytes = bytes
  }

  private static func isPrintable(_ byte: UInt8) -> Bool {
    switch byte {
    case 0x21...0x7E, 0xA1...0xAC, 0xAE...0xFF: true
    default: false
    }
  }

  func byte(of scalar: Unicode.Scalar) -> UInt8? {
    guard scalar.value < 0x144, bytes[Int(scalar.value)] >= 0 else { return nil }
    return UInt8(bytes[Int(scalar.value)])
  }

  /// Replaces the content of `buffer` by the bytes that `spelling` stands for; false, with `buffer` left
  /// undefined, where `spelling` holds a character outside the alphabet.
  func decode(_ spelling: String, into buffer: inout [UInt8]) -> Bool {
    buffer.removeAll(keepingCapacity: true)
    for scalar in spelling.unicodeScalars {
      guard let byte = byte(of: scalar) else { return false }
      buffer.append(byte)
    }
    return true
  }
}
