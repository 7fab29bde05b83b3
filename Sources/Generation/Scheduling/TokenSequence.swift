import Basics
import Compute
import Foundation

/// A request on its way: its tokens, and the pages that hold their keys and values.
final class TokenSequence {
  let request: GenerationRequest
  /// Requests are numbered as they come.
  let number: Int
  /// What pages may be shared among, and rows are computed with: 0 for the model alone.
  let adapter: Int32
  /// The prompt, and the answer so far.
  private(set) var tokens: [Int32]
  var pages: [Int32] = []
  /// Tokens whose keys and values are in the pages.
  var computed = 0
  /// Pages whose content the pool was told.
  var remembered = 0
  /// Whether it only asks for the logits after its tokens.
  let onlyLogits: Bool
  private(set) var isFinished = false
  /// The caller's, when it is on another thread.
  var cancellation: CancellationFlag?
  /// Whether nobody waits for more.
  var isCancelled: Bool {
    get { wasCancelled || cancellation?.isSet ?? false }
    set { wasCancelled = newValue }
  }
  private var wasCancelled = false
  private(set) var statistics = GenerationStatistics()

  private var text: AnswerText
  private var constraint: OutputConstraint.State?
  /// How often the answer holds each token.
  private var counts: [Int32: Int] = [:]
  private let deliver: (Result<Delivery, SwiftletError>) -> Void

  /// What becomes of a request, piece by piece.
  enum Delivery {
    case token(GeneratedToken)
    case logits([Float])
  }

  init(
    _ request: GenerationRequest, number: Int, adapter: Int32, _ text: AnswerText, onlyLogits: Bool = false,
    deliver: @escaping (Result<Delivery, SwiftletError>) -> Void
  ) {
    self.request = request
    self.number = number
    self.adapter = adapter
    self.text = text
    self.onlyLogits = onlyLogits
    self.deliver = deliver
    tokens = request.prompt
    constraint = request.constraint?.start()
    statistics.promptTokens = request.prompt.count
  }

  var newTokens: Int { statistics.newTokens }
  /// Tokens still to go through the model; one in a sequence that decodes.
  var pending: Int { tokens.count - computed }
  var isDecoding: Bool { pending == 1 && newTokens > 0 }
  /// Whether the host must look at logits.
  var wantsLogits: Bool { onlyLogits || request.topLogProbabilities > 0 }

  /// Takes the next token, with the natural logarithm of its probability under the model itself.
  ///
  /// - Parameter logits: the row that it was chosen from, when the host has it.
  func append(_ id: Int32, logProbability: Float, logits: [Float]?, contextLength: Int) {
    guard logProbability.isFinite else {
      return fail(
        SwiftletError(
          .invalidData, "the model's logits after \(tokens.count) tokens are not finite",
          remedy: "Its weights, or those of its adapter, hold such values: the training may have diverged."))
    }
    tokens.append(id)
    counts[id, default: 0] += 1
    statistics.newTokens += 1
    let (piece, reason) = text.append(
      id, count: statistics.newTokens, isContextFull: tokens.count > contextLength)
    isFinished = reason != nil
    if !isFinished { constraint?.advance(id) }
    let alternatives = logits.map { TokenProbability.top(request.topLogProbabilities, of: $0) } ?? []
    deliver(
      .success(
        .token(
          GeneratedToken(
            id: id, text: piece, logProbability: logProbability, alternatives: alternatives,
            finishReason: reason, statistics: statistics))))
  }

  func finish(logits: [Float]) {
    isFinished = true
    deliver(.success(.logits(logits)))
  }

  func fail(_ error: SwiftletError) {
    isFinished = true
    deliver(.failure(error))
  }

  func countReused(_ tokens: Int) {
    if newTokens == 0 { statistics.reusedTokens = tokens }
  }

  func countTime(_ seconds: Double) {
    if newTokens == 0 { statistics.prefillSeconds += seconds } else { statistics.decodeSeconds += seconds }
  }

  /// Starts over: its pages were taken from it. What it has said stays.
  func lose() {
    pages = []
    computed = 0
    remembered = 0
  }

  /// Changes of single logits, as words of `LogitEditColumn`, for row `row`.
  func edits(row: Int) -> [Int32] {
    let sampling = request.options.sampling
    guard sampling.editsLogits else { return [] }
    var edited: Set<Int32> = Set(sampling.logitBias.keys)
    if sampling.presencePenalty != 0 || sampling.frequencyPenalty != 0 { edited.formUnion(counts.keys) }
    if sampling.repetitionPenalty != 1 { edited.formUnion(tokens) }
    let seen = sampling.repetitionPenalty == 1 ? [] : Set(tokens)
    var words: [Int32] = []
    words.reserveCapacity(edited.count * LogitEditColumn.count)
    for token in edited {
      let count = Double(counts[token] ?? 0)
      let penalty = seen.contains(token) ? Float(sampling.repetitionPenalty) : 1
      let bias =
        (sampling.logitBias[token] ?? 0) - (count > 0 ? sampling.presencePenalty : 0)
        - count * sampling.frequencyPenalty
      words += [Int32(row), token, penalty.word, Float(bias).word]
    }
    return words
  }

  /// Which tokens may come next, as `Step.maskLogits` takes it; nil for all.
  var mask: [UInt32]? {
    guard let constraint else { return nil }
    var mask = constraint.allowed()
    // The answer may end where its constraint is met, and nowhere else.
    for token in text.stopTokens {
      let bit: UInt32 = 1 << (UInt32(token) % 32)
      if constraint.isComplete { mask[Int(token) / 32] |= bit } else { mask[Int(token) / 32] &= ~bit }
    }
    return mask
  }

  /// The row's `SamplingColumn`s, and its seed and position, as words.
  var samplingWords: (numbers: [Int32], seed: [Int32]) {
    let sampling = request.options.sampling
    let (seed, position) = (sampling.seed, UInt64(tokens.count))
    return (
      [
        Float(sampling.temperature).word, Float(sampling.topK).word, Float(sampling.topP).word,
        Float(sampling.minP).word,
      ],
      [seed, seed >> 32, position, position >> 32].map { Int32(truncatingIfNeeded: $0) }
    )
  }
}

extension Float {
  fileprivate var word: Int32 { Int32(bitPattern: bitPattern) }
}

extension TokenProbability {
  /// The `count` most probable tokens of a row of logits, falling; of equals the lower id first.
  static func top(_ count: Int, of logits: [Float]) -> [TokenProbability] {
    guard count > 0 else { return [] }
    let greatest = logits.max() ?? 0
    let logSum = greatest + Float(log(logits.reduce(0.0) { $0 + Double(exp($1 - greatest)) }))
    var best: [TokenProbability] = []
    for (id, logit) in logits.enumerated() {
      let logp = logit - logSum
      if best.count == count, let last = best.last, logp <= last.logProbability { continue }
      let place = best.firstIndex { $0.logProbability < logp } ?? best.count
      best.insert(TokenProbability(id: Int32(id), logProbability: logp), at: place)
      if best.count > count { best.removeLast() }
    }
    return best
  }
}
