import Basics

/// A set of Unicode scalars, as character classes of patterns need it.
struct ScalarSet: Sendable, Equatable {
  /// In order, apart from each other by at least one scalar.
  private(set) var ranges: [ClosedRange<UInt32>]

  init(_ ranges: [ClosedRange<UInt32>]) {
    self.ranges = []
    for range in ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) {
      if let last = self.ranges.last, range.lowerBound <= last.upperBound + 1 {
        self.ranges[self.ranges.count - 1] = last.lowerBound...max(last.upperBound, range.upperBound)
      } else {
        self.ranges.append(range)
      }
    }
  }

  init(_ characters: String) { self.init(characters.unicodeScalars.map { $0.value...$0.value }) }

  static let all = ScalarSet([0...0xD7FF, 0xE000...0x10FFFF])

  /// Every scalar that is not in the set.
  var inverted: ScalarSet { ScalarSet.all.subtracting(self) }

  func union(_ other: ScalarSet) -> ScalarSet { ScalarSet(ranges + other.ranges) }

  func subtracting(_ other: ScalarSet) -> ScalarSet {
    var rest = ranges
    for hole in other.ranges {
      rest = rest.flatMap { range -> [ClosedRange<UInt32>] in
        guard range.overlaps(hole) else { return [range] }
        var parts: [ClosedRange<UInt32>] = []
        if range.lowerBound < hole.lowerBound { parts.append(range.lowerBound...hole.lowerBound - 1) }
        if range.upperBound > hole.upperBound { parts.append(hole.upperBound + 1...range.upperBound) }
        return parts
      }
    }
    return ScalarSet(rest)
  }

  // MARK: - As bytes

  /// Scalars that a JSON string must escape (RFC 8259 section 7).
  static let escaped = ScalarSet([0...0x1F, 0x22...0x22, 0x5C...0x5C])

  /// One scalar of the set inside a JSON string, spelled as `JSON.text` spells it: each in one way only, so that
  /// text can be compared by its bytes.
  var inString: ByteExpression {
    var options = [subtracting(.escaped).utf8]
    for value in 0...0x5C as ClosedRange<UInt32> where contains(value) && Self.escaped.contains(value) {
      guard let scalar = UnicodeScalar(value) else { continue }
      var quoted = ""
      JSON.write(String(scalar), to: &quoted)
      options.append(.literal(String(quoted.dropFirst().dropLast())))
    }
    return .choice(options)
  }

  func contains(_ value: UInt32) -> Bool { ranges.contains { $0.contains(value) } }

  /// One scalar of the set in UTF-8 (RFC 3629 section 4).
  var utf8: ByteExpression {
    var ways = UTF8Ways()
    for range in ranges {
      // Scalars of one length: their bytes compare as they do. Between the third and the fourth are surrogates.
      for length in [0...0x7F, 0x80...0x7FF, 0x800...0xD7FF, 0xE000...0xFFFF, 0x10000...0x10FFFF]
        as [ClosedRange<UInt32>] where range.overlaps(length)
      {
        let part = range.clamped(to: length)
        ways.add(from: 0, Self.encode(part.lowerBound), Self.encode(part.upperBound))
      }
    }
    return .graph(ways.graph)
  }

  private static func encode(_ value: UInt32) -> ArraySlice<UInt8> {
    Array(String(UnicodeScalar(value) ?? "\u{FFFD}").utf8)[...]
  }
}

/// The bytes of ranges of scalars. State 0 is the start, state 1 the end; in state 1 + n any n bytes that continue a
/// character are left, so that ranges share their ends.
private struct UTF8Ways {
  private(set) var graph: ByteExpression.Graph
  private var stateCount = 5

  init() {
    let continuation = ByteExpression.range(0x80...0xBF)
    graph = ByteExpression.Graph(
      edges: [(2, continuation, 1), (3, continuation, 2), (4, continuation, 3)], accepting: [1])
  }

  /// Adds the byte strings between two of one length.
  mutating func add(from state: Int, _ first: ArraySlice<UInt8>, _ last: ArraySlice<UInt8>) {
    guard var low = first.first, var high = last.first else { return }
    let (lowRest, highRest) = (first.dropFirst(), last.dropFirst())
    let least = ArraySlice(lowRest.map { _ in 0x80 as UInt8 })
    let greatest = ArraySlice(lowRest.map { _ in 0xBF as UInt8 })
    let (isWholeLow, isWholeHigh) = (lowRest.elementsEqual(least), highRest.elementsEqual(greatest))
    if low == high, !(isWholeLow && isWholeHigh) {
      return addByte(low, from: state, lowRest, highRest)
    }
    // The bytes at both ends may leave out some of what follows them.
    if !isWholeLow {
      addByte(low, from: state, lowRest, greatest)
      low += 1
    }
    if !isWholeHigh {
      addByte(high, from: state, least, highRest)
      high -= 1
    }
    if low <= high { graph.edges.append((state, .range(low...high), 1 + lowRest.count)) }
  }

  private mutating func addByte(
    _ byte: UInt8, from state: Int, _ first: ArraySlice<UInt8>, _ last: ArraySlice<UInt8>
  ) {
    let next = stateCount
    stateCount += 1
    graph.edges.append((state, .range(byte...byte), next))
    add(from: next, first, last)
  }
}
