import Foundation
import Testing

@testable import Text

@Suite struct PackingTests {
  /// Lengths as chat data has them: log-normal around 400 tokens, cut at the capacity.
  static func chatLengths(_ count: Int, capacity: Int, seed: UInt64 = 1) -> [Int] {
    let random = Philox(seed: seed, stream: .split)
    return (0..<UInt64(count)).map { index in
      // The sum of 12 uniform numbers less 6 is nearly normal.
      let sum = (0..<12).map { Double(random[index * 12 + $0] >> 11) / 0x1p53 }.reduce(0, +)
      return min(capacity, max(8, Int(400 * exp(0.9 * (sum - 6)))))
    }
  }

  @Test(arguments: [(512, 1000), (2048, 20_000), (4096, 5000), (100_000, 3000)])
  func keepsCapacityAndEverySequenceOnce(capacity: Int, count: Int) {
    let lengths = Self.chatLengths(count, capacity: capacity)
    let packing = Packing(lengths: lengths, capacity: capacity, seed: 3)
    var seen = [Int](repeating: 0, count: count)
    for row in 0..<packing.count {
      #expect(!packing[row].isEmpty)
      #expect(packing[row].reduce(0) { $0 + lengths[Int($1)] } <= capacity)
      for sequence in packing[row] { seen[Int(sequence)] += 1 }
    }
    #expect(seen.allSatisfy { $0 == 1 })
    #expect(packing.efficiency >= (capacity > 10_000 ? 0.9 : 0.98))
    #expect(Packing(lengths: lengths, capacity: capacity, seed: 3) == packing)
    let other = Packing(lengths: lengths, capacity: capacity, seed: 4)
    #expect(other != packing)
    #expect(other.count == packing.count)
  }

  @Test func choosesTheTightestRow() {
    // 6 and 5 open rows with room 4 and 5; 4 goes where it leaves none, the second 4 to the other, 1 behind it.
    let packing = Packing(lengths: [4, 1, 6, 4, 5], capacity: 10, seed: 0)
    #expect(packing.count == 2)
    #expect(packing[0].first == 2)
    #expect(packing[1].first == 4)
    #expect(packing[1].last == 1)
    #expect(packing.efficiency == 1)
  }

  @Test(arguments: [[Int](), [1], [64], [64, 64, 1], [63, 1, 64], Array(repeating: 33, count: 5)])
  func packsEdgeCases(lengths: [Int]) {
    let packing = Packing(lengths: lengths, capacity: 64, seed: 0)
    let rows = (0..<packing.count).map { packing[$0].map { lengths[Int($0)] }.sorted(by: >) }
    let expected = [
      [], [[1]], [[64]], [[64], [64], [1]], [[64], [63, 1]], Array(repeating: [33], count: 5),
    ]
    #expect(expected.contains(rows))
    #expect(rows.flatMap { $0 }.sorted() == lengths.sorted())
  }

  @Test func shiftsLabelsWithinSequences() {
    var dataset = TokenizedDataset(lengths: [3, 4])
    dataset.isTrained = [false, true, true, false, false, true, true]
    let plan = BatchPlan(
      dataset, batchSize: 1, rowLength: 9, isPacked: true, order: .fixed, paddingID: 77)
    #expect(plan.batchesPerEpoch == 1)
    let batch = plan.epoch(0)[0]
    #expect(batch.inputIDs == [3, 4, 5, 6, 0, 1, 2, 77, 77])
    #expect(batch.labels == [-100, 5, 6, -100, 1, 2, -100, -100, -100])
    #expect(batch.positions == [0, 1, 2, 3, 0, 1, 2, 0, 1])
    #expect(batch.sequenceStarts == [0, 4, 7, 9])
    #expect(batch.tokenCount == 7)
    #expect(batch.labelCount == 4)
    #expect(batch.longestSequence == 4)
  }

  @Test func fillsTheLastBatchWithPadding() {
    let plan = BatchPlan(
      TokenizedDataset(lengths: [3, 4, 2]), batchSize: 2, rowLength: 4, isPacked: false, order: .fixed,
      paddingID: 0)
    let epoch = plan.epoch(0)
    #expect(epoch.count == 2)
    #expect(epoch[0].sequenceStarts == [0, 3, 4, 8])
    #expect(epoch[1].sequenceStarts == [0, 2, 4, 8])
    #expect(epoch[1].inputIDs == [7, 8, 0, 0, 0, 0, 0, 0])
    #expect(epoch[1].labels == [8] + Array(repeating: -100, count: 7))
  }

  @Test(arguments: [true, false])
  func epochsAreShuffledAndWhole(isPacked: Bool) {
    let dataset = TokenizedDataset(lengths: Self.chatLengths(300, capacity: 512))
    let plan = BatchPlan(
      dataset, batchSize: 3, rowLength: 512, isPacked: isPacked, order: .shuffled(seed: 9), paddingID: 0)
    let epochs = (0..<3).map { number in (0..<plan.batchesPerEpoch).map { plan.epoch(number)[$0] } }
    for batches in epochs {
      #expect(batches.reduce(0) { $0 + $1.tokenCount } == dataset.tokens.count)
      #expect(batches.reduce(0) { $0 + $1.labelCount } == dataset.statistics.trainedTokens)
      // Tokens are numbered through: every label is the successor of its input, and stands once.
      let labels = batches.flatMap { batch in
        zip(batch.inputIDs, batch.labels).compactMap { input, label in
          #expect(label == -100 || label == input + 1)
          return label == -100 ? nil : label
        }
      }
      #expect(Set(labels).count == dataset.statistics.trainedTokens)
      #expect(batches.allSatisfy { $0.inputIDs.count == 3 * 512 })
      #expect(batches.allSatisfy { $0.sequenceStarts.count - 1 <= plan.mostSequences })
    }
    #expect(epochs[0] != epochs[1])
    #expect(epochs[1] != epochs[2])

    // A plan made anew gives the same batch at once, whichever it is asked for first.
    let resumed = BatchPlan(
      dataset, batchSize: 3, rowLength: 512, isPacked: isPacked, order: .shuffled(seed: 9), paddingID: 0)
    #expect(resumed.epoch(2)[5] == epochs[2][5])
    let fixed = BatchPlan(
      dataset, batchSize: 3, rowLength: 512, isPacked: isPacked, order: .fixed, paddingID: 0)
    #expect(fixed.epoch(0)[1] == fixed.epoch(1)[1])
  }

  @Test func splitsOffAnEvaluationSet() {
    let dataset = TokenizedDataset(lengths: Self.chatLengths(200, capacity: 512))
    let (training, evaluation) = dataset.split(evaluationFraction: 0.1, seed: 5)
    #expect(evaluation.count == 20)
    #expect((training.tokens + evaluation.tokens).sorted() == dataset.tokens)
    #expect(training.statistics.tokens == training.tokens.count)
    #expect(
      training.statistics.trainedTokens + evaluation.statistics.trainedTokens
        == dataset.statistics.trainedTokens)
    #expect(dataset.split(evaluationFraction: 0.1, seed: 5).evaluation == evaluation)
    #expect(dataset.split(evaluationFraction: 0.1, seed: 6).evaluation != evaluation)
    #expect(training.tokens == training.tokens.sorted())
  }

  @Test func drawsTheLengthHistogram() {
    let histogram = TokenizedDataset(lengths: [1, 10, 11, 95, 100]).lengthHistogram(buckets: 10)
    #expect(histogram.map(\.count) == [2, 1, 0, 0, 0, 0, 0, 0, 0, 2])
    #expect(histogram[9].lengths == 91...100)
    #expect(TokenizedDataset(lengths: [3]).lengthHistogram().map(\.count) == [0, 0, 1])
    #expect(TokenizedDataset().lengthHistogram().isEmpty)
  }

  /// Known answers of the authors' test suite (Random123, kat_vectors).
  @Test func countsAsPhilox() {
    #expect(Philox.block(.zero, .zero) == SIMD4(0x6627_E8D5, 0xE169_C58D, 0xBC57_AC4C, 0x9B00_DBD8))
    let ones = UInt32.max
    #expect(
      Philox.block(SIMD4(repeating: ones), SIMD2(repeating: ones))
        == SIMD4(0x408F_276D, 0x41C8_3B0E, 0xA20B_C7C6, 0x6D54_51FD))
  }
}
