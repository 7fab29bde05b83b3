/// A micro-batch: B rows of exactly T tokens, laid out as one line of B·T.
///
/// Sequences stand one behind another; attention stays inside each of them. What a row has left is padding: a sequence
/// of its own without labels.
public struct PackedBatch: Sendable, Equatable {
  /// The label of a token that the loss does not count (PyTorch's `ignore_index`).
  public static let ignoredLabel: Int32 = -100

  /// Token ids. `(B·T)`
  public private(set) var inputIDs: [Int32]
  /// The token that comes next in the same sequence where the loss counts it, else `ignoredLabel`. `(B·T)`
  public private(set) var labels: [Int32]
  /// Positions within a sequence, from 0. `(B·T)`
  public private(set) var positions: [Int32]
  /// Where each sequence begins, padding included, and B·T at the end (`cu_seqlens`). `(sequences + 1)`
  public private(set) var sequenceStarts: [Int32] = [0]
  /// Tokens that are no padding.
  public private(set) var tokenCount = 0
  /// Labels that the loss counts.
  public private(set) var labelCount = 0
  /// Tokens of the longest sequence, padding included.
  public private(set) var longestSequence = 0

  /// The rows of a packing with the given indices; a row nil is all padding.
  init(
    _ dataset: TokenizedDataset, _ packing: Packing, rows: [Int?], paddingID: Int32
  ) {
    let size = rows.count * packing.capacity
    self.init(padding: size, paddingID)
    for (index, row) in rows.enumerated() {
      var at = index * packing.capacity
      if let row {
        for sequence in packing[row] {
          let place = dataset[Int(sequence)]
          append(dataset.tokens[place], dataset.isTrained[place], &at)
        }
      }
      let end = (index + 1) * packing.capacity
      if at < end { close(at..<end) }
    }
  }

  /// Sequences of the caller's as a batch of one row, whose rest is padding.
  ///
  /// - Parameters:
  ///   - sequences: tokens, and for each of them whether the loss counts it; never the first, which nothing predicts.
  ///   - length: T, at least the sequences' sum.
  public init(_ sequences: [(tokens: [Int32], isTrained: [Bool])], length: Int, paddingID: Int32) {
    self.init(padding: length, paddingID)
    var at = 0
    for (tokens, isTrained) in sequences {
      precondition(tokens.count == isTrained.count && at + tokens.count <= length)
      append(tokens[...], isTrained[...], &at)
    }
    if at < length { close(at..<length) }
  }

  private init(padding size: Int, _ paddingID: Int32) {
    inputIDs = Array(repeating: paddingID, count: size)
    labels = Array(repeating: Self.ignoredLabel, count: size)
    positions = Array(repeating: 0, count: size)
  }

  private mutating func append(_ tokens: ArraySlice<Int32>, _ isTrained: ArraySlice<Bool>, _ at: inout Int) {
    let place = at..<at + tokens.count
    for (target, (token, isTrained)) in zip(place, zip(tokens, isTrained)) {
      inputIDs[target] = token
      if target > place.lowerBound, isTrained {
        labels[target - 1] = token
        labelCount += 1
      }
    }
    tokenCount += tokens.count
    close(place)
    at = place.upperBound
  }

  /// Numbers the positions of a sequence, or of padding, and notes its end.
  private mutating func close(_ place: Range<Int>) {
    for at in place { positions[at] = Int32(at - place.lowerBound) }
    sequenceStarts.append(Int32(place.upperBound))
    longestSequence = max(longestSequence, place.count)
  }
}
