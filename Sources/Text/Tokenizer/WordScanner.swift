/// The parts that split patterns are made of, over `bytes[..<end]`. Each takes the place to begin at and
/// returns the end of what it matched.
struct WordScanner {
  let bytes: [UInt8]
  let end: Int

  @inline(__always)
  func kind(_ at: Int) -> (kind: ScalarKind, next: Int) {
    let (value, length) = decodeScalar(bytes, at)
    return (ScalarKind.of(value), at + length)
  }

  /// `[...]{0,limit}`
  @inline(__always)
  func run(_ start: Int, atMost limit: Int = .max, while matches: (ScalarKind) -> Bool) -> Int {
    var at = start
    var count = 0
    while at < end, count < limit {
      let (kind, next) = kind(at)
      if !matches(kind) { return at }
      at = next
      count += 1
    }
    return at
  }

  /// `[...]*` over ASCII characters.
  @inline(__always)
  func bytesRun(_ start: Int, while matches: (UInt8) -> Bool) -> Int {
    var at = start
    while at < end, matches(bytes[at]) { at += 1 }
    return at
  }

  /// `\s+(?!\S)|\s+` at whitespace: all of it at the end of the text, else all but the last character, which
  /// may belong to the next word; but at least one character.
  func whitespace(_ start: Int) -> Int {
    var at = start
    var last = start
    while at < end {
      let (kind, next) = kind(at)
      if !kind.isWhitespace { return last > start ? last : at }
      last = at
      at = next
    }
    return at
  }

  /// `\s*[\r\n]+`: whitespace up to its last line break.
  func lines(_ start: Int) -> Int? {
    var at = start
    var found: Int?
    while at < end {
      let (kind, next) = kind(at)
      if !kind.isWhitespace { return found }
      at = next
      if kind == .newline { found = next }
    }
    return found
  }

  /// `'s|'t|'re|'ve|'m|'ll|'d`. Ignoring case, `ſ` (U+017F) is an s as well.
  func contraction(_ start: Int, ignoringCase: Bool) -> Int? {
    guard start + 1 < end, bytes[start] == UInt8(ascii: "'") else { return nil }
    let first = letter(start + 1, ignoringCase)
    switch first {
    case UInt8(ascii: "s"), UInt8(ascii: "t"), UInt8(ascii: "m"), UInt8(ascii: "d"): return start + 2
    default: break
    }
    guard start + 2 < end else { return nil }
    switch (first, letter(start + 2, ignoringCase)) {
    case (UInt8(ascii: "r"), UInt8(ascii: "e")), (UInt8(ascii: "v"), UInt8(ascii: "e")),
      (UInt8(ascii: "l"), UInt8(ascii: "l")):
      return start + 3
    case (0xC5, 0xBF) where ignoringCase: return start + 3
    default: return nil
    }
  }

  private func letter(_ at: Int, _ ignoringCase: Bool) -> UInt8 {
    let byte = bytes[at]
    return ignoringCase && (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte) ? byte | 0x20 : byte
  }

  /// `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+`
  func lowerEnding(_ start: Int) -> Int? {
    var at = start
    var afterUncased: Int?
    while at < end {
      let (kind, next) = kind(at)
      guard isUpper(kind) else { break }
      at = next
      if kind != .upper { afterUncased = next }
    }
    let lower = run(at, while: isLower)
    // With no lower-case letter after it, the first part gives back down to its last uncased character.
    return lower > at ? lower : afterUncased
  }

  /// `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*`
  func upperRun(_ start: Int) -> Int? {
    let upper = run(start, while: isUpper)
    return upper > start ? run(upper, while: isLower) : nil
  }

  private func isUpper(_ kind: ScalarKind) -> Bool { kind == .upper || kind == .uncased || kind == .mark }
  private func isLower(_ kind: ScalarKind) -> Bool { kind == .lower || kind == .uncased || kind == .mark }
}
