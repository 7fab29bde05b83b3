import Compute

extension OpCase {
  /// Layers that share an input, merged with their adapters into one matrix.
  static var mergedLinearCases: [OpCase] {
    let (bf16, q8, int8) = (
      WeightKind(format: .bf16), WeightKind(format: .q8_0), WeightKind(format: .int8)
    )
    let nf4 = WeightKind(format: .nf4, isDoubleQuantised: true)
    return [
      mergedLinear(bf16, ranks: [2], rows: 3, inputs: 5, outputs: [4]),
      mergedLinear(bf16, ranks: [8, 8, 8], rows: 37, inputs: 64, outputs: [64, 32, 32]),
      mergedLinear(nf4, ranks: [16, 0], rows: 20, inputs: 320, outputs: [96, 64]),
      mergedLinear(q8, ranks: [3, 5], rows: 9, inputs: 288, outputs: [33, 17]),
      mergedLinear(nf4, ranks: [16, 16], rows: 130, inputs: 512, outputs: [256, 384]),
      mergedLinear(int8, ranks: [4, 0, 4], rows: 5, inputs: 83, outputs: [70, 9, 30]),
      mergedLinear(WeightKind(format: .nf4), ranks: [2, 2], rows: 3, inputs: 50, outputs: [21, 34]),
      // Some layers left in another format than the others.
      mergedLinear([nf4, bf16, nf4], ranks: [8, 8, 8], rows: 7, inputs: 320, outputs: [100, 40, 50]),
      mergedLinear(
        [int8, nf4, q8, bf16], ranks: [0, 0, 0, 2], rows: 4, inputs: 96, outputs: [5, 7, 11, 13]),
    ]
  }

  /// y = [x h] E[..<out]ᵀ with h = x Aᵀ, and dx = [dy dh] E with dh = dy [sB].
  ///
  static func mergedLinear(
    _ kind: WeightKind, ranks: [Int], rows: Int, inputs: Int, outputs: [Int]
  ) -> OpCase {
    mergedLinear(outputs.map { _ in kind }, ranks: ranks, rows: rows, inputs: inputs, outputs: outputs)
  }

  /// - Parameters:
  ///   - kinds: of each part.
  ///   - ranks: of each part's adapter; 0 for none.
  static func mergedLinear(
    _ kinds: [WeightKind], ranks: [Int], rows: Int, inputs: Int, outputs: [Int]
  ) -> OpCase {
    let (R, out) = (ranks.reduce(0, +), outputs.reduce(0, +))
    let scales = ranks.indices.map { Float($0) + 0.5 }
    let parts = zip(outputs, ranks).enumerated().flatMap { index, size -> [Operand] in
      [.weight("w\(index)", size.0, inputs, kinds[index])]
        + (size.1 > 0 ? [.parameter("b\(index)", size.0, size.1)] : [])
    }
    let names = kinds.map { "\($0)" }
    let formats = Set(names).count == 1 ? names[0] : names.joined(separator: ", ")
    var operation = OpCase(
      name: "merged linear \(formats) (\(rows), \(inputs)) to \(outputs) with adapters of ranks \(ranks)",
      operands: parts + [
        .parameter("a", R, inputs), .parameter("bias", 1, out), .input("xh", rows, inputs + R),
        .input("dydh", rows, out + R),
      ],
      run: { s, t in
        var column = 0
        let layer = LinearExpansion(
          ranks.enumerated().map { index, rank in
            defer { column += rank }
            return LinearExpansion.Part(
              weight: t.weights["w\(index)"]!,
              up: rank == 0
                ? nil
                : LinearExpansion.Up(
                  weight: t.parameters("b\(index)"), columns: column..<column + rank, scale: scales[index]))
          }, down: t.parameters("a"))
        let e = s.expand(layer, dtype: t.dtype)
        let x = t.xh.columns(0..<inputs) as Tensor
        return [
          "e": e, "h": s.product(x, rowsOf: e.rows(out..<out + R).columns(0..<inputs)),
          "y": s.product(t.xh, rowsOf: e.rows(0..<out), bias: t.bias),
          "dh": s.product(t.dydh.columns(0..<out), e.rows(0..<out).columns(inputs..<inputs + R)),
          "dx": s.product(t.dydh, e.columns(0..<inputs)),
        ]
      },
      reference: { v in
        let e = expansion(v, ranks, scales, inputs: inputs, outputs: outputs)
        let xh = v.xh as Matrix<Uncertain>
        let dydh = v.dydh as Matrix<Uncertain>
        return [
          "e": e, "h": Matrix(rows, R) { i, j in .sum(inputs) { xh[i, $0] * e[out + j, $0] }.stored },
          "y": Matrix(rows, out) { i, j in
            (.sum(inputs + R) { xh[i, $0] * e[j, $0] } + v.bias[0, j].stored).stored
          },
          "dh": Matrix(rows, R) { i, j in .sum(out) { dydh[i, $0] * e[$0, inputs + j] }.stored },
          "dx": Matrix(rows, inputs) { i, j in .sum(out + R) { dydh[i, $0] * e[$0, j] }.stored },
        ]
      },
      flops: 4 * Double(rows) * Double(inputs) * Double(out))
    operation.dtypes = [.f32, .bf16]
    return operation
  }

  private static func expansion(
    _ v: Values, _ ranks: [Int], _ scales: [Float], inputs: Int, outputs: [Int]
  ) -> Matrix<Uncertain> {
    let (R, out) = (ranks.reduce(0, +), outputs.reduce(0, +))
    var e = Matrix(out + R, inputs + R) { _, _ in Uncertain(0) }
    var (row, column) = (0, inputs)
    for (index, rank) in ranks.enumerated() {
      let w = v.matrices["w\(index)"]!
      for i in 0..<outputs[index] {
        for j in 0..<inputs { e[row + i, j] = w[i, j].stored }
        for j in 0..<rank {
          e[row + i, column + j] = (Double(scales[index]) * v.matrices["b\(index)"]![i, j]).stored
        }
      }
      (row, column) = (row + outputs[index], column + rank)
    }
    for i in 0..<R { for j in 0..<inputs { e[out + i, j] = v.a[i, j].stored } }
    return e
  }
}
