import Basics

/// Turns a row into token ids, each with whether the loss counts it.
public struct RowEncoder: Sendable {
  private let renderer: RowRenderer
  private let tokenizer: Tokenizer
  private let options: DatasetOptions

  /// - Parameters:
  ///   - format: how columns become text; it goes before `options.format`.
  ///   - chatTemplate: needed for chats; prompts with completions become chats where there is one.
  /// - Throws: `.invalidConfiguration`.
  public init(
    format: RowFormat, tokenizer: Tokenizer, chatTemplate: ChatTemplate?, options: DatasetOptions
  ) throws(SwiftletError) {
    try options.validate()
    renderer = try RowRenderer(
      format: format, tokenizer: tokenizer, chatTemplate: chatTemplate, options: options)
    self.tokenizer = tokenizer
    self.options = options
  }

  /// An encoder for the rows of `file`, in the format that `options` name or its first rows show.
  ///
  /// - Throws: `.invalidData` when the columns are not known ones, naming them.
  public init(
    for file: DataFile, tokenizer: Tokenizer, chatTemplate: ChatTemplate?, options: DatasetOptions
  ) throws(SwiftletError) {
    var format = options.format
    if format == nil, file.count > 0 {
      let rows = try (0..<min(file.count, 8)).map { index throws(SwiftletError) in try file.row(index) }
      format = RowFormat.recognise(rows)
      if format == nil { throw RowFormat.unrecognised(rows[0].keys, in: file.path) }
    }
    // A file without rows gets an encoder that is never asked.
    try self.init(
      format: format ?? .text(column: "text"), tokenizer: tokenizer, chatTemplate: chatTemplate,
      options: options)
  }

  /// A row's tokens before they are cut to length.
  struct Encoded {
    var text: MarkedText
    var tokens: [Int32]
    /// Whether the loss counts the token; never for the first, which nothing predicts.
    var isTrained: [Bool]
    /// The bytes of the text that each token stands for; empty for a token that was added.
    var ranges: [Range<Int>]
  }

  /// The tokens of a row; nil when it holds nothing to learn from.
  func encode(_ row: JSON.Object) throws(SwiftletError) -> Encoded? {
    guard let text = try renderer.render(row) else { return nil }
    var (tokens, ranges) = tokenizer.encodeWithOffsets(text.text, addSpecialTokens: !text.isChat)
    let end = text.text.utf8.count
    if !text.isChat, options.appendsEOS, let eos = tokenizer.eosToken, tokens.last != eos.id {
      tokens.append(eos.id)
      ranges.append(end..<end)
    }
    return Encoded(
      text: text, tokens: tokens, isTrained: Self.flags(ranges, text.trained, end: end), ranges: ranges)
  }

  /// Whether each token holds a byte of a span, as transformers' `assistant_masks` has it: a token " The" that also
  /// holds the prompt's last space is the response's first. A token added at the end counts when the text before it
  /// does.
  private static func flags(_ tokens: [Range<Int>], _ spans: [Range<Int>], end: Int) -> [Bool] {
    var flags = [Bool](repeating: false, count: tokens.count)
    var span = spans[...]
    for (index, token) in tokens.enumerated().dropFirst() {
      if token.lowerBound == end {
        flags[index] = spans.last?.upperBound == end
        continue
      }
      while let first = span.first, first.upperBound <= token.lowerBound { span.removeFirst() }
      // A token without bytes (a space the tokenizer put in) counts where it stands.
      let tokenEnd = max(token.upperBound, token.lowerBound + 1)
      flags[index] = span.first.map { $0.lowerBound < tokenEnd } ?? false
    }
    return flags
  }
}

/// What a row looks like to the model, for people.
public struct RowPreview: Sendable, Equatable {
  /// What becomes of a piece of text in training.
  public enum Fate: Sendable {
    /// The model reads it.
    case context
    /// The model reads it and the loss counts it.
    case trained
    /// It stands behind the last token that fits.
    case cut
  }

  public struct Piece: Sendable, Equatable {
    public let text: String
    public let fate: Fate
  }

  /// The row's text from its beginning to its end.
  public let pieces: [Piece]
  /// The tokens of the row, those that are cut included.
  public let tokenCount: Int
  /// The tokens that the loss counts.
  public let trainedCount: Int
}

extension RowEncoder {
  /// The text of a row in pieces; nil when it holds nothing to learn from.
  public func preview(_ row: JSON.Object) throws(SwiftletError) -> RowPreview? {
    guard let row = try encode(row) else { return nil }
    let utf8 = Array(row.text.text.utf8)
    var pieces: [RowPreview.Piece] = []
    var bytes: [UInt8] = []
    for token in row.tokens.indices {
      // What the tokenizer leaves out between two tokens is shown with the first of them.
      let start = token == 0 ? 0 : row.ranges[token].lowerBound
      let isLast = token == row.tokens.count - 1
      let end = isLast ? utf8.count : row.ranges[token + 1].lowerBound
      // A token that was added has no text of its own to show.
      let id = row.tokens[token]
      if row.ranges[token].isEmpty, tokenizer.isSpecial(id) { bytes += (tokenizer.token(of: id) ?? "").utf8 }
      if start < end { bytes += utf8[start..<end] }
      let fate = fate(of: token, row)
      if isLast || self.fate(of: token + 1, row) != fate {
        pieces.append(.init(text: String(decoding: bytes, as: UTF8.self), fate: fate))
        bytes = []
      }
    }
    let kept = row.isTrained.prefix(options.maxSequenceLength)
    return RowPreview(
      pieces: pieces, tokenCount: row.tokens.count, trainedCount: kept.count(where: { $0 }))
  }

  private func fate(of token: Int, _ row: Encoded) -> RowPreview.Fate {
    if token >= options.maxSequenceLength { return .cut }
    return row.isTrained[token] ? .trained : .context
  }
}
