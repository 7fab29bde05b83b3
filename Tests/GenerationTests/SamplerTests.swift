import Basics
import Foundation
import Testing

@testable import Generation

@Suite struct SamplerTests {
  /// log of 0.4, 0.3, 0.2, 0.06, 0.04, out of order.
  static let probabilities: [Double] = [0.2, 0.04, 0.4, 0.06, 0.3]
  static let logits = probabilities.map { Float(log($0)) }

  /// How often each token comes in `draws` draws.
  func counts(_ options: SamplingOptions, _ logits: [Float] = logits, draws: Int = 20_000) throws -> [Int] {
    let sampler = try Sampler(options)
    var counts = [Int](repeating: 0, count: logits.count)
    var context: [Int32] = []
    for _ in 0..<draws {
      counts[Int(sampler.sample(logits, after: context))] += 1
      context.append(0)
    }
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
    let sampler = try Sampler(.greedy)
    #expect(sampler.sample(Self.logits, after: []) == 2)
    #expect(sampler.sample([1, 3, 3, 2], after: []) == 1)
    #expect(try counts(SamplingOptions(temperature: 1e-6))[2] == 20_000)
  }

  @Test func repetitionPenaltyWeakensEveryTokenOfTheContextOnce() throws {
    let sampler = try Sampler(SamplingOptions(repetitionPenalty: 2))
    #expect(sampler.sample([4, 3, -1], after: []) == 0)
    #expect(sampler.sample([4, 3, -1], after: [0]) == 1)
    #expect(sampler.sample([4, 1.5, -1], after: [0, 0, 0]) == 0)
    #expect(sampler.sample([-1, -1.5, -4], after: [0, 2]) == 1)
  }

  @Test func seedAndPositionDecide() throws {
    let flat = [Float](repeating: 0, count: 1000)
    func draws(_ seed: UInt64) throws -> [Int32] {
      let sampler = try Sampler(SamplingOptions(temperature: 1, seed: seed))
      return (0..<50).map { sampler.sample(flat, after: Array(repeating: 0, count: $0)) }
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
    SamplingOptions(repetitionPenalty: -.infinity),
  ])
  func refusesSenselessValues(options: SamplingOptions) throws {
    let error = #expect(throws: SwiftletError.self) { try Sampler(options) }
    #expect(error?.code == .invalidConfiguration)
  }
}
