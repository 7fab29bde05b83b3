/// The split patterns that most byte-level vocabularies were trained with, each with a scanner of its own.
///
/// A general regular-expression engine takes most of the time of tokenising; these scanners take almost none.
enum WordPattern: Sendable, Hashable, CaseIterable {
  case gpt2
  /// Llama 3, GLM 4, DBRX: OpenAI's cl100k as Hugging Face writes it.
  case llama3
  case qwen2
  case qwen35
  /// GPT-4o, GPT-OSS, Llama 4: OpenAI's o200k.
  case o200k
  /// Mistral's Tekken.
  case tekken

  init?(regex: String) {
    guard let known = Self.allCases.first(where: { $0.regex == regex }) else { return nil }
    self = known
  }

  /// The pattern as tokenizer.json spells it.
  var regex: String {
    let contraction = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
    let rest = #"|\s*[\r\n]+|\s+(?!\S)|\s+"#
    let prefix = #"[^\r\n\p{L}\p{N}]?"#
    let upper = #"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"#
    let lower = #"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"#
    return switch self {
    case .gpt2: #"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#
    case .llama3:
      contraction + "|" + prefix + #"\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"# + rest
    case .qwen2:
      contraction + "|" + prefix + #"\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"# + rest
    case .qwen35:
      contraction + "|" + prefix + #"[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"# + rest
    case .o200k:
      prefix + upper + "*" + lower + "+" + contraction + "?|" + prefix + upper + "+" + lower + "*"
        + contraction + #"?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*"# + rest
    case .tekken:
      prefix + upper + "*" + lower + "+|" + prefix + upper + "+" + lower + "*"
        + #"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*"# + rest
    }
  }

  /// Most digits in one piece.
  private var longestNumber: Int {
    switch self {
    case .gpt2: .max
    case .llama3, .o200k: 3
    case .qwen2, .qwen35, .tekken: 1
    }
  }

  /// Appends the pieces of `bytes[range]`; together they cover it.
  func split(_ bytes: [UInt8], _ range: Range<Int>, into pieces: inout [Range<Int>]) {
    let scanner = WordScanner(bytes: bytes, end: range.upperBound)
    var at = range.lowerBound
    while at < range.upperBound {
      let end =
        switch self {
        case .gpt2: gpt2Piece(scanner, at)
        case .llama3, .qwen2, .qwen35: wordPiece(scanner, at)
        case .o200k, .tekken: casedPiece(scanner, at)
        }
      pieces.append(at..<end)
      at = end
    }
  }

  // MARK: - One piece; the alternatives in the order of the pattern

  private func gpt2Piece(_ scan: WordScanner, _ start: Int) -> Int {
    if let end = scan.contraction(start, ignoringCase: false) { return end }
    var (kind, next) = scan.kind(start)
    if scan.bytes[start] == UInt8(ascii: " "), next < scan.end {
      let following = scan.kind(next)
      if !following.kind.isWhitespace { (kind, next) = following }
    }
    if kind.isWhitespace { return scan.whitespace(start) }
    if kind.isLetter { return scan.run(next) { $0.isLetter } }
    if kind == .number { return scan.run(next) { $0 == .number } }
    return scan.run(next) { $0 == .mark || $0 == .other }
  }

  private func wordPiece(_ scan: WordScanner, _ start: Int) -> Int {
    if let end = scan.contraction(start, ignoringCase: true) { return end }
    let withMarks = self == .qwen35
    let isWord = { @Sendable (kind: ScalarKind) in kind.isLetter || withMarks && kind == .mark }
    let (kind, next) = scan.kind(start)
    if isWord(kind) { return scan.run(next, while: isWord) }
    if kind != .newline, kind != .number, next < scan.end {
      let following = scan.kind(next)
      if isWord(following.kind) { return scan.run(following.next, while: isWord) }
    }
    return numberPunctuationOrSpace(scan, start, kind, next) {
      $0 == .other || $0 == .mark && !withMarks
    }
  }

  private func casedPiece(_ scan: WordScanner, _ start: Int) -> Int {
    let (kind, next) = scan.kind(start)
    let isPrefix = !kind.isLetter && kind != .number && kind != .newline
    var word: Int?
    if isPrefix { word = scan.lowerEnding(next) }
    word = word ?? scan.lowerEnding(start)
    if word == nil, isPrefix { word = scan.upperRun(next) }
    word = word ?? scan.upperRun(start)
    if let word {
      return self == .o200k ? scan.contraction(word, ignoringCase: true) ?? word : word
    }
    return numberPunctuationOrSpace(scan, start, kind, next) { $0 == .other || $0 == .mark }
  }

  /// What the newer patterns share: `\p{N}{1,n}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`.
  private func numberPunctuationOrSpace(
    _ scan: WordScanner, _ start: Int, _ kind: ScalarKind, _ next: Int, isPunctuation: (ScalarKind) -> Bool
  ) -> Int {
    if kind == .number { return scan.run(next, atMost: longestNumber - 1) { $0 == .number } }
    var symbols: Int?
    if isPunctuation(kind) {
      symbols = next
    } else if scan.bytes[start] == UInt8(ascii: " "), next < scan.end {
      let following = scan.kind(next)
      if isPunctuation(following.kind) { symbols = following.next }
    }
    guard let symbols else { return scan.lines(start) ?? scan.whitespace(start) }
    let end = scan.run(symbols, while: isPunctuation)
    let takesSlashes = self == .o200k || self == .tekken
    return scan.bytesRun(end) { $0 == 0x0A || $0 == 0x0D || takesSlashes && $0 == UInt8(ascii: "/") }
  }
}
