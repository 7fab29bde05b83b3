/// How a text is cut into the words that the model encodes one by one, as `pre_tokenizer` of tokenizer.json
/// describes it.
indirect enum PreTokenizer: Sendable {
  case sequence([PreTokenizer])
  case split(TextPattern, SplitBehavior, isInverted: Bool)
  /// Bytes are spelled by the byte-level alphabet from here on.
  case byteLevel(addsPrefixSpace: Bool, splits: Bool)
  /// Spaces become `mark`, and words begin there.
  case metaspace(mark: [UInt8], prepends: PrependScheme, splits: Bool)

  enum PrependScheme: String, Sendable {
    case always, never
    /// Only at the very beginning of the text.
    case first
  }

  /// A text and the pieces it is cut into so far.
  struct State {
    var text: AlignedText
    var pieces: [Range<Int>]
    var isByteLevel = false

    var byteCount: Int { pieces.reduce(0) { $0 + $1.count } }
  }

  func apply(to state: inout State) {
    switch self {
    case .sequence(let steps): for step in steps { step.apply(to: &state) }
    case .split(let pattern, let behavior, let isInverted):
      Self.split(&state, pattern, behavior, isInverted)
    case .byteLevel(let addsPrefixSpace, let splits):
      if addsPrefixSpace { Self.addPrefixSpaces(&state) }
      if splits { Self.split(&state, .words(.gpt2), .isolated, false) }
      state.isByteLevel = true
    case .metaspace(let mark, let prepends, let splits):
      Self.markSpaces(&state, mark, prepends)
      if splits { Self.split(&state, .literal(mark), .mergedWithNext, false) }
    }
  }

  private static func split(
    _ state: inout State, _ pattern: TextPattern, _ behavior: SplitBehavior, _ isInverted: Bool
  ) {
    var pieces: [Range<Int>] = []
    pieces.reserveCapacity(max(state.pieces.count, state.byteCount / 4))
    for piece in state.pieces {
      if case .words(let words) = pattern, behavior.keepsEveryMatch(isInverted), !state.isByteLevel {
        words.split(state.text.bytes, piece, into: &pieces)
      } else if state.isByteLevel {
        let view = ByteLevelView(state.text.bytes, piece)
        for range in behavior.pieces(pattern.parts(of: view.bytes, 0..<view.bytes.count), isInverted) {
          pieces.append(view.starts[range.lowerBound]..<view.starts[range.upperBound])
        }
      } else {
        pieces += behavior.pieces(pattern.parts(of: state.text.bytes, piece), isInverted)
      }
    }
    state.pieces = pieces
  }

  private static func addPrefixSpaces(_ state: inout State) {
    let space = UInt8(ascii: " ")
    let lacksSpace = { (piece: Range<Int>) in piece.isEmpty || state.text.bytes[piece.lowerBound] != space }
    if !state.pieces.contains(where: lacksSpace) { return }
    rewritePieces(&state) { rewriter, text, piece in
      if piece.isEmpty || text.bytes[piece.lowerBound] != space {
        rewriter.replace(piece.lowerBound..<piece.lowerBound, with: [space])
      }
      rewriter.keep(piece)
    }
  }

  private static func markSpaces(_ state: inout State, _ mark: [UInt8], _ prepends: PrependScheme) {
    rewritePieces(&state) { rewriter, text, piece in
      let isMarked = text.bytes[piece].starts(with: mark) || text.bytes[piece].first == UInt8(ascii: " ")
      let isFirst = text.base + piece.lowerBound == 0
      if !isMarked, prepends == .always || prepends == .first && isFirst {
        rewriter.replace(piece.lowerBound..<piece.lowerBound, with: mark)
      }
      var kept = piece.lowerBound
      for at in piece where text.bytes[at] == UInt8(ascii: " ") {
        rewriter.keep(kept..<at)
        rewriter.replace(at..<at + 1, with: mark)
        kept = at + 1
      }
      rewriter.keep(kept..<piece.upperBound)
    }
  }

  private static func rewritePieces(
    _ state: inout State, _ rewrite: (inout AlignedText.Rewriter, AlignedText, Range<Int>) -> Void
  ) {
    var rewriter = AlignedText.Rewriter(state.text, capacity: state.byteCount * 3 / 2)
    for place in state.pieces.indices {
      let start = rewriter.count
      rewrite(&rewriter, state.text, state.pieces[place])
      state.pieces[place] = start..<rewriter.count
    }
    state.text = rewriter.finish()
  }
}

/// A piece spelled by the byte-level alphabet, for pre-tokenizers that come after the byte-level one.
private struct ByteLevelView {
  var bytes: [UInt8] = []
  /// The place in the text of each byte of the spelling, and of its end.
  var starts: [Int] = []

  init(_ text: [UInt8], _ piece: Range<Int>) {
    for at in piece {
      for byte in UTF8.encode(ByteLevelAlphabet.standard.scalars[Int(text[at])]) ?? .init() {
        bytes.append(byte)
        starts.append(at)
      }
    }
    starts.append(piece.upperBound)
  }
}

/// What happens to the matches of a split pattern.
enum SplitBehavior: String, Sendable {
  case removed = "Removed"
  case isolated = "Isolated"
  case mergedWithPrevious = "MergedWithPrevious"
  case mergedWithNext = "MergedWithNext"
  case contiguous = "Contiguous"

  /// Whether each match of a pattern that matches everything becomes a piece.
  func keepsEveryMatch(_ isInverted: Bool) -> Bool { self == .isolated || self == .removed && isInverted }

  func pieces(_ parts: [TextPattern.Part], _ isInverted: Bool) -> [Range<Int>] {
    let isMatch = { (part: TextPattern.Part) in part.isMatch != isInverted }
    switch self {
    case .isolated: return parts.map(\.range)
    case .removed: return parts.filter { !isMatch($0) }.map(\.range)
    case .contiguous: return joined(parts) { isMatch($0) == isMatch($1) }
    case .mergedWithPrevious: return joined(parts) { !isMatch($0) && isMatch($1) }
    case .mergedWithNext: return joined(parts) { isMatch($0) && !isMatch($1) }
    }
  }

  /// Neighbours for which `belongTogether` holds become one piece.
  private func joined(
    _ parts: [TextPattern.Part], _ belongTogether: (TextPattern.Part, TextPattern.Part) -> Bool
  ) -> [Range<Int>] {
    var pieces: [Range<Int>] = []
    for (place, part) in parts.enumerated() {
      if place > 0, belongTogether(parts[place - 1], part) {
        pieces[pieces.count - 1] = pieces[pieces.count - 1].lowerBound..<part.range.upperBound
      } else {
        pieces.append(part.range)
      }
    }
    return pieces
  }
}
