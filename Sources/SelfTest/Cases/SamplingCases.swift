import CKernels
import Compute
import Foundation

extension OpCase {
  /// From logits to a token.
  static var samplingCases: [OpCase] {
    let all = SamplingSettings()
    return [
      editLogits(rows: 1, vocabulary: 1, edits: 1), editLogits(rows: 3, vocabulary: 50, edits: 40),
      editLogits(rows: 5, vocabulary: 2000, edits: 900), maskLogits(rows: 1, vocabulary: 1),
      maskLogits(rows: 3, vocabulary: 32), maskLogits(rows: 4, vocabulary: 1003),
      sample(vocabulary: 1, [all]),
      sample(vocabulary: 300, Array(repeating: all, count: 8)),
      sample(vocabulary: 300, [.greedy, .greedy, .greedy]),
      sample(vocabulary: 50_001, [.greedy, all, SamplingSettings(temperature: 0.3), .greedy]),
      sample(
        vocabulary: 2000,
        [
          SamplingSettings(topK: 1), SamplingSettings(topK: 5), SamplingSettings(temperature: 2, topK: 300),
          SamplingSettings(topK: 5000), SamplingSettings(temperature: 5, topK: 1999),
        ]),
      sample(
        vocabulary: 2000,
        [
          SamplingSettings(topP: 0.9), SamplingSettings(topP: 1e-6),
          SamplingSettings(temperature: 4, topP: 0.5),
          SamplingSettings(temperature: 30, topP: 0.97),
        ]),
      sample(
        vocabulary: 2000,
        [
          SamplingSettings(minP: 0.1), SamplingSettings(temperature: 8, minP: 0.4), SamplingSettings(minP: 1),
          SamplingSettings(temperature: 3, topK: 50, topP: 0.8, minP: 0.02), .greedy,
        ]),
      sample(
        vocabulary: 1000, [.greedy, all, SamplingSettings(topK: 20), SamplingSettings(topP: 0.9)],
        edited: true),
      sample(vocabulary: 40_000, Array(repeating: SamplingSettings(temperature: 1.5, topP: 0.9), count: 20)),
    ]
  }

  /// Some edits are of no row.
  static func editLogits(rows: Int, vocabulary: Int, edits: Int) -> OpCase {
    // Tokens in steps that visit no place twice.
    let places = (0..<edits).map { ($0 * 7) % (rows * vocabulary) }
    precondition(Set(places).count == edits)
    var operation = OpCase(
      name: "editLogits (\(rows), \(vocabulary)), \(edits) times",
      operands: [
        .state("logits", rows, vocabulary) { 8 * $0 },
        .values("edits", edits, LogitEditColumn.count, .i32) { edit, column, random in
          let (row, token) = places[edit].quotientAndRemainder(dividingBy: vocabulary)
          let number = random.uniform()
          func bits(_ value: Double) -> Double { Double(Int32(bitPattern: Float(value).bitPattern)) }
          return switch LogitEditColumn(rawValue: column)! {
          case .row: edit % 6 == 5 ? -1 : Double(row)
          case .token: Double(token)
          case .penalty: edit % 3 == 0 ? bits(1) : bits(1.5 + 0.5 * number)
          case .bias: edit % 4 == 0 ? bits(0) : bits(100 * number)
          }
        },
      ],
      run: { s, t in
        s.editLogits(t.logits, t.edits)
        return [:]
      },
      reference: { v in
        var logits = v.logits
        func number(_ edit: Int, _ column: LogitEditColumn) -> Uncertain {
          let bits = Int32(v.edits[edit, column.rawValue].integer)
          return Uncertain(Double(Float(bitPattern: UInt32(bitPattern: bits))))
        }
        for edit in 0..<edits {
          let row = v.edits[edit, LogitEditColumn.row.rawValue].integer
          let token = v.edits[edit, LogitEditColumn.token.rawValue].integer
          guard row >= 0 else { continue }
          let logit = logits[row, token]
          let penalty = number(edit, .penalty)
          logits[row, token] = (logit.value < 0 ? logit * penalty : logit / penalty) + number(edit, .bias)
        }
        return ["logits": logits]
      })
    operation.dtypes = [.f32]
    return operation
  }

  static func maskLogits(rows: Int, vocabulary: Int) -> OpCase {
    var operation = OpCase(
      name: "maskLogits (\(rows), \(vocabulary))",
      operands: [
        .state("logits", rows, vocabulary) { 8 * $0 },
        .values("masks", rows, (vocabulary + 31) / 32, .i32) {
          Double(Int32.random(in: .min ... .max, using: &$2))
        },
      ],
      run: { s, t in
        s.maskLogits(t.logits, t.masks)
        return [:]
      },
      reference: { v in
        [
          "logits": Matrix(rows, vocabulary) { row, token in
            let word = UInt32(bitPattern: Int32(v.masks[row, token / 32].integer))
            return word >> (token % 32) & 1 == 1 ? v.logits[row, token] : Uncertain(-.infinity)
          }
        ]
      })
    operation.dtypes = [.f32]
    return operation
  }

  /// One row for each of `settings`, whose logits and draws are chosen so that rounding decides nothing. Greedy rows have
  /// two greatest logits; the third row of a greedy case holds a NaN.
  ///
  /// - Parameter edited: whether what is drawn from has every third token masked.
  static func sample(vocabulary: Int, _ settings: [SamplingSettings], edited: Bool = false) -> OpCase {
    let name =
      "sample from \(vocabulary)\(edited ? ", edited" : ""): "
      + settings.map(\.description).joined(separator: ", ")
    let draws = settings.enumerated().map { SamplingDraw($1, vocabulary, row: $0, isMasked: edited, name) }
    let rows = settings.count
    var operation = OpCase(
      name: name,
      operands: [
        .values("logits", rows, vocabulary, .f32) { row, token, _ in draws[row].logits[token] },
        .values("edited", rows, vocabulary, .f32) { row, token, _ in draws[row].edited[token] },
        .values("numbers", rows, SamplingColumn.count, .f32) { row, column, _ in
          settings[row][SamplingColumn(rawValue: column)!]
        },
        .values("seeds", rows, 4, .i32) { row, column, _ in
          Double(Int32(bitPattern: draws[row].counter[column]))
        },
        .output("tokens", 1, rows, as: .fixed(.i32)), .output("logProbabilities", 1, rows, as: .fixed(.f32)),
      ],
      run: { s, t in
        s.sample(
          t.logits, edited: edited ? t.edited : nil, numbers: t.numbers, seeds: t.seeds, tokens: t.tokens,
          logProbabilities: t.logProbabilities)
        return [:]
      },
      reference: { v in
        [
          "tokens": Matrix(1, rows) { Uncertain(Double(draws[$1].token)) },
          "logProbabilities": Matrix(1, rows) { _, row in
            if draws[row].logits.contains(where: \.isNaN) { return Uncertain(.nan) }
            let top = (0..<vocabulary).reduce(v.logits[row, 0]) { max($0, v.logits[row, $1]) }
            let total = Uncertain.sum(vocabulary) { (v.logits[row, $0] - top).exponential }
            return v.logits[row, draws[row].token] - (top + total.logarithm)
          },
        ]
      })
    operation.dtypes = [.f32]
    return operation
  }
}

/// What one row is sampled by.
struct SamplingSettings: Sendable, CustomStringConvertible {
  var temperature = 1.0
  var topK = 0
  var topP = 1.0
  var minP = 0.0

  static let greedy = SamplingSettings(temperature: 0)

  subscript(column: SamplingColumn) -> Double {
    switch column {
    case .temperature: temperature
    case .topK: Double(topK)
    // As the kernel sees it.
    case .topP: Double(Float(topP))
    case .minP: Double(Float(minP))
    }
  }

  var description: String {
    guard temperature > 0 else { return "greedy" }
    return "t \(temperature)" + (topK > 0 ? " k \(topK)" : "") + (topP < 1 ? " p \(topP)" : "")
      + (minP > 0 ? " min \(minP)" : "")
  }
}

/// Logits and a counter for which the token is certain, and the token.
private struct SamplingDraw: Sendable {
  private(set) var logits: [Double]
  private(set) var edited: [Double]
  /// Seed and position, low half first.
  private(set) var counter: [UInt32]
  private(set) var token = 0

  /// Kernels round probabilities and the sums of many: so far must a draw, or a cut by mass, be from where the choice
  /// changes, in parts of the whole mass.
  private static let (drawMargin, cutMargin) = (2e-5, 3e-6)
  /// The same for a cut by one probability, in parts of that.
  private static let ratioMargin = 2e-5

  init(_ settings: SamplingSettings, _ vocabulary: Int, row: Int, isMasked: Bool, _ name: String) {
    var random = RandomStream(seed: 1, "\(name) \(row)")
    // Neighbours in rank differ by at least half a step, far more than an exponential errs by.
    let most = Swift.min(0.1, 16 / Double(vocabulary))
    while true {
      let step = most * (0.9 + 0.1 * random.uniform())
      logits = (0..<vocabulary).map { Double(Float(step * (Double($0) + 0.25 * random.uniform()) - 4)) }
      logits.shuffle(using: &random)
      edited = logits
      if isMasked {
        for token in stride(from: row % 3, to: vocabulary, by: 3) { edited[token] = -.infinity }
      }
      counter = (0..<4).map { _ in random.next() }
      guard settings.temperature > 0 else {
        drawGreedily(row: row, isMasked: isMasked)
        return
      }
      if let token = certainToken(settings) {
        self.token = token
        return
      }
    }
  }

  /// The first of two greatest; NaN is never the greatest.
  private mutating func drawGreedily(row: Int, isMasked: Bool) {
    let greatest = edited.max() ?? 0
    token = edited.firstIndex(of: greatest) ?? 0
    guard !isMasked, logits.count > 10 else { return }
    let twin = (token + logits.count / 2) % logits.count
    logits[twin] = greatest
    if row == 2 { logits[Swift.max(token, twin) - 1] = .nan }
    edited = logits
    token = Swift.min(token, twin)
  }

  /// See `Sampling`; nil where a cut or the draw is too close to a change.
  private func certainToken(_ settings: SamplingSettings) -> Int? {
    let top = edited.max() ?? 0
    let weights = edited.map { exp(($0 - top) / settings.temperature) }
    let mass = weights.reduce(0, +)
    let p = weights.map { $0 / mass }
    var left = p.indices.filter { p[$0] > 0 }.sorted { (p[$1], $0) < (p[$0], $1) }
    if settings.topK > 0 { left = Array(left.prefix(settings.topK)) }
    if settings.topP < 1 {
      let enough = settings[.topP] * left.reduce(0) { $0 + p[$1] }
      var (before, above, count) = (0.0, 0.0, 0)
      while count < left.count, above < enough {
        (before, above) = (above, above + p[left[count]])
        count += 1
      }
      guard above - enough > Self.cutMargin, before == 0 || enough - before > Self.cutMargin else {
        return nil
      }
      left = Array(left.prefix(count))
    }
    let greatest = weights.max()! / mass
    let least = settings[.minP] * greatest
    let isClear = left.allSatisfy { p[$0] == greatest || abs(p[$0] - least) > Self.ratioMargin * least }
    guard least == 0 || isClear else { return nil }
    left = left.filter { p[$0] >= least }.sorted()
    let whole = left.reduce(0) { $0 + p[$1] }
    let wanted = uniform * whole
    var sum = 0.0
    for token in left {
      let before = sum
      sum += p[token]
      guard sum > wanted else { continue }
      let isCertain = Swift.min(sum - wanted, wanted - before) > Self.drawMargin * whole
      return isCertain || left.count == 1 ? token : nil
    }
    return nil
  }

  /// u: 53 bits of Philox, counter (position, all ones).
  private var uniform: Double {
    var words: [UInt32] = [0, 0, 0, 0]
    sw_philox4x32(
      UInt64(counter[0]) | UInt64(counter[1]) << 32, [counter[2], counter[3], .max, .max], &words)
    return Double((UInt64(words[0]) | UInt64(words[1]) << 32) >> 11) * 0x1p-53
  }
}
