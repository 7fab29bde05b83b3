import Compute

extension OpCase {
  /// What a decoding step does between one attention and the next: norms, adapters' first halves and layers one after the
  /// other, each of which a device may begin while the last is ending.
  static var feedForwardCases: [OpCase] {
    [1, 2, 3, 8, 16, 33].map { feedForwards(rows: $0, width: 320, middle: 192, rank: 16) } + [
      feedForwards(rows: 2, width: 1088, middle: 448, rank: 4, selects: true),
      feedForwards(rows: 12, width: 64, middle: 64, rank: 8, selects: true),
    ]
  }

  /// Twice y = x + down(silu(gate(n)) * up(n)) of n = norm(x), then a layer of norm(y), all with adapters. "apart" is what the
  /// rows one by one have other than all together: nothing, to the bit.
  private static func feedForwards(rows: Int, width: Int, middle: Int, rank: Int, selects: Bool = false)
    -> OpCase
  {
    let nf4 = WeightKind(format: .nf4, isDoubleQuantised: true, hasStandardCode: true)
    let epsilon: Float = 1e-5
    return OpCase(
      name: "fewRows feed-forwards (\(rows), \(width), \(middle)), rank \(rank)"
        + (selects ? ", selecting adapters" : ""),
      operands: [
        .input("x", rows, width, as: .arithmetic), .parameter("norm", 1, width, centre: 1, scale: 0.5),
        .weight("gate", middle, width, nf4), .weight("up", middle, width, nf4),
        .weight("down", width, middle, nf4), .parameter("a1", 2 * rank, width, scale: 0.1),
        .parameter("b1", middle, rank, scale: 0.2), .parameter("b2", middle, rank, scale: 0.2),
        .parameter("a3", rank, middle, scale: 0.1), .parameter("b3", width, rank, scale: 0.2),
        .output("y", rows, width, as: .arithmetic), .output("z", rows, width),
        .values("one", width, width, .f32) { row, column, _ in row == column ? 1 : 0 },
        .values("owners1", 1, 2 * rank, .i32) { _, column, _ in Double(column % rank / 4) },
        .values("owners3", 1, rank, .i32) { _, column, _ in Double(column / 4) },
        .values("adapters", 1, rows, .i32) { Double(Int.random(in: 0...rank / 4, using: &$2)) },
      ],
      run: { s, t in
        func linear(_ weight: String, _ up: String, _ columns: Range<Int>, _ scale: Float)
          -> LinearExpansion.Part
        {
          LinearExpansion.Part(
            weight: t.weights[weight]!,
            up: LinearExpansion.Up(weight: t.parameters(up), columns: columns, scale: scale))
        }
        let first = LinearExpansion(
          [linear("gate", "b1", 0..<rank, 0.5), linear("up", "b2", rank..<2 * rank, 1.5)], down: nil)
        let second = LinearExpansion([linear("down", "b3", 0..<rank, 2)], down: nil)
        func through(_ x: Tensor, _ down: String, _ layer: LinearExpansion, _ range: Range<Int>)
          -> (x: Tensor, h: Tensor, layer: LinearExpansion)
        {
          let a = LinearExpansion([LinearExpansion.Part(weight: t.parameters(down), up: nil)], down: nil)
          let selection =
            selects
            ? AdapterSelection(
              owners: down == "a1" ? t.owners1 : t.owners3, adapters: t.adapters.columns(range)) : nil
          return (x, s.fewRows(x, a, selecting: selection), layer)
        }
        func gated(_ x: Tensor, _ range: Range<Int>) -> Tensor {
          let n = s.rmsNorm(x, t.norm, epsilon: epsilon, output: t.dtype).y
          let (_, h, layer) = through(n, "a1", first, range)
          return s.fewRows(n, h: h, layer, activation: .silu)
        }
        func forward(_ x: Tensor, _ range: Range<Int>, into y: Tensor? = nil) -> Tensor {
          let m = gated(x, range)
          let (_, h, layer) = through(m, "a3", second, range)
          return s.fewRows(m, h: h, layer, adding: x, into: y)
        }
        func all(_ x: Tensor, _ range: Range<Int>, y: Tensor, z: Tensor) {
          let last = gated(forward(forward(x, range), range, into: y), range)
          let (_, h, layer) = through(last, "a3", second, range)
          s.fewRows(last, h: h, layer, into: z)
        }
        all(t.x, 0..<rows, y: t.y, z: t.z)
        guard rows > 1 else { return [:] }
        let (y, z) = (s.make(rows, width, t.y.dtype), s.make(rows, width, t.z.dtype))
        for row in (0..<rows).map({ $0..<$0 + 1 }) {
          all(t.x.rows(row), row, y: y.rows(row), z: z.rows(row))
        }
        // Exact: each element has one product that is not zero.
        return ["apart": s.linear(Factor(z, t.parameters("one"), scale: -1), adding: t.z)]
      },
      reference: { v in
        func product(_ x: Matrix<Uncertain>, _ w: String, scale: Double = 1) -> Matrix<Uncertain> {
          let weight = v.matrices[w]!.map { (scale * $0).stored }
          return Matrix(x.rows, weight.rows) { i, j in
            .sum(weight.columns) { x[i, $0] * weight[j, $0] }
          }
        }
        func half(_ x: Matrix<Uncertain>, _ a: String, _ owners: Matrix<Uncertain>) -> Matrix<Uncertain> {
          let h = product(x, a).map(\.stored)
          guard selects else { return h }
          return Matrix(h.rows, h.columns) { i, j in
            v.adapters[0, i].integer == owners[0, j].integer ? h[i, j] : Uncertain(0)
          }
        }
        func layer(_ x: Matrix<Uncertain>, _ h: Matrix<Uncertain>, _ w: String, _ b: String, _ scale: Double)
          -> Matrix<Uncertain>
        {
          let (plain, adapted) = (product(x, w), product(h, b, scale: scale))
          return Matrix(x.rows, plain.columns) { plain[$0, $1] + adapted[$0, $1] }
        }
        func gated(_ x: Matrix<Uncertain>) -> Matrix<Uncertain> {
          let n = Matrix(rows, width) { i, j in
            let mean = 1 / Double(width) * Uncertain.sum(width) { x[i, $0] * x[i, $0] }
            let rstd = .constant(1) / (mean + .constant(Double(epsilon))).squareRoot
            return (x[i, j] * rstd * v.norm[0, j]).stored
          }
          let h = half(n, "a1", v.owners1)
          let gate = layer(n, h.columns(0..<rank), "gate", "b1", 0.5)
          let up = layer(n, h.columns(rank..<2 * rank), "up", "b2", 1.5)
          return Matrix(rows, middle) { i, j in
            (Activation.silu.reference(gate[i, j].stored).value * up[i, j].stored).stored
          }
        }
        func down(_ m: Matrix<Uncertain>) -> Matrix<Uncertain> {
          layer(m, half(m, "a3", v.owners3), "down", "b3", 2)
        }
        func forward(_ x: Matrix<Uncertain>) -> Matrix<Uncertain> {
          let d = down(gated(x))
          return Matrix(rows, width) { x[$0, $1] + d[$0, $1] }
        }
        let y = forward(forward(v.x))
        let z = down(gated(y)).map(\.stored)
        let results = ["y": y, "z": z]
        return rows == 1 ? results : results.merging(["apart": z.map { _ in Uncertain(0) }]) { $1 }
      },
      flops: 2 * Double(rows * width * middle * 9))
  }
}

extension Matrix<Uncertain> {
  fileprivate func columns(_ range: Range<Int>) -> Matrix<Uncertain> {
    Matrix(rows, range.count) { self[$0, range.lowerBound + $1] }
  }
}
