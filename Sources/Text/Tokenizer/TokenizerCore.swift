import Basics
import Synchronization

/// The tables and steps behind a `Tokenizer`.
final class TokenizerCore: Sendable {
  let model: BPEModel
  let normalizer: Normalizer?
  let preTokenizer: PreTokenizer?
  let decoder: TokenDecoder
  let frame: TokenFrame
  /// Highest token id + 1.
  let vocabularySize: Int
  /// Added tokens by id, and the ids by content.
  let added: [Int32: AddedToken]
  private let addedIDs: [[UInt8]: Int32]
  /// What added tokens that are looked for in the normalised text match there.
  private let normalizedContents: [Int32: [UInt8]]
  /// Looked for in the text as it came, and in the normalised text.
  private let rawMatcher: AddedTokenMatcher
  private let normalizedMatcher: AddedTokenMatcher
  /// One for each thread that ever encoded at the same time as others.
  private let scratches = Mutex<[BPEScratch]>([])

  init(
    model: BPEModel, normalizer: Normalizer?, preTokenizer: PreTokenizer?, decoder: TokenDecoder,
    frame: TokenFrame, added: [AddedToken]
  ) {
    self.model = model
    self.normalizer = normalizer
    self.preTokenizer = preTokenizer
    self.decoder = decoder
    self.frame = frame
    vocabularySize = max(model.vocabulary.spellings.count, added.reduce(0) { max($0, Int($1.id) + 1) })
    self.added = Dictionary(added.map { ($0.id, $0) }, uniquingKeysWith: { _, last in last })
    addedIDs = Dictionary(
      added.map { (Array($0.content.utf8), $0.id) }, uniquingKeysWith: { first, _ in first })
    rawMatcher = AddedTokenMatcher(added.filter { !$0.isNormalized }.map { ($0, Array($0.content.utf8)) })
    let normalized = added.filter(\.isNormalized).map { token in
      var text = AlignedText(Array(token.content.utf8), base: 0, tracksSource: false)
      normalizer?.apply(to: &text)
      return (token, text.bytes)
    }
    normalizedMatcher = AddedTokenMatcher(normalized)
    normalizedContents = Dictionary(normalized.map { ($0.id, $1) }, uniquingKeysWith: { _, last in last })
  }

  // MARK: - Encoding

  func encode(_ text: String, addsFrame: Bool, tracksRanges: Bool) -> TokenOutput {
    let bytes = Array(text.utf8)
    var output = TokenOutput(tracksRanges: tracksRanges)
    output.ids.reserveCapacity(bytes.count / 3 + 4)
    if addsFrame { for id in frame.prefix { output.append(id, 0..<0) } }
    var scratch = scratches.withLock { $0.popLast() } ?? BPEScratch()
    var at = 0
    for match in rawMatcher.matches(in: bytes, 0..<bytes.count) {
      encodeSegment(bytes, at..<match.range.lowerBound, &scratch, &output)
      output.append(match.id, match.range)
      at = match.range.upperBound
    }
    encodeSegment(bytes, at..<bytes.count, &scratch, &output)
    scratches.withLock { $0.append(scratch) }
    if addsFrame { for id in frame.suffix { output.append(id, bytes.count..<bytes.count) } }
    return output
  }

  /// Encodes the part of a text between two added tokens.
  private func encodeSegment(
    _ bytes: [UInt8], _ range: Range<Int>, _ scratch: inout BPEScratch, _ output: inout TokenOutput
  ) {
    if range.isEmpty { return }
    guard let normalizer else {
      let text = AlignedText(bytes, base: 0, tracksSource: output.tracksRanges)
      encodeNormalized(text, range, &scratch, &output)
      return
    }
    var text = AlignedText(
      Array(bytes[range]), base: range.lowerBound, tracksSource: output.tracksRanges)
    normalizer.apply(to: &text)
    encodeNormalized(text, 0..<text.bytes.count, &scratch, &output)
  }

  private func encodeNormalized(
    _ text: AlignedText, _ range: Range<Int>, _ scratch: inout BPEScratch, _ output: inout TokenOutput
  ) {
    var at = range.lowerBound
    if !normalizedMatcher.isEmpty {
      for match in normalizedMatcher.matches(in: text.bytes, range) {
        encodeWords(text, at..<match.range.lowerBound, &scratch, &output)
        output.append(match.id, output.tracksRanges ? text.source(of: match.range) : match.range)
        at = match.range.upperBound
      }
    }
    encodeWords(text, at..<range.upperBound, &scratch, &output)
  }

  private func encodeWords(
    _ text: AlignedText, _ range: Range<Int>, _ scratch: inout BPEScratch, _ output: inout TokenOutput
  ) {
    if range.isEmpty { return }
    var state = PreTokenizer.State(text: text, pieces: [range])
    preTokenizer?.apply(to: &state)
    if let boundary = model.safeBoundary { state.pieces = split(state, before: boundary) }
    let first = output.ids.count
    for piece in state.pieces { model.encode(state.text.bytes, piece, &scratch, &output) }
    guard output.tracksRanges else { return }
    for place in first..<output.ids.count {
      output.ranges[place] = state.text.source(of: output.ranges[place])
    }
  }

  /// Cuts pieces before each `mark` that follows something else, so that words are short and recur.
  private func split(_ state: PreTokenizer.State, before mark: [UInt8]) -> [Range<Int>] {
    let bytes = state.text.bytes
    var pieces: [Range<Int>] = []
    for piece in state.pieces {
      var start = piece.lowerBound
      var at = start
      var follows = true
      while at < piece.upperBound {
        let isMark =
          bytes[at] == mark[0] && at + mark.count <= piece.upperBound
          && bytes[at..<at + mark.count].elementsEqual(mark)
        if isMark, !follows {
          pieces.append(start..<at)
          start = at
        }
        follows = isMark
        at += isMark ? mark.count : 1
      }
      if start < piece.upperBound { pieces.append(start..<piece.upperBound) }
    }
    return pieces
  }

  // MARK: - Tokens

  func isSpecial(_ id: Int32) -> Bool { added[id]?.isSpecial ?? false }

  func id(of token: String) -> Int32? {
    if let id = addedIDs[Array(token.utf8)] { return id }
    var buffer: [UInt8] = []
    return model.vocabulary.id(ofSpelling: token, buffer: &buffer)
  }

  func spelling(of id: Int32) -> String? {
    if let token = added[id] { return token.content }
    let spellings = model.vocabulary.spellings
    guard id >= 0, Int(id) < spellings.count, !spellings.range(Int(id)).isEmpty else { return nil }
    return String(decoding: spellings[Int(id)], as: UTF8.self)
  }

  /// The bytes of a token, decoded; nil for an id that no token has.
  func bytes(of id: Int32, isFirst: Bool) -> [UInt8]? {
    if let content = normalizedContents[id] { return decoder.bytes(of: content, isFirst: isFirst) }
    guard let spelling = spelling(of: id) else { return nil }
    return decoder.bytes(of: spelling.utf8, isFirst: isFirst)
  }
}

/// The tokens that the model's template puts around a text.
struct TokenFrame: Sendable {
  var prefix: [Int32] = []
  var suffix: [Int32] = []
}
