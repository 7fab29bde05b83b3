import CKernels

extension Sampling {
  /// Samples row `row`, with room for its probabilities.
  func sample(row: Int, probabilities p: UnsafeMutableBufferPointer<Float>) {
    let (logits, edited) = (logits.rows(row..<row + 1), edited.rows(row..<row + 1))
    let temperature = number(row, .temperature)
    let token: Int32
    if temperature > 0 {
      sw_softmax(edited.matrix, 0, Double(temperature), p.baseAddress, 0, 1)
      token = draw(row, UnsafeBufferPointer(p))
    } else {
      var index: Int32 = 0
      sw_argmax(edited.matrix, &index, 0, 1)
      token = index
    }
    var (logSumExp, loss): (Float, Float) = (0, 0)
    let all = VocabularySlice(0..<logits.columns, of: logits.columns)
    sw_cross_entropy(logits.matrix, all.kernel, [token], 0, &logSumExp, &loss, 0, 1)
    tokens.pointer(Int32.self)?[row] = token
    // Where one logit is not a number, the sum is none.
    logProbabilities.pointer(Float.self)?[row] = logSumExp.isFinite ? -loss : .nan
  }

  private func number(_ row: Int, _ column: SamplingColumn) -> Float {
    numbers.pointer(Float.self)?[row * SamplingColumn.count + column.rawValue] ?? 0
  }

  private func draw(_ row: Int, _ p: UnsafeBufferPointer<Float>) -> Int32 {
    let candidates = candidates(row, p)
    let wanted = uniform(row) * mass(candidates, p)
    var sum = 0.0
    for id in candidates {
      sum += Double(p[Int(id)])
      if sum > wanted { return id }
    }
    return candidates.last { p[Int($0)] > 0 } ?? 0
  }

  // MARK: Filters

  /// What top-k, top-p of what that left, and min-p leave, in Hugging Face's order; rising ids.
  private func candidates(_ row: Int, _ p: UnsafeBufferPointer<Float>) -> [Int32] {
    let (topK, topP) = (Int(number(row, .topK)), Double(number(row, .topP)))
    var ids = topK > 0 || topP < 1 ? mostProbable(p, topK, topP) : Array(0..<Int32(p.count))
    if topK > 0 { ids = Array(ids.prefix(topK)) }
    if topP < 1 {
      let enough = topP * (topK > 0 ? mass(ids, p) : 1)
      var above = 0.0  // mass of the tokens before
      let end = ids.firstIndex { id in
        defer { above += Double(p[Int(id)]) }
        return above >= enough
      }
      ids = Array(ids[..<max(1, end ?? ids.count)])
    }
    let least = number(row, .minP) * (p.max() ?? 0)
    if least > 0 { ids = ids.filter { p[Int($0)] >= least } }
    return topK > 0 || topP < 1 ? ids.sorted() : ids
  }

  /// As many of the most probable tokens as top-k or top-p can want, falling; of equals the lower id first.
  ///
  /// Sorting a vocabulary would take longer than a small model takes for a token; the few that matter are nearly
  /// always within a hundredth of the greatest.
  private func mostProbable(_ p: UnsafeBufferPointer<Float>, _ topK: Int, _ topP: Double) -> [Int32] {
    let greatest = p.max() ?? 0
    var ids: [Int32] = []
    for cutoff in [1e-2, 1e-4, 0] as [Float] {
      ids = (0..<Int32(p.count)).filter { p[Int($0)] >= greatest * cutoff }
      let isEnough = topK > 0 ? ids.count >= topK : mass(ids, p) >= topP
      if isEnough { break }
    }
    return ids.sorted { (p[Int($1)], $0) < (p[Int($0)], $1) }
  }

  private func mass(_ ids: [Int32], _ p: UnsafeBufferPointer<Float>) -> Double {
    ids.reduce(0) { $0 + Double(p[Int($1)]) }
  }

  // MARK: Chance

  /// The counter's upper half tells draws from all other uses of the same seed.
  private static let stream = UInt32.max

  /// Uniform in [0, 1), in steps of 2^-53.
  private func uniform(_ row: Int) -> Double {
    guard let seeds = seeds.pointer(UInt32.self).map({ $0 + 4 * row }) else { return 0 }
    let seed = UInt64(seeds[0]) | UInt64(seeds[1]) << 32
    var words: [UInt32] = [0, 0, 0, 0]
    sw_philox4x32(seed, [seeds[2], seeds[3], Self.stream, Self.stream], &words)
    let bits = UInt64(words[0]) | UInt64(words[1]) << 32
    return Double(bits >> 11) * 0x1p-53
  }
}
