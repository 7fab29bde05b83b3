import Basics

/// Token sequences with, for each token, whether the loss counts it.
///
/// All sequences stand one after another in flat arrays: five bytes a token.
public struct TokenizedDataset: Sendable, Equatable {
  /// The tokens of all sequences. `(tokens)`
  public internal(set) var tokens: [Int32] = []
  /// Whether the loss counts the token; never a sequence's first, which nothing predicts. `(tokens)`
  public internal(set) var isTrained: [Bool] = []
  /// Where each sequence begins in `tokens`, and where the last ends. `(sequences + 1)`
  public internal(set) var starts: [Int] = [0]
  public internal(set) var statistics = Statistics()

  /// What became of the rows.
  public struct Statistics: Sendable, Equatable, Codable {
    /// Rows read.
    public var rows = 0
    /// Rows left out because they hold nothing to learn from: no response, no text.
    public var empty = 0
    /// Rows left out because they are longer than `maxSequenceLength`.
    public var dropped = 0
    /// Rows left out because the loss would count none of their tokens, in what truncation left of them.
    public var untrainable = 0
    /// Rows kept of which the end was cut.
    public var truncated = 0
    /// Rows kept.
    public var sequences = 0
    /// Tokens of the rows kept.
    public var tokens = 0
    /// Tokens of the rows kept that the loss counts.
    public var trainedTokens = 0
    /// Tokens of the longest row, before any was cut.
    public var longest = 0
  }

  init() {}

  /// Sequences that are tokens already; all of their tokens are trained but the first, which nothing predicts.
  public init(sequences: [[Int32]]) {
    self.init()
    for sequence in sequences {
      tokens += sequence
      isTrained += sequence.indices.map { $0 > 0 }
      starts.append(tokens.count)
    }
    statistics.rows = sequences.count
    statistics.sequences = sequences.count
    statistics.tokens = tokens.count
    statistics.trainedTokens = isTrained.count { $0 }
    statistics.longest = sequences.map(\.count).max() ?? 0
  }

  /// The number of sequences.
  public var count: Int { starts.count - 1 }

  /// The place of sequence `index` in `tokens` and `isTrained`.
  public subscript(index: Int) -> Range<Int> { starts[index]..<starts[index + 1] }

  /// The number of tokens of each sequence.
  public var lengths: [Int] { zip(starts, starts.dropFirst()).map { $1 - $0 } }

  /// Appends a row's tokens, cut to `limit`, or counts why not.
  mutating func append(_ row: RowEncoder.Encoded?, limit: Int, _ longSequences: DatasetOptions.LongSequences)
  {
    statistics.rows += 1
    guard let row else {
      statistics.empty += 1
      return
    }
    statistics.longest = max(statistics.longest, row.tokens.count)
    let isLong = row.tokens.count > limit
    if isLong, longSequences == .drop {
      statistics.dropped += 1
      return
    }
    let flags = row.isTrained.prefix(limit)
    let trainedCount = flags.count(where: { $0 })
    if trainedCount == 0 {
      statistics.untrainable += 1
      return
    }
    if isLong { statistics.truncated += 1 }
    tokens += row.tokens.prefix(limit)
    isTrained += flags
    starts.append(tokens.count)
    statistics.sequences += 1
    statistics.tokens += flags.count
    statistics.trainedTokens += trainedCount
  }

  /// Appends the sequences of another data set behind one's own.
  mutating func append(_ other: TokenizedDataset) {
    let base = tokens.count
    tokens += other.tokens
    isTrained += other.isTrained
    starts += other.starts.dropFirst().lazy.map { $0 + base }
    statistics.add(other.statistics)
  }
}

extension TokenizedDataset.Statistics {
  mutating func add(_ other: Self) {
    rows += other.rows
    empty += other.empty
    dropped += other.dropped
    untrainable += other.untrainable
    truncated += other.truncated
    sequences += other.sequences
    tokens += other.tokens
    trainedTokens += other.trainedTokens
    longest = max(longest, other.longest)
  }
}

// MARK: - Parts of a data set

extension TokenizedDataset {
  /// Parts the sequences at random into those to train on and those to evaluate on; both keep their order.
  ///
  /// - Parameter evaluationFraction: the share of sequences, 0 to 1, rounded to a whole number.
  public func split(evaluationFraction: Double, seed: UInt64) -> (
    training: TokenizedDataset, evaluation: TokenizedDataset
  ) {
    precondition((0...1).contains(evaluationFraction))
    let held = Int((Double(count) * evaluationFraction).rounded())
    var isHeld = [Bool](repeating: false, count: count)
    for index in permutation(of: count, seed: seed, stream: .split).prefix(held) { isHeld[Int(index)] = true }
    return (selecting { !isHeld[$0] }, selecting { isHeld[$0] })
  }

  private func selecting(_ isWanted: (Int) -> Bool) -> TokenizedDataset {
    var part = TokenizedDataset()
    for index in 0..<count where isWanted(index) {
      let flags = isTrained[self[index]]
      part.tokens += tokens[self[index]]
      part.isTrained += flags
      part.starts.append(part.tokens.count)
      part.statistics.trainedTokens += flags.count(where: { $0 })
      part.statistics.longest = max(part.statistics.longest, flags.count)
    }
    part.statistics.rows = part.count
    part.statistics.sequences = part.count
    part.statistics.tokens = part.tokens.count
    return part
  }

  /// A bar of a histogram of lengths.
  public struct LengthBucket: Sendable, Equatable {
    /// Lengths in tokens.
    public let lengths: ClosedRange<Int>
    /// Sequences of such a length.
    public let count: Int
  }

  /// How many sequences are how long, in at most `count` buckets of equal width up to the longest.
  public func lengthHistogram(buckets count: Int = 10) -> [LengthBucket] {
    precondition(count > 0)
    let lengths = lengths
    guard let longest = lengths.max() else { return [] }
    let width = (longest + count - 1) / count
    var counts = [Int](repeating: 0, count: (longest + width - 1) / width)
    for length in lengths { counts[(length - 1) / width] += 1 }
    return counts.enumerated().map { index, count in
      LengthBucket(lengths: index * width + 1...(index + 1) * width, count: count)
    }
  }
}
