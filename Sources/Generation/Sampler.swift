import Basics
import CKernels

/// Chooses tokens by `SamplingOptions`. The same logits, context and seed give the same token.
public struct Sampler: Sendable {
  public let options: SamplingOptions

  /// - Throws: `.invalidConfiguration` for a value that is out of range.
  public init(_ options: SamplingOptions) throws(SwiftletError) {
    func check(_ holds: Bool, _ name: String, _ value: Any, _ range: String) throws(SwiftletError) {
      guard !holds else { return }
      throw SwiftletError(.invalidConfiguration, "\(name) is \(value); it must be \(range)")
    }
    let (temperature, penalty) = (options.temperature, options.repetitionPenalty)
    try check(temperature >= 0 && temperature.isFinite, "temperature", temperature, "0 or greater")
    try check(options.topK >= 0, "top_k", options.topK, "0 or greater")
    try check(options.topP > 0 && options.topP <= 1, "top_p", options.topP, "above 0 and at most 1")
    try check((0...1).contains(options.minP), "min_p", options.minP, "from 0 to 1")
    try check(penalty > 0 && penalty.isFinite, "repetition_penalty", penalty, "greater than 0")
    self.options = options
  }

  /// The next token.
  ///
  /// - Parameters:
  ///   - logits: (vocabulary), finite.
  ///   - context: every token so far: the repetition penalty looks at them, and their number is the number of the
  ///     draw.
  public func sample(_ logits: [Float], after context: [Int32]) -> Int32 {
    var logits = logits
    if options.repetitionPenalty != 1 { penalise(Set(context), &logits) }
    guard options.temperature > 0 else { return logits.greatest }
    let probabilities = logits.softmax(temperature: options.temperature)
    let candidates = candidates(probabilities)
    let draw = uniform(context.count) * mass(candidates, probabilities)
    var sum = 0.0
    for id in candidates {
      sum += Double(probabilities[Int(id)])
      if sum > draw { return id }
    }
    return candidates[candidates.count - 1]
  }

  private func penalise(_ ids: Set<Int32>, _ logits: inout [Float]) {
    let penalty = Float(options.repetitionPenalty)
    for id in ids {
      let logit = logits[Int(id)]
      logits[Int(id)] = logit < 0 ? logit * penalty : logit / penalty
    }
  }

  // MARK: Filters

  /// What top-k, top-p of what that left, and min-p leave, in Hugging Face's order.
  private func candidates(_ probabilities: [Float]) -> [Int32] {
    let limitsRank = options.topK > 0 || options.topP < 1
    var ids = limitsRank ? mostProbable(probabilities) : Array(0..<Int32(probabilities.count))
    if options.topK > 0 { ids = Array(ids.prefix(options.topK)) }
    if options.topP < 1 {
      let enough = options.topP * (options.topK > 0 ? mass(ids, probabilities) : 1)
      var above = 0.0  // mass of the tokens before
      let end = ids.firstIndex { id in
        defer { above += Double(probabilities[Int(id)]) }
        return above >= enough
      }
      ids = Array(ids[..<(end ?? ids.count)])
    }
    guard options.minP > 0 else { return ids }
    let least = Float(options.minP) * (probabilities.max() ?? 0)
    return ids.filter { probabilities[Int($0)] >= least }
  }

  /// As many of the most probable tokens as top-k or top-p can want, falling; of equals the lower id first.
  ///
  /// Sorting a vocabulary would take longer than a small model takes for a token; the few that matter are nearly
  /// always within a hundredth of the greatest.
  private func mostProbable(_ probabilities: [Float]) -> [Int32] {
    let greatest = probabilities.max() ?? 0
    var ids: [Int32] = []
    for cutoff in [1e-2, 1e-4, 0] as [Float] {
      ids = (0..<Int32(probabilities.count)).filter { probabilities[Int($0)] >= greatest * cutoff }
      let isEnough = options.topK > 0 ? ids.count >= options.topK : mass(ids, probabilities) >= options.topP
      if isEnough { break }
    }
    return ids.sorted { (probabilities[Int($1)], $0) < (probabilities[Int($0)], $1) }
  }

  private func mass(_ ids: [Int32], _ probabilities: [Float]) -> Double {
    ids.reduce(0) { $0 + Double(probabilities[Int($1)]) }
  }

  // MARK: Chance

  /// The counter's upper half tells draws from all other uses of the same seed.
  private static let stream = UInt32.max

  /// Uniform in [0, 1), in steps of 2^-53; a function of seed and position alone.
  func uniform(_ position: Int) -> Double {
    let counter = [
      UInt32(truncatingIfNeeded: position), UInt32(truncatingIfNeeded: position >> 32), Self.stream,
      Self.stream,
    ]
    var words: [UInt32] = [0, 0, 0, 0]
    sw_philox4x32(options.seed, counter, &words)
    let bits = UInt64(words[0]) | UInt64(words[1]) << 32
    return Double(bits >> 11) * 0x1p-53
  }
}

/// The kernels' view of a vector of logits.
extension [Float] {
  /// Index of the greatest, the first of equals.
  var greatest: Int32 {
    withRow { row in
      var index: Int32 = 0
      sw_argmax(row, &index, 0, 1)
      return index
    }
  }

  /// log sum exp, which taken from a logit leaves its log-probability; not finite when a logit is not.
  var logSumExp: Float {
    withRow { row in
      var (logSumExp, loss): (Float, Float) = (0, 0)
      sw_cross_entropy(row, [SW_IGNORED_LABEL], 0, &logSumExp, &loss, 0, 1)
      return logSumExp
    }
  }

  func softmax(temperature: Double) -> [Float] {
    [Float](unsafeUninitializedCapacity: count) { out, initialized in
      withRow { sw_softmax($0, 0, temperature, out.baseAddress, 0, 1) }
      initialized = count
    }
  }

  /// The kernels that take the matrix only read it.
  private func withRow<Result>(_ body: (sw_matrix) -> Result) -> Result {
    withUnsafeBufferPointer { values in
      body(
        sw_matrix(
          data: UnsafeMutableRawPointer(mutating: values.baseAddress), rows: 1, columns: Int64(count),
          stride: Int64(count), dtype: SW_F32))
    }
  }
}
