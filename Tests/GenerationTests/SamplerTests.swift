import Basics
import Compute
import Foundation
import Testing

@testable import Generation

@Suite struct SamplerTests {
  /// log of 0.4, 0.3, 0.2, 0.06, 0.04, out of order.
  static let probabilities: [Double] = [0.2, 0.04, 0.4, 0.06, 0.3]
  static let logits = probabilities.map { Float(log($0)) }

  /// A token for each of `positions`, of the same logits.
  func draws(_ options: SamplingOptions, _ logits: [Float], positions: Range<Int>) throws -> [Int32] {
    let (n, V) = (positions.count, logits.count)
    let cpu = try CPU(threads: 1)
    let memory = try cpu.allocate(bytes: 4 * n * (V + SamplingColumn.count + 6))
    let rows = Tensor(memory, rows: n, columns: V, dtype: .f32)
    let numbers = Tensor(memory, offset: 4 * n * V, rows: n, columns: SamplingColumn.count, dtype: .f32)
    let seeds = Tensor(memory, offset: 4 * n * (V + SamplingColumn.count), rows: n, columns: 4, dtype: .i32)
    let out = Tensor(memory, offset: 4 * n * (V + SamplingColumn.count + 4), rows: 2, columns: n, dtype: .f32)
    let words = positions.map { position in
      let sequence = TokenSequence(
        GenerationRequest([0], GenerationOptions(sampling: options)), number: 1, adapter: 0,
        AnswerText(GenerationOptions(), nil)
      ) { _ in }
      var (numbers, seed) = sequence.samplingWords
      seed[2] = Int32(position)
      return (numbers, seed)
    }
    _ = rows.hostFloats.update(fromContentsOf: (0..<n).flatMap { _ in logits })
    _ = numbers.hostFloats.update(
      fromContentsOf: words.flatMap { $0.0.map { Float(bitPattern: UInt32(bitPattern: $0)) } })
    _ = seeds.hostInts.update(fromContentsOf: words.flatMap(\.1))
    let tokens = Tensor(
      memory, offset: 4 * n * (V + SamplingColumn.count + 4), rows: 1, columns: n, dtype: .i32)
    try Step.runOnce(on: cpu) { s in
      s.sample(rows, numbers: numbers, seeds: seeds, tokens: tokens, logProbabilities: out.rows(1..<2))
    }
    return withExtendedLifetime(memory) { Array(tokens.hostInts) }
  }

  /// How often each token comes in `count` draws.
  func counts(
    _ options: SamplingOptions, _ logits: [Float] = logits, draws count: Int = 20_000
  ) throws -> [Int] {
    var counts = [Int](repeating: 0, count: logits.count)
    for token in try draws(options, logits, positions: 0..<count) { counts[Int(token)] += 1 }
    return counts
  }

  /// Pearson's chi-squared over its degrees of freedom; about 1 when the counts come from `expected`.
  func chiSquared(_ counts: [Int], _ expected: [Double]) -> Double {
    let draws = Double(counts.reduce(0, +)), total = expected.reduce(0, +)
    let terms = zip(counts, expected).filter { $1 > 0 }.map { count, p in
      let mean = draws * p / total
      return (Double(count) - mean) * (Double(count) - mean) / mean
    }
    return terms.reduce(0, +) / Double(max(1, terms.count - 1))
  }

  @Test(arguments: [
    (SamplingOptions(temperature: 1), [0.2, 0.04, 0.4, 0.06, 0.3]),
    // p^2, p^(1/2)
    (SamplingOptions(temperature: 0.5), [0.04, 0.0016, 0.16, 0.0036, 0.09]),
    (SamplingOptions(temperature: 2), [0.4472, 0.2, 0.6325, 0.2449, 0.5477]),
    (SamplingOptions(temperature: 1, topK: 2), [0, 0, 0.4, 0, 0.3]),
    (SamplingOptions(temperature: 1, topK: 9), [0.2, 0.04, 0.4, 0.06, 0.3]),
    // Tokens above hold 0.7: the third stays for 0.75, goes for 0.65.
    (SamplingOptions(temperature: 1, topP: 0.75), [0.2, 0, 0.4, 0, 0.3]),
    (SamplingOptions(temperature: 1, topP: 0.65), [0, 0, 0.4, 0, 0.3]),
    (SamplingOptions(temperature: 1, topP: 1e-9), [0, 0, 1, 0, 0]),
    // top-p is of what top-k left: 0.4 / 0.7 is 0.57.
    (SamplingOptions(temperature: 1, topK: 2, topP: 0.55), [0, 0, 1, 0, 0]),
    (SamplingOptions(temperature: 1, topK: 2, topP: 0.6), [0, 0, 0.4, 0, 0.3]),
    // At least 0.2 and at least 0.04.
    (SamplingOptions(temperature: 1, minP: 0.499), [0.2, 0, 0.4, 0, 0.3]),
    (SamplingOptions(temperature: 1, minP: 0.12), [0.2, 0, 0.4, 0.06, 0.3]),
    (SamplingOptions(temperature: 1, topK: 4, topP: 0.95, minP: 0.2), [0.2, 0, 0.4, 0, 0.3]),
  ])
  func drawsFromTheDistribution(options: SamplingOptions, expected: [Double]) throws {
    for seed in 1...3 as ClosedRange<UInt64> {
      var options = options
      options.seed = seed
      let counts = try counts(options)
      for (count, p) in zip(counts, expected) where p == 0 { #expect(count == 0) }
      #expect(chiSquared(counts, expected) < 4)
    }
  }

  /// The search for the most probable looks further when the first hundredth is not enough.
  @Test func findsCandidatesInFlatAndSteepDistributions() throws {
    let steep = (0..<2000).map { Float(-$0) / 2 }
    let flat = [Float](repeating: 1, count: 2000)
    let ofSteep = try counts(SamplingOptions(temperature: 4, topK: 40), steep, draws: 5000)
    #expect(ofSteep[40...].allSatisfy { $0 == 0 } && ofSteep[..<20].allSatisfy { $0 > 0 })
    let ofFlat = try counts(SamplingOptions(temperature: 1, topP: 0.5), flat, draws: 5000)
    #expect(ofFlat[1001...].allSatisfy { $0 == 0 } && ofFlat[900..<1000].contains { $0 > 0 })
  }

  @Test func takesTheGreatestAtTemperatureZero() throws {
    #expect(try draws(.greedy, Self.logits, positions: 0..<1) == [2])
    #expect(try draws(.greedy, [1, 3, 3, 2], positions: 0..<1) == [1])
    #expect(try counts(SamplingOptions(temperature: 1e-6))[2] == 20_000)
  }

  /// The logits that `options` make of `logits` after `prompt` and `answer`.
  func edited(
    _ options: SamplingOptions, _ logits: [Float], prompt: [Int32], answer: [Int32] = []
  ) throws -> [Float] {
    let sequence = TokenSequence(
      GenerationRequest(prompt, GenerationOptions(sampling: options)), number: 1, adapter: 0,
      AnswerText(GenerationOptions(), nil)
    ) { _ in }
    for id in answer { sequence.append(id, logProbability: 0, logits: nil, contextLength: 100) }
    let words = sequence.edits(row: 1) + [-1, 0, 0, 0]
    let cpu = try CPU(threads: 1)
    let memory = try cpu.allocate(bytes: 4 * (2 * logits.count + words.count))
    let row = Tensor(memory, rows: 2, columns: logits.count, dtype: .f32)
    let edits = Tensor(memory, offset: 8 * logits.count, rows: words.count / 4, columns: 4, dtype: .i32)
    _ = row.hostFloats.update(fromContentsOf: logits + logits)
    _ = edits.hostInts.update(fromContentsOf: words)
    try Step.runOnce(on: cpu) { $0.editLogits(row, edits) }
    return withExtendedLifetime(memory) {
      #expect(Array(row.hostFloats.prefix(logits.count)) == logits)
      return Array(row.hostFloats.suffix(logits.count))
    }
  }

  @Test func repetitionPenaltyWeakensEveryTokenOfTheContextOnce() throws {
    let options = SamplingOptions(repetitionPenalty: 2)
    #expect(try edited(options, [4, 3, -1], prompt: [0]) == [2, 3, -1])
    #expect(try edited(options, [4, 3, -1], prompt: [0, 0], answer: [0, 2]) == [2, 3, -2])
  }

  @Test func otherPenaltiesCountTheAnswerOnly() throws {
    let options = SamplingOptions(
      presencePenalty: 0.5, frequencyPenalty: 0.25, logitBias: [0: -3, 2: 10])
    #expect(
      try edited(options, [1, 1, 1, 1], prompt: [0, 0, 3], answer: [1, 1, 2]) == [-2, 0, 10.25, 1])
  }

  @Test func seedAndPositionDecide() throws {
    let flat = [Float](repeating: 0, count: 1000)
    func draws(_ seed: UInt64) throws -> [Int32] {
      try self.draws(SamplingOptions(temperature: 1, seed: seed), flat, positions: 0..<50)
    }
    #expect(try draws(1) == draws(1))
    #expect(try draws(1) != draws(2))
    #expect(Set(try draws(1)).count > 40)
  }

  @Test(arguments: [
    SamplingOptions(temperature: -1), SamplingOptions(temperature: .infinity), SamplingOptions(topK: -1),
    SamplingOptions(topP: 0), SamplingOptions(topP: 1.1), SamplingOptions(minP: -0.1),
    SamplingOptions(minP: 2),
    SamplingOptions(minP: .nan), SamplingOptions(repetitionPenalty: 0),
    SamplingOptions(repetitionPenalty: -.infinity), SamplingOptions(presencePenalty: 3),
    SamplingOptions(frequencyPenalty: .nan), SamplingOptions(logitBias: [5: 1]),
    SamplingOptions(logitBias: [0: .infinity]),
  ])
  func refusesSenselessValues(options: SamplingOptions) throws {
    let error = #expect(throws: SwiftletError.self) { try options.check(vocabulary: 5) }
    #expect(error?.code == .invalidConfiguration)
  }
}
