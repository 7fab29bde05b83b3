/// How tokens become text again, as `decoder` of tokenizer.json describes it.
struct TokenDecoder: Sendable {
  enum Step: Sendable {
    case replace(TextPattern, with: [UInt8])
    /// Up to so many `content` at the ends of a token.
    case strip(content: UInt8, start: Int, stop: Int)
    /// Marks become spaces; those of the first token vanish if `dropsFirst`.
    case metaspace(mark: [UInt8], dropsFirst: Bool)
    /// A token `<0xXX>` is the byte XX.
    case byteFallback
    /// A token is spelled by the byte-level alphabet.
    case byteLevel
  }

  /// What happens to each token, in order.
  var steps: [Step] = []
  /// Up to so many bytes of this value vanish from the beginning of the whole text.
  var leading: (byte: UInt8, count: Int) = (0, 0)
  /// Put between tokens.
  var separator: [UInt8] = []

  /// Whether each byte that forms no character becomes its own U+FFFD, as SentencePiece has it. Otherwise
  /// one U+FFFD stands for the longest run of bytes that begin a character (Unicode Standard, 3.9, U+FFFD
  /// Substitution of Maximal Subparts).
  var replacesEachByte: Bool { steps.contains { if case .byteFallback = $0 { true } else { false } } }

  /// The bytes of the token that the vocabulary spells as `spelling`.
  func bytes(of spelling: some Collection<UInt8>, isFirst: Bool) -> [UInt8] {
    var bytes = Array(spelling)
    for step in steps {
      switch step {
      case .replace(let pattern, let new): bytes = Self.replace(bytes, pattern, new)
      case .strip(let content, let start, let stop): bytes = Self.strip(bytes, content, start, stop)
      case .metaspace(let mark, let dropsFirst):
        bytes = Self.replace(bytes, .literal(mark), isFirst && dropsFirst ? [] : [UInt8(ascii: " ")])
      case .byteFallback:
        if let byte = Self.fallbackByte(bytes) { return [byte] }
      case .byteLevel:
        var decoded: [UInt8] = []
        if ByteLevelAlphabet.standard.decode(String(decoding: bytes, as: UTF8.self), into: &decoded) {
          bytes = decoded
        }
      }
    }
    return isFirst ? bytes : separator + bytes
  }

  /// The byte that `<0xXX>` spells.
  static func fallbackByte(_ token: [UInt8]) -> UInt8? {
    guard token.count == 6, token.starts(with: "<0x".utf8), token[5] == UInt8(ascii: ">") else { return nil }
    return UInt8(String(decoding: token[3..<5], as: UTF8.self), radix: 16)
  }

  private static func replace(_ bytes: [UInt8], _ pattern: TextPattern, _ new: [UInt8]) -> [UInt8] {
    pattern.parts(of: bytes, 0..<bytes.count).flatMap { $0.isMatch ? new : Array(bytes[$0.range]) }
  }

  private static func strip(_ bytes: [UInt8], _ content: UInt8, _ start: Int, _ stop: Int) -> [UInt8] {
    let first = bytes.prefix(start).prefix { $0 == content }.count
    let last = bytes.dropFirst(first).suffix(stop).reversed().prefix { $0 == content }.count
    return Array(bytes[first..<bytes.count - last])
  }
}
