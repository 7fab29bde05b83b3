import Compute
import Foundation

extension OpCase {
  static var optimizerCases: [OpCase] {
    [1, 4095, 4097, 20_000].map(sumOfSquares) + [1, 700, 5001].map(adamW)
      + [1, 255, 257, 5001].map(adamW8bit)
  }

  static func sumOfSquares(_ count: Int) -> OpCase {
    OpCase(
      name: "sumOfSquares of \(count)", dtypes: [.f32],
      operands: [.parameter("x", 1, count), .output("sum", 1, 1, as: .fixed(.f64))],
      run: { s, t in
        s.sumOfSquares(t.x, into: t.sum)
        return [:]
      },
      reference: { v in ["sum": Matrix(1, 1) { _, _ in .sum(count) { v.x[0, $0] * v.x[0, $0] } }] })
  }

  /// Three updates by torch.optim.AdamW's formula, with weight decay and a scaled gradient.
  static func adamW(_ count: Int) -> OpCase {
    let updates = TestUpdate.all
    return OpCase(
      name: "adamW of \(count)", dtypes: [.f32],
      operands: [
        .parameter("g", updates.count, count), .state("p", 1, count) { $0 },
        .values("numbers", updates.count, 4, .f64) { row, column, _ in updates[row].numbers[column] },
        .state("m", 1, count) { 0.1 * $0 }, .state("v", 1, count) { 0.01 * $0 * $0 },
      ],
      run: { s, t in
        for (index, update) in updates.enumerated() {
          let row = index..<index + 1
          s.adamW(
            update.adamW, numbers: t.numbers.rows(row), parameters: t.p, gradients: t.g.rows(row), m: t.m,
            v: t.v)
        }
        return [:]
      },
      reference: { values in
        var (p, m, v) = (values.p, values.m, values.v)
        for (index, update) in updates.enumerated() {
          for i in 0..<count {
            update.apply(values.g[index, i], to: &p[0, i], &m[0, i], &v[0, i])
          }
        }
        return ["p": p, "m": m, "v": v]
      })
  }

  /// One update from random codes. A code is exact but where the moment lies on the boundary of two.
  static func adamW8bit(_ count: Int) -> OpCase {
    let update = TestUpdate.all[2]
    let block = AdamW8bitState.block
    let blocks = (count + block - 1) / block
    return OpCase(
      name: "adamW8bit of \(count)", dtypes: [.f32],
      operands: [
        // Of all magnitudes that floats can square, and half of the second moments zero: some stay very small.
        .values("g", 1, count, .f32) { _, _, random in pow(random.uniform(), 5) + 1e-8 },
        .state("p", 1, count) { $0 }, .state("m", 1, count, .u8) { (127.5 + 127.5 * $0).rounded() },
        .state("v", 1, count, .u8) { Swift.max(0, (255 * $0).rounded()) },
        .values("numbers", 1, 4, .f64) { _, column, _ in update.numbers[column] },
        .values("mMap", 1, 256, .f32) { _, column, _ in Double(DynamicMap.signed[column]) },
        .values("vMap", 1, 256, .f32) { _, column, _ in Double(DynamicMap.unsigned[column]) },
        .state("mScale", 1, blocks) { 0.2 + 0.1 * $0 }, .state("vScale", 1, blocks) { 0.02 + 0.01 * $0 },
      ],
      run: { s, t in
        let state = AdamW8bitState(
          m: t.m, v: t.v, mScale: t.mScale, vScale: t.vScale, mMap: t.mMap, vMap: t.vMap)
        s.adamW8bit(update.adamW, numbers: t.numbers, parameters: t.p, gradients: t.g, state: state)
        return [:]
      },
      reference: { values in
        func decoded(_ codes: Matrix<Uncertain>, _ scales: Matrix<Uncertain>, _ map: [Float]) -> Matrix<
          Uncertain
        > {
          Matrix(1, count) { Uncertain(Double(map[codes[$0, $1].integer])) * scales[0, $1 / block] }
        }
        var p = values.p
        var m = decoded(values.m, values.mScale, DynamicMap.signed)
        var v = decoded(values.v, values.vScale, DynamicMap.unsigned)
        for i in 0..<count { update.apply(values.g[0, i], to: &p[0, i], &m[0, i], &v[0, i]) }
        let mScale = m.largestMagnitudes(block)
        let vScale = v.largestMagnitudes(block)
        return [
          "p": p, "mScale": mScale, "vScale": vScale,
          "m": Matrix(1, count) { .code(of: m[0, $1] / mScale[0, $1 / block], DynamicMap.signed) },
          "v": Matrix(1, count) {
            // A second moment that is not zero never becomes zero.
            let value = v[0, $1]
            let code = Uncertain.code(of: value / vScale[0, $1 / block], DynamicMap.unsigned)
            return value.value > 0 && code.value == 0 ? Uncertain(1, error: code.error) : code
          },
        ]
      })
  }
}

/// An update with weight decay, whose gradient is scaled by 0.7.
private struct TestUpdate {
  let step: Int
  let learningRate: Double
  let adamW = AdamW(
    beta1: 0.9, beta2: 0.95, epsilon: 1e-2, weightDecay: 0.1, maximumNorm: gradientScale * (norm + 1e-6))

  private static let gradientScale = 0.7
  private static let norm = 3.0

  static let all = (1...3).map { TestUpdate(step: $0, learningRate: 0.01 / Double($0)) }

  var numbers: [Double] {
    adamW.numbers(learningRate: learningRate, step: step) + [Self.norm * Self.norm]
  }

  /// torch.optim.AdamW's update of one parameter.
  func apply(
    _ gradient: Uncertain, to p: inout Uncertain, _ m: inout Uncertain, _ v: inout Uncertain
  ) {
    let g = .constant(Self.gradientScale) * gradient
    p = .constant(1 - learningRate * adamW.weightDecay) * p
    m = m + .constant(1 - adamW.beta1) * (g - m)
    v = .constant(adamW.beta2) * v + .constant(1 - adamW.beta2) * g * g
    let root = Uncertain.constant((1 - pow(adamW.beta2, Double(step))).squareRoot())
    let denominator = v.squareRoot / root + .constant(adamW.epsilon)
    p = p - .constant(learningRate / (1 - pow(adamW.beta1, Double(step)))) * (m / denominator)
  }
}

extension Matrix<Uncertain> {
  /// The largest magnitude of every block of a row.
  fileprivate func largestMagnitudes(_ block: Int) -> Matrix<Uncertain> {
    Matrix(1, (columns + block - 1) / block) { _, index in
      (index * block..<Swift.min(columns, (index + 1) * block)).map { self[0, $0] }
        .reduce(Uncertain(0)) { max($0, $1.value < 0 ? -$1 : $1) }
    }
  }
}

extension Uncertain {
  /// The code of the nearest value of an ascending map; uncertain by one where the scaled number is too near
  /// the boundary of two codes to tell.
  fileprivate static func code(of scaled: Uncertain, _ map: [Float]) -> Uncertain {
    let boundaries = zip(map, map.dropFirst()).map { (Double($0) + Double($1)) / 2 }
    let code = boundaries.count { $0 < scaled.value }
    // Boundaries are floats themselves.
    let doubt = scaled.tolerance(.f32) + 2 * DType.f32.unitRoundoff * abs(scaled.value)
    let isDoubtful = boundaries.contains { abs($0 - scaled.value) <= doubt }
    return Uncertain(Double(code), error: isDoubtful ? arithmetic / DType.f32.unitRoundoff : .zero)
  }
}
