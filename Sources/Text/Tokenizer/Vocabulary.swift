/// Many short byte strings in one buffer, numbered from 0.
struct PackedBytes: Sendable {
  private(set) var bytes: [UInt8] = []
  private var ends: [Int] = []

  var count: Int { ends.count }

  mutating func reserve(count: Int, bytes total: Int) {
    ends.reserveCapacity(count)
    bytes.reserveCapacity(total)
  }

  mutating func append(_ string: some Collection<UInt8>) {
    bytes.append(contentsOf: string)
    ends.append(bytes.count)
  }

  func range(_ index: Int) -> Range<Int> { (index == 0 ? 0 : ends[index - 1])..<ends[index] }
  subscript(_ index: Int) -> ArraySlice<UInt8> { bytes[range(index)] }
}

/// Hash of a byte string. Source: FNV-1a (Fowler, Noll, Vo), with the high half folded in at the end
/// because tables take the low bits.
func hash(of bytes: [UInt8], in range: Range<Int>) -> UInt64 {
  var hash: UInt64 = 0xcbf2_9ce4_8422_2325
  for at in range { hash = (hash ^ UInt64(bytes[at])) &* 0x100_0000_01b3 }
  return hash ^ (hash >> 32)
}

/// The tokens of a model, by id and by the bytes they stand for.
///
/// Swift's own string comparison holds "é" and "e\u{301}" equal; a vocabulary may hold both. So tokens are
/// compared as bytes here.
struct Vocabulary: Sendable {
  /// Tokens as the file spells them; empty for ids that no token has.
  let spellings: PackedBytes
  /// What encoding compares with the text: raw bytes in a byte-level vocabulary, else the spelling.
  let contents: PackedBytes
  let isByteLevel: Bool
  /// Length of the longest content in bytes.
  let longest: Int
  /// Open-addressing hash table of ids; -1 marks a free slot.
  private let slots: [Int32]

  /// - Parameters:
  ///   - tokens: the spelling of each id; empty where no token has the id.
  ///   - isSearchable: whether the model may produce the id from text: not for control tokens.
  init(tokens: [String], isByteLevel: Bool, isSearchable: (Int) -> Bool) {
    var spellings = PackedBytes()
    spellings.reserve(count: tokens.count, bytes: tokens.count * 8)
    for token in tokens { spellings.append(token.utf8) }

    var contents = spellings
    var outsideAlphabet: Set<Int> = []
    if isByteLevel {
      contents = PackedBytes()
      contents.reserve(count: tokens.count, bytes: spellings.bytes.count)
      var buffer: [UInt8] = []
      for (id, token) in tokens.enumerated() {
        if ByteLevelAlphabet.standard.decode(token, into: &buffer) {
          contents.append(buffer)
        } else {
          contents.append(token.utf8)
          outsideAlphabet.insert(id)
        }
      }
    }

    var capacity = 16
    while capacity < tokens.count * 2 { capacity *= 2 }
    var slots = [Int32](repeating: -1, count: capacity)
    var longest = 0
    for id in 0..<contents.count where isSearchable(id) && !outsideAlphabet.contains(id) {
      let range = contents.range(id)
      if range.isEmpty { continue }
      longest = max(longest, range.count)
      var slot = Int(truncatingIfNeeded: hash(of: contents.bytes, in: range)) & (capacity - 1)
      while slots[slot] >= 0 { slot = (slot + 1) & (capacity - 1) }
      slots[slot] = Int32(id)
    }
    self.spellings = spellings
    self.contents = contents
    self.isByteLevel = isByteLevel
    self.longest = longest
    self.slots = slots
  }

  /// The token whose content is `bytes[range]`.
  func id(of bytes: [UInt8], in range: Range<Int>) -> Int32? {
    if range.count > longest { return nil }
    var slot = Int(truncatingIfNeeded: hash(of: bytes, in: range)) & (slots.count - 1)
    while slots[slot] >= 0 {
      let candidate = contents.range(Int(slots[slot]))
      if candidate.count == range.count, equal(candidate, bytes, range) { return slots[slot] }
      slot = (slot + 1) & (slots.count - 1)
    }
    return nil
  }

  func id(of bytes: [UInt8]) -> Int32? { id(of: bytes, in: 0..<bytes.count) }

  /// The token that the file spells so; nil for control tokens. `buffer` is scratch space.
  func id(ofSpelling spelling: String, buffer: inout [UInt8]) -> Int32? {
    if isByteLevel {
      guard ByteLevelAlphabet.standard.decode(spelling, into: &buffer) else { return nil }
    } else {
      buffer.removeAll(keepingCapacity: true)
      buffer.append(contentsOf: spelling.utf8)
    }
    return id(of: buffer)
  }

  private func equal(_ candidate: Range<Int>, _ bytes: [UInt8], _ range: Range<Int>) -> Bool {
    for offset in 0..<range.count
    where contents.bytes[candidate.lowerBound + offset] != bytes[range.lowerBound + offset] {
      return false
    }
    return true
  }
}
