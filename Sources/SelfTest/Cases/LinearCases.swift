import Compute

extension OpCase {
  /// Products with frozen weights in every format, with trainable ones, and with both.
  static var linearCases: [OpCase] { formatCases + variantCases + trainableCases + adapterCases }

  /// Every format: the dot products of few rows and the tiles of many, widths that fill no panel, both
  /// directions; where the format allows it, rows of an odd number of elements.
  private static var formatCases: [OpCase] {
    StorageFormat.allCases.flatMap { format -> [OpCase] in
      let kind = WeightKind(format: format)
      let width =
        switch format.blockSize {
        case 32: 288
        case 256: 256
        default: 75
        }
      return [
        linear(kind, rows: 3, inputs: width, outputs: 50), linear(kind, rows: 7, inputs: width, outputs: 34),
      ]
    } + [
      linear(WeightKind(format: .nf4, isDoubleQuantised: true), rows: 5, inputs: 320, outputs: 65),
      linear(WeightKind(format: .q4_1, interleavedHead: 16), rows: 5, inputs: 64, outputs: 48),
      linear(WeightKind(format: .bf16, interleavedHead: 8), rows: 6, inputs: 40, outputs: 32),
      linear(WeightKind(format: .f32, interleavedHead: 64), rows: 2, inputs: 33, outputs: 64),
      // Several tiles of columns for each thread, and of rows.
      linear(WeightKind(format: .q6_K), rows: 150, inputs: 512, outputs: 300),
      linear(WeightKind(format: .bf16), rows: 131, inputs: 257, outputs: 270),
      // Sums longer than the blocks in which kernels take them.
      linear(WeightKind(format: .f16), rows: 6, inputs: 2100, outputs: 5),
      linear(WeightKind(format: .q4_0), rows: 6, inputs: 32, outputs: 4100),
    ]
  }

  private static var variantCases: [OpCase] {
    let bf16 = WeightKind(format: .bf16)
    let f32 = WeightKind(format: .f32)
    return [1, 2, 3, 4, 5, 33].flatMap { rows in
      [
        linear(f32, rows: rows, inputs: 31, outputs: 17, bias: true, scale: 0.75),
        linear(bf16, rows: rows, inputs: 48, outputs: 40, bias: true, adding: .other),
        linear(bf16, rows: rows, inputs: 1, outputs: 1, scale: -2, adding: .itself),
        linear(f32, rows: rows, inputs: 130, outputs: 30, bias: true, scale: 0.3, adding: .itself),
        linear(bf16, rows: rows, inputs: 64, outputs: 36, adding: .stream),
      ]
    }
  }

  /// Both orders of the weight gradient's operands: wide and narrow weights.
  private static var trainableCases: [OpCase] {
    [(1, 5, 3), (4, 8, 24), (5, 24, 8), (33, 17, 49), (70, 49, 17), (64, 64, 64), (200, 300, 8)].map {
      trainableLinear(rows: $0, inputs: $1, outputs: $2)
    }
  }

  private static var adapterCases: [OpCase] {
    let (bf16, q4) = (WeightKind(format: .bf16), WeightKind(format: .q4_K))
    return [
      adaptedLinear(bf16, rank: 1, rows: 1, inputs: 3, outputs: 2),
      adaptedLinear(bf16, rank: 8, rows: 4, inputs: 65, outputs: 33),
      adaptedLinear(q4, rank: 16, rows: 37, inputs: 256, outputs: 50),
      adaptedLinear(WeightKind(format: .nf4), rank: 7, rows: 70, inputs: 40, outputs: 90),
      // The adapter's terms begin inside a block of the sum, and in the next one.
      adaptedLinear(bf16, rank: 5, rows: 6, inputs: 2050, outputs: 9),
      adaptedLinear(bf16, rank: 5, rows: 5, inputs: 9, outputs: 2047),
    ]
  }

  /// What is added to a product: nothing, another matrix, what the output holds already, or the residual
  /// stream, which like the output is of the arithmetic's type.
  enum Addend: String, Sendable {
    case nothing, other, itself, stream
  }

  /// y = scale * x Wᵀ + bias + addend and dx = scale * dy W, W frozen. The bias may be rounded as y is.
  static func linear(
    _ kind: WeightKind, rows: Int, inputs: Int, outputs: Int, bias: Bool = false, scale: Float = 1,
    adding addend: Addend = .nothing
  ) -> OpCase {
    let addends: [Operand] =
      switch addend {
      case .nothing: []
      case .other: [.input("r", rows, outputs)]
      case .itself: [.updated("y", rows, outputs)]
      case .stream:
        [.input("r", rows, outputs, as: .arithmetic), .output("y", rows, outputs, as: .arithmetic)]
      }
    let options =
      (bias ? " + bias" : "") + (scale == 1 ? "" : " * \(scale)")
      + (addend == .nothing ? "" : " + \(addend)")
    return OpCase(
      name: "linear \(kind) (\(rows), \(inputs)) to \(outputs)\(options)",
      operands: [
        .input("x", rows, inputs), .weight("w", outputs, inputs, kind), .parameter("bias", 1, outputs),
        .input("dy", rows, outputs),
      ] + addends,
      run: { s, t in
        let factor = Factor(t.x, t.w, scale: scale)
        let bias = bias ? t.bias : nil as Tensor?
        let dx = s.linearInputGradient([Factor(t.dy, t.w, scale: scale)])
        switch addend {
        case .nothing: return ["y": s.linear(factor, bias: bias), "dx": dx]
        case .other: return ["y": s.linear(factor, bias: bias, adding: t.r), "dx": dx]
        case .itself: s.linear(factor, bias: bias, adding: t.y, into: t.y)
        case .stream: s.linear(factor, bias: bias, adding: t.r, into: t.y)
        }
        return ["dx": dx]
      },
      reference: { v in
        let y = product(v.x, v.w, scale)
        let dx = inputGradient(v.dy, v.w, scale)
        return [
          "y": Matrix(rows, outputs) { i, j in
            let biased = bias ? y[i, j] + v.bias[0, j].stored : y[i, j]
            return switch addend {
            case .nothing: biased.stored
            case .other: (biased + v.r[i, j]).stored
            case .itself: (biased + v.y[i, j]).stored
            case .stream: biased + v.r[i, j]
            }
          },
          "dx": dx.map(\.stored),
        ]
      },
      gradients: ["x": "dx"],
      flops: 4 * Double(rows) * Double(inputs) * Double(outputs))
  }

  /// y = x Wᵀ + b with dx, dW and db, W and b in float memory. The bias may be rounded as y is.
  static func trainableLinear(rows: Int, inputs: Int, outputs: Int) -> OpCase {
    OpCase(
      name: "trainable linear (\(rows), \(inputs)) to \(outputs)",
      operands: [
        .input("x", rows, inputs), .parameter("w", outputs, inputs), .parameter("b", 1, outputs),
        .input("dy", rows, outputs), .sum("dw", outputs, inputs), .sum("db", 1, outputs),
      ],
      run: { s, t in
        s.linearWeightGradient(t.dy, t.x, alpha: 0.5, addingTo: t.dw)
        s.columnSum(t.dy, addingTo: t.db)
        let w = t.parameters("w")
        return [
          "y": s.linear(Factor(t.x, w, scale: 0.5), bias: t.b),
          "dx": s.linearInputGradient([Factor(t.dy, w, scale: 0.5)]),
        ]
      },
      reference: { v in
        let y = product(v.x, v.w, 0.5)
        return [
          "y": Matrix(rows, outputs) { (y[$0, $1] + v.b[0, $1].stored).stored },
          "dx": inputGradient(v.dy, v.w, 0.5).map(\.stored),
          "dw": weightGradient(v.dy, v.x, 0.5, addingTo: v.dw),
          "db": Matrix(1, outputs) { _, j in v.db[0, j].accumulating(.sum(rows) { v.dy[$0, j] }) },
        ]
      },
      gradients: ["x": "dx", "w": "dw", "b": "db"],
      flops: 6 * Double(rows) * Double(inputs) * Double(outputs))
  }

  /// LoRA (Hu et al., arXiv:2106.09685): y = x Wᵀ + scale * (x Aᵀ) Bᵀ with dx, dA and dB, W frozen.
  static func adaptedLinear(
    _ kind: WeightKind, rank: Int, rows: Int, inputs: Int, outputs: Int
  ) -> OpCase {
    let scale: Float = 1.7
    return OpCase(
      name: "linear \(kind) (\(rows), \(inputs)) to \(outputs) with an adapter of rank \(rank)",
      operands: [
        .input("x", rows, inputs), .weight("w", outputs, inputs, kind), .parameter("a", rank, inputs),
        .parameter("b", outputs, rank), .input("dy", rows, outputs), .sum("da", rank, inputs),
        .sum("db", outputs, rank),
      ],
      run: { s, t in
        let (a, b) = (t.parameters("a"), t.parameters("b"))
        let h = s.linear(Factor(t.x, a))
        let y = s.linear(Factor(t.x, t.w), Factor(h, b, scale: scale))
        let dh = s.linearInputGradient([Factor(t.dy, b, scale: scale)])
        let dx = s.linearInputGradient([Factor(t.dy, t.w), Factor(dh, a)])
        s.linearWeightGradient(dh, t.x, addingTo: t.da)
        s.linearWeightGradient(t.dy, h, alpha: scale, addingTo: t.db)
        return ["y": y, "dx": dx]
      },
      reference: { v in
        let h = product(v.x, v.a).map(\.stored)
        let dh = inputGradient(v.dy, v.b, scale).map(\.stored)
        let (base, update) = (product(v.x, v.w), product(h, v.b, scale))
        let (dBase, dUpdate) = (inputGradient(v.dy, v.w), inputGradient(dh, v.a))
        return [
          "y": Matrix(rows, outputs) { (base[$0, $1] + update[$0, $1]).stored },
          "dx": Matrix(rows, inputs) { (dBase[$0, $1] + dUpdate[$0, $1]).stored },
          "da": weightGradient(dh, v.x, 1, addingTo: v.da),
          "db": weightGradient(v.dy, h, scale, addingTo: v.db),
        ]
      },
      gradients: ["x": "dx", "a": "da", "b": "db"],
      flops: 4 * Double(rows) * (Double(inputs) * Double(outputs) + 2 * Double(rank * (inputs + outputs))))
  }
}

/// scale * x Wᵀ. Kernels may round weights, scaled, to the activations' dtype before they multiply.
private func product(
  _ x: Matrix<Uncertain>, _ weight: Matrix<Uncertain>, _ scale: Float = 1
) -> Matrix<Uncertain> {
  let w = weight.map { (Double(scale) * $0).stored }
  return Matrix(x.rows, w.rows) { i, j in .sum(x.columns) { x[i, $0] * w[j, $0] } }
}

/// scale * dy W
private func inputGradient(
  _ dy: Matrix<Uncertain>, _ weight: Matrix<Uncertain>, _ scale: Float = 1
) -> Matrix<Uncertain> {
  let w = weight.map { (Double(scale) * $0).stored }
  return Matrix(dy.rows, w.columns) { i, j in .sum(dy.columns) { dy[i, $0] * w[$0, j] } }
}

/// dW + scale * dyᵀ x
private func weightGradient(
  _ dy: Matrix<Uncertain>, _ x: Matrix<Uncertain>, _ scale: Float, addingTo dw: Matrix<Uncertain>
) -> Matrix<Uncertain> {
  Matrix(dy.columns, x.columns) { i, j in
    dw[i, j].accumulating(Double(scale) * .sum(dy.rows) { dy[$0, i] * x[$0, j] })
  }
}

extension Uncertain {
  /// self + addend in float memory: the addend may be rounded before, the sum is after.
  func accumulating(_ addend: Uncertain) -> Uncertain { (self + addend.storedAsFloat).storedAsFloat }
}
