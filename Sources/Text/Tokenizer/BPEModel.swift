/// Byte-pair encoding of one word: its characters or bytes are merged, pair by pair, best merge first.
///
/// Source: Sennrich et al., 2016 (ranked merges); Kudo and Richardson, 2018 (SentencePiece: merges by the
/// score of the token they make, bytes for characters outside the vocabulary).
struct BPEModel: Sendable {
  /// Which pairs merge, and in which order.
  enum Merges: Sendable {
    /// A list of pairs; a pair's place in it is its rank.
    case ranked(MergeTable)
    /// Any pair that spells a token; `ranks[id]` orders tokens by falling score.
    case scored(ranks: [Int32])
  }

  /// What becomes of a character that is no token.
  struct Fallback: Sendable {
    /// The tokens `<0x00>` ... `<0xFF>`, if all are there.
    var bytes: [Int32]? = nil
    var unknown: Int32? = nil
    /// Whether neighbouring unknown characters become one unknown token.
    var fusesUnknown = false
  }

  let vocabulary: Vocabulary
  let merges: Merges
  let fallback: Fallback
  /// Whether a word that is a token as a whole is taken as such, whatever its merges say (Llama 3).
  let ignoresMerges: Bool
  /// The token of each single byte in a byte-level vocabulary, -1 where it has none.
  private let byteTokens: [Int32]
  /// The space mark `▁`, when splitting before it changes nothing: no token holds it after another character.
  let safeBoundary: [UInt8]?

  init(
    vocabulary: Vocabulary, merges: Merges, fallback: Fallback = Fallback(), ignoresMerges: Bool = false
  ) {
    self.vocabulary = vocabulary
    self.merges = merges
    self.fallback = fallback
    self.ignoresMerges = ignoresMerges
    byteTokens = vocabulary.isByteLevel ? (0...255).map { vocabulary.id(of: [UInt8($0)]) ?? -1 } : []
    safeBoundary =
      vocabulary.isByteLevel || ignoresMerges ? nil : Self.safeBoundary(in: vocabulary)
  }

  private static func safeBoundary(in vocabulary: Vocabulary) -> [UInt8]? {
    let mark = Array("▁".utf8)
    guard vocabulary.id(of: mark) != nil else { return nil }
    let bytes = vocabulary.contents.bytes
    for id in 0..<vocabulary.contents.count {
      let range = vocabulary.contents.range(id)
      // Control tokens are not made from text.
      guard vocabulary.id(of: bytes, in: range) == Int32(id) else { continue }
      var at = range.lowerBound + 1
      while at + mark.count <= range.upperBound {
        if bytes[at] == mark[0], bytes[at..<at + mark.count].elementsEqual(mark) {
          let follows =
            at - mark.count >= range.lowerBound && bytes[(at - mark.count)..<at].elementsEqual(mark)
          if !follows { return nil }
        }
        at += 1
      }
    }
    return mark
  }

  /// Appends the tokens of the word `bytes[range]` to `output`.
  func encode(_ bytes: [UInt8], _ range: Range<Int>, _ scratch: inout BPEScratch, _ output: inout TokenOutput)
  {
    if range.isEmpty { return }
    if ignoresMerges, let id = vocabulary.id(of: bytes, in: range) {
      output.append(id, range)
      return
    }
    if !output.tracksRanges, scratch.cache.append(bytes, range, to: &output.ids) { return }
    let first = output.ids.count
    start(bytes, range, &scratch)
    mergeAll(bytes, &scratch)
    var at = 0
    while at < scratch.symbols.count {
      let symbol = scratch.symbols[at]
      if symbol.id >= 0 {
        output.append(symbol.id, symbol.start..<symbol.end)
      } else {
        appendUnknown(bytes, symbol.start..<symbol.end, &output)
      }
      at = symbol.next
    }
    if !output.tracksRanges { scratch.cache.store(bytes, range, output.ids[first...]) }
  }

  // MARK: - Symbols before any merge

  private func start(_ bytes: [UInt8], _ range: Range<Int>, _ scratch: inout BPEScratch) {
    scratch.symbols.removeAll(keepingCapacity: true)
    if vocabulary.isByteLevel {
      for at in range where byteTokens[Int(bytes[at])] >= 0 {
        scratch.append(byteTokens[Int(bytes[at])], at..<at + 1)
      }
      return
    }
    var at = range.lowerBound
    var afterUnknown = false
    while at < range.upperBound {
      let character = at..<at + scalarLength(bytes[at])
      at = character.upperBound
      if let id = vocabulary.id(of: bytes, in: character) {
        scratch.append(id, character)
        afterUnknown = false
      } else if case .scored = merges {
        // It may still be part of a token: SentencePiece compares texts, and falls back when all is merged.
        scratch.append(-1, character)
      } else if let tokens = fallback.bytes {
        for byte in character { scratch.append(tokens[Int(bytes[byte])], byte..<byte + 1) }
        afterUnknown = false
      } else if let unknown = fallback.unknown {
        if afterUnknown, fallback.fusesUnknown {
          scratch.extendLast(to: character.upperBound)
        } else {
          scratch.append(unknown, character)
        }
        afterUnknown = true
      }
    }
  }

  private func appendUnknown(_ bytes: [UInt8], _ range: Range<Int>, _ output: inout TokenOutput) {
    if let tokens = fallback.bytes {
      for at in range { output.append(tokens[Int(bytes[at])], at..<at + 1) }
    } else if let unknown = fallback.unknown {
      output.append(unknown, range)
    }
  }

  // MARK: - Merging

  private func mergeAll(_ bytes: [UInt8], _ scratch: inout BPEScratch) {
    for left in scratch.symbols.indices { consider(left, bytes, &scratch) }
    while let (rank, left) = scratch.queue.pop() {
      // A symbol whose pair changed since it was queued carries another rank by now.
      guard scratch.symbols[left].rank == rank else { continue }
      let right = scratch.symbols[left].next
      scratch.symbols[left].id = scratch.symbols[left].merged
      scratch.symbols[left].end = scratch.symbols[right].end
      scratch.symbols[left].next = scratch.symbols[right].next
      scratch.symbols[right].rank = .max
      if scratch.symbols[right].next < scratch.symbols.count {
        scratch.symbols[scratch.symbols[right].next].previous = left
      }
      consider(left, bytes, &scratch)
      if scratch.symbols[left].previous >= 0 { consider(scratch.symbols[left].previous, bytes, &scratch) }
    }
  }

  /// Notes, and queues, the merge of the symbol `left` with the one after it.
  private func consider(_ left: Int, _ bytes: [UInt8], _ scratch: inout BPEScratch) {
    let right = scratch.symbols[left].next
    scratch.symbols[left].rank = .max
    guard right < scratch.symbols.count else { return }
    let rank: Int32
    switch merges {
    case .ranked(let table):
      guard let merge = table[scratch.symbols[left].id, scratch.symbols[right].id] else { return }
      rank = merge.rank
      scratch.symbols[left].merged = merge.id
    case .scored(let ranks):
      let span = scratch.symbols[left].start..<scratch.symbols[right].end
      guard let id = vocabulary.id(of: bytes, in: span) else { return }
      rank = ranks[Int(id)]
      scratch.symbols[left].merged = id
    }
    scratch.symbols[left].rank = rank
    scratch.queue.push(rank, left)
  }
}

/// Number of bytes of the UTF-8 sequence that begins with `lead`.
@inline(__always)
func scalarLength(_ lead: UInt8) -> Int {
  lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4
}
