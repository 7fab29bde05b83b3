/// Token ids and, if asked for, the range of the encoded buffer that each came from.
struct TokenOutput {
  var ids: [Int32] = []
  var ranges: [Range<Int>] = []
  let tracksRanges: Bool

  mutating func append(_ id: Int32, _ range: Range<Int>) {
    ids.append(id)
    if tracksRanges { ranges.append(range) }
  }
}

/// What encoding a word needs besides the model, kept from word to word so that nothing is allocated.
struct BPEScratch: Sendable {
  /// One token of the word so far; a doubly linked list through array places.
  struct Symbol: Sendable {
    var id: Int32
    /// Rank of the merge with the next symbol; `.max` if there is none or the symbol is gone.
    var rank: Int32
    /// The token which that merge makes.
    var merged: Int32
    var start: Int
    var end: Int
    var previous: Int
    /// The number of symbols ever in the word, at the end of the list.
    var next: Int
  }

  var symbols: [Symbol] = []
  var queue = MergeQueue()
  var cache = WordCache()

  mutating func append(_ id: Int32, _ range: Range<Int>) {
    let place = symbols.count
    symbols.append(
      Symbol(
        id: id, rank: .max, merged: 0, start: range.lowerBound, end: range.upperBound, previous: place - 1,
        next: place + 1))
  }

  mutating func extendLast(to end: Int) { symbols[symbols.count - 1].end = end }
}

/// A binary min-heap of merges: lowest rank first, leftmost first among equals.
struct MergeQueue: Sendable {
  /// Rank in the high half, place in the low half, so that integers compare as the pair does.
  private var heap: [UInt64] = []

  mutating func push(_ rank: Int32, _ place: Int) {
    heap.append(UInt64(rank) << 32 | UInt64(place))
    var child = heap.count - 1
    while child > 0 {
      let parent = (child - 1) / 2
      if heap[parent] <= heap[child] { return }
      heap.swapAt(parent, child)
      child = parent
    }
  }

  mutating func pop() -> (rank: Int32, place: Int)? {
    guard let top = heap.first, let last = heap.popLast() else { return nil }
    if !heap.isEmpty {
      heap[0] = last
      siftDown()
    }
    return (Int32(top >> 32), Int(top & 0xFFFF_FFFF))
  }

  private mutating func siftDown() {
    var parent = 0
    while true {
      var child = 2 * parent + 1
      if child >= heap.count { return }
      if child + 1 < heap.count, heap[child + 1] < heap[child] { child += 1 }
      if heap[parent] <= heap[child] { return }
      heap.swapAt(parent, child)
      parent = child
    }
  }
}

/// Remembers the tokens of short words. Direct-mapped: a word has one slot, and takes it from the one before.
struct WordCache: Sendable {
  private static let slots = 1 << 14
  private static let wordBytes = 24
  private static let wordTokens = 8

  /// Per slot: the word's length, then its bytes. Allocated with the first word.
  private var words: [UInt8] = []
  /// Per slot: the number of tokens, then the tokens.
  private var tokens: [Int32] = []

  /// Appends the tokens of the word, if it is known.
  func append(_ bytes: [UInt8], _ range: Range<Int>, to ids: inout [Int32]) -> Bool {
    if range.count > Self.wordBytes || words.isEmpty { return false }
    let slot = Self.slot(bytes, range)
    let word = slot * (Self.wordBytes + 1)
    if Int(words[word]) != range.count { return false }
    for offset in 0..<range.count where words[word + 1 + offset] != bytes[range.lowerBound + offset] {
      return false
    }
    let first = slot * (Self.wordTokens + 1)
    for place in first + 1..<first + 1 + Int(tokens[first]) { ids.append(tokens[place]) }
    return true
  }

  mutating func store(_ bytes: [UInt8], _ range: Range<Int>, _ ids: ArraySlice<Int32>) {
    if range.count > Self.wordBytes || ids.count > Self.wordTokens { return }
    if words.isEmpty {
      words = [UInt8](repeating: 0, count: Self.slots * (Self.wordBytes + 1))
      tokens = [Int32](repeating: 0, count: Self.slots * (Self.wordTokens + 1))
    }
    let slot = Self.slot(bytes, range)
    let word = slot * (Self.wordBytes + 1)
    words[word] = UInt8(range.count)
    for offset in 0..<range.count { words[word + 1 + offset] = bytes[range.lowerBound + offset] }
    let first = slot * (Self.wordTokens + 1)
    tokens[first] = Int32(ids.count)
    for (offset, id) in ids.enumerated() { tokens[first + 1 + offset] = id }
  }

  private static func slot(_ bytes: [UInt8], _ range: Range<Int>) -> Int {
    Int(truncatingIfNeeded: hash(of: bytes, in: range)) & (slots - 1)
  }
}
