import Models
import Text

/// Sequences of random tokens, of lengths that make batches of several sequences, of few, and a last update of fewer
/// micro-batches than the others.
struct RandomTexts {
  static let rowLength = 160
  static let rowsPerBatch = 2
  /// Five or six rows packed, three micro-batches; unpacked, six.
  private static let lengths = [150, 64, 90, 5, 47, 2, 110, 21, 33, 160, 11, 75]

  let sequences: [[Int32]]
  private let seed: UInt64

  init(vocabulary: Int, seed: UInt64) {
    var random = RandomStream(seed: seed, "texts")
    sequences = Self.lengths.map { length in
      (0..<length).map { _ in Int32.random(in: 0..<Int32(vocabulary), using: &random) }
    }
    self.seed = seed
  }

  func plan(isPacked: Bool) -> BatchPlan {
    BatchPlan(
      TokenizedDataset(sequences: sequences), batchSize: Self.rowsPerBatch, rowLength: Self.rowLength,
      isPacked: isPacked, order: .shuffled(seed: seed), paddingID: 0)
  }

  /// Some of the sequences, together in one row.
  var together: PackedBatch { batch(some) }

  /// The same, each in a row of its own.
  var apart: [PackedBatch] { some.map { batch([$0]) } }

  /// Short ones, that leave some of a row.
  private var some: [[Int32]] { sequences.filter { $0.count < 50 } }

  private func batch(_ sequences: [[Int32]]) -> PackedBatch {
    PackedBatch(
      sequences.map { tokens in (tokens, tokens.indices.map { $0 > 0 }) }, length: Self.rowLength,
      paddingID: 0)
  }
}
