/// Text on its way to the model, as UTF-8, that remembers where in the source each byte came from.
struct AlignedText: Sendable {
  private enum Origin: Sendable {
    /// Every byte stands where it stood, counted from `base`.
    case unchanged
    /// The source range of each byte, counted from `base`.
    case changed([Range<Int>])
    /// Changed, and nobody will ask.
    case untracked
  }

  private(set) var bytes: [UInt8]
  /// Where in the source this text begins.
  let base: Int
  let tracksSource: Bool
  private var origin = Origin.unchanged

  init(_ bytes: [UInt8], base: Int, tracksSource: Bool) {
    self.bytes = bytes
    self.base = base
    self.tracksSource = tracksSource
  }

  /// The smallest source range that holds the source of `range`.
  func source(of range: Range<Int>) -> Range<Int> {
    switch origin {
    case .unchanged: return base + range.lowerBound..<base + range.upperBound
    case .changed(let sources):
      if range.isEmpty {
        let place =
          range.lowerBound < sources.count ? sources[range.lowerBound].lowerBound : sourceEnd(sources)
        return base + place..<base + place
      }
      return base + sources[range.lowerBound].lowerBound..<base + sources[range.upperBound - 1].upperBound
    case .untracked: preconditionFailure("the source of this text is not tracked")
    }
  }

  private func sourceEnd(_ sources: [Range<Int>]) -> Int { sources.last?.upperBound ?? 0 }

  /// Builds a changed text out of parts of this one, from its beginning to its end.
  struct Rewriter {
    private let old: AlignedText
    private(set) var bytes: [UInt8] = []
    private var sources: [Range<Int>] = []

    /// - Parameter capacity: about how many bytes the result will have.
    init(_ old: AlignedText, capacity: Int) {
      self.old = old
      bytes.reserveCapacity(capacity)
    }

    var count: Int { bytes.count }

    mutating func keep(_ range: Range<Int>) {
      bytes.append(contentsOf: old.bytes[range])
      guard old.tracksSource else { return }
      for at in range { sources.append(old.relativeSource(of: at..<at + 1)) }
    }

    /// Puts `new` where `range` stood; an empty range inserts.
    mutating func replace(_ range: Range<Int>, with new: some Collection<UInt8>) {
      bytes.append(contentsOf: new)
      guard old.tracksSource else { return }
      let source = old.relativeSource(of: range)
      for _ in 0..<new.count { sources.append(source) }
    }

    consuming func finish() -> AlignedText {
      var text = AlignedText(bytes, base: old.base, tracksSource: old.tracksSource)
      text.origin = old.tracksSource ? .changed(sources) : .untracked
      return text
    }
  }

  private func relativeSource(of range: Range<Int>) -> Range<Int> {
    let source = source(of: range)
    return source.lowerBound - base..<source.upperBound - base
  }
}

/// The scalar whose UTF-8 begins at `at`, and its length. `bytes` came from a string, so it is valid.
@inline(__always)
func decodeScalar(_ bytes: [UInt8], _ at: Int) -> (value: UInt32, length: Int) {
  let lead = UInt32(bytes[at])
  if lead < 0x80 { return (lead, 1) }
  let second = UInt32(bytes[at + 1] & 0x3F)
  if lead < 0xE0 { return ((lead & 0x1F) << 6 | second, 2) }
  let third = UInt32(bytes[at + 2] & 0x3F)
  if lead < 0xF0 { return ((lead & 0x0F) << 12 | second << 6 | third, 3) }
  return ((lead & 0x07) << 18 | second << 12 | third << 6 | UInt32(bytes[at + 3] & 0x3F), 4)
}
