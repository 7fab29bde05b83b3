import Compute

extension OpCase {
  /// Frozen layers in float8: codes and scales to the bit, products within rounding.
  static var float8Cases: [OpCase] {
    let (bf16, q4) = (WeightKind(format: .bf16), WeightKind(format: .q4_K))
    let nf4 = WeightKind(format: .nf4, isDoubleQuantised: true)
    return [
      float8Linear(bf16, rows: 1, inputs: 16, outputs: [16]),
      float8Linear(bf16, rows: 3, inputs: 48, outputs: [32, 16], adding: .nothing),
      float8Linear(nf4, rows: 37, inputs: 320, outputs: [96, 64, 16]),
      float8Linear(WeightKind(format: .q4_1, interleavedHead: 16), rows: 5, inputs: 64, outputs: [48]),
      float8Linear(q4, rows: 70, inputs: 512, outputs: [272], adding: .stream),
      float8Linear(nf4, rows: 130, inputs: 1088, outputs: [192, 192], adding: .nothing),
    ]
  }

  /// y = x Wᵀ + r and dx = dy W with x, W and dy in e4m3: see `Step.float8`. Every 16th element of x is an outlier; one row is
  /// nothing but zeros.
  static func float8Linear(
    _ kind: WeightKind, rows: Int, inputs: Int, outputs: [Int], adding addend: Addend = .other
  ) -> OpCase {
    let out = outputs.reduce(0, +)
    let element: Operand.Element = addend == .stream ? .arithmetic : .activation
    let names = outputs.indices.map { "w\($0)" }
    var operation = OpCase(
      name: "float8 linear \(kind) (\(rows), \(inputs)) to \(outputs) + \(addend)",
      operands: zip(names, outputs).map { .weight($0, $1, inputs, kind) } + [
        .input("x", rows, inputs), .input("dy", rows, out, scale: 1e-4),
        .values("ones", 1, inputs, .f32) { _, _, _ in 1 }, .input("r", rows, out, as: element),
        .output("y", rows, out, as: element), .output("dx", rows, inputs),
      ],
      run: { s, t in
        let weights = names.map { t.weights[$0]! }
        let scales = s.make(1, out, .f32)
        var first = 0
        for weight in weights {
          s.float8Scales(weight, into: scales.columns(first..<first + weight.rows))
          first += weight.rows
        }
        let (x, dy) = (s.float8(t.x), s.float8(t.dy, times: scales))
        let w = s.float8(weights, scales: scales, transposed: false)
        let wᵀ = s.float8(weights, scales: scales, transposed: true)
        s.product(
          x, rowsOf: Float8Rows(codes: w, scales: scales), adding: addend == .nothing ? nil : t.r, into: t.y)
        s.product(dy, rowsOf: Float8Rows(codes: wᵀ, scales: t.ones), into: t.dx)
        return [
          "scales of w": scales, "w": w, "wᵀ": wᵀ, "x": x.codes, "scales of x": x.scales, "dy": dy.codes,
          "scales of dy": dy.scales,
        ]
      },
      reference: { v in
        let w = ScaledRows(
          Matrix(out, inputs) { row, column in
            var (part, row) = (0, row)
            while row >= outputs[part] { (part, row) = (part + 1, row - outputs[part]) }
            return v.matrices[names[part]]![row, column]
          })
        let (x, dy) = (ScaledRows(v.x), ScaledRows(v.dy, times: w.scales))
        return [
          "scales of w": w.scaleRow, "w": w.exact, "wᵀ": Matrix(inputs, out) { Uncertain(w.codes[$1, $0]) },
          "x": x.exact, "scales of x": x.scaleRow, "dy": dy.exact, "scales of dy": dy.scaleRow,
          "y": Matrix(rows, out) { i, j in
            let product = float8Sum(inputs, scale: x.scales[i] * w.scales[j]) {
              x.codes[i, $0] * w.codes[j, $0]
            }
            return addend == .nothing
              ? product.stored : addend == .stream ? product + v.r[i, j] : (product + v.r[i, j]).stored
          },
          "dx": Matrix(rows, inputs) { i, j in
            float8Sum(out, scale: dy.scales[i]) { dy.codes[i, $0] * w.codes[$0, j] }.stored
          },
        ]
      },
      flops: 4 * Double(rows) * Double(inputs) * Double(out))
    operation.dtypes = [.f32, .bf16]
    return operation
  }
}

/// Rows in float8, in plain Swift, with the kernels' roundings.
private struct ScaledRows {
  let codes: Matrix<Double>
  let scales: [Float]

  init(_ x: Matrix<Uncertain>, times factors: [Float]? = nil) {
    func element(_ row: Int, _ column: Int) -> Float { Float(x[row, column].value) * (factors?[column] ?? 1) }
    let scales = (0..<x.rows).map { row in
      let largest = (0..<x.columns).reduce(Float(0)) { max($0, abs(element(row, $1))) }
      return largest >= 0x1p-100 ? largest * (1 / 448) : 0
    }
    self.scales = scales
    codes = Matrix(x.rows, x.columns) { row, column in
      DType.nearestE4M3(element(row, column) * (scales[row] > 0 ? 1 / scales[row] : 0))
    }
  }

  var exact: Matrix<Uncertain> { codes.map { Uncertain($0) } }
  var scaleRow: Matrix<Uncertain> { Matrix(1, scales.count) { Uncertain(Double(scales[$1])) } }
}

/// scale * the sum of `count` terms, as a GPU's float8 units take it: of what is added at once, terms and the sum so far, they
/// keep 13 bits behind the point of the largest. Errors of random sign grow with the root of their number.
private func float8Sum(_ count: Int, scale: Float, _ term: (Int) -> Double) -> Uncertain {
  var (partial, largest) = (0.0, 0.0)
  for i in 0..<count {
    partial += term(i)
    largest = max(largest, abs(term(i)), abs(partial))
  }
  let sum = Uncertain.sum(count) { Uncertain(term($0)) }
    .approximated(within: 0x1p12 * Double(count).squareRoot() * largest)
  return Double(scale) * sum
}
