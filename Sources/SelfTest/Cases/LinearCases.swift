import CKernels
import Compute

extension OpCase {
  /// Products with frozen weights in every format, and with trainable ones.
  static var linearCases: [OpCase] {
    formatCases + variantCases + trainableCases
  }

  /// Every format: the dot products of few rows and the tiles of many, widths that fill no panel, both
  /// directions; rows of 256, where formats allow others, of an odd number of elements.
  private static var formatCases: [OpCase] {
    StorageFormat.allCases.flatMap { format -> [OpCase] in
      let kind = WeightKind(format: format)
      let width =
        format.blockSize == 1 || format == .nf4 ? 75 : format.blockSize * (format.blockSize == 32 ? 9 : 1)
      return [
        linear(kind, rows: 3, inputs: width, outputs: 50),
        linear(kind, rows: 7, inputs: width, outputs: 34),
      ]
    } + [
      linear(WeightKind(format: .nf4, isDoubleQuantised: true), rows: 5, inputs: 320, outputs: 65),
      linear(WeightKind(format: .q4_1, interleavedHead: 16), rows: 5, inputs: 64, outputs: 48),
      linear(WeightKind(format: .bf16, interleavedHead: 8), rows: 6, inputs: 40, outputs: 32),
      linear(WeightKind(format: .f32, interleavedHead: 64), rows: 2, inputs: 33, outputs: 64),
      // Several tiles of columns for each thread, and of rows.
      linear(WeightKind(format: .q6_K), rows: 150, inputs: 512, outputs: 300),
      linear(WeightKind(format: .bf16), rows: 131, inputs: 257, outputs: 270),
    ]
  }

  private static var variantCases: [OpCase] {
    let bf16 = WeightKind(format: .bf16)
    let f32 = WeightKind(format: .f32)
    return (1...5).map { linear(f32, rows: $0, inputs: 31, outputs: 17, bias: true, alpha: 0.75) }
      + [1, 4, 5, 33].flatMap { rows in
        [
          linear(bf16, rows: rows, inputs: 48, outputs: 40, bias: true, adding: .other),
          linear(bf16, rows: rows, inputs: 1, outputs: 1, alpha: -2, adding: .itself),
          linear(f32, rows: rows, inputs: 130, outputs: 30, bias: true, alpha: 0.3, adding: .itself),
          linear(bf16, rows: rows, inputs: 64, outputs: 36, intoArithmetic: true),
        ]
      }
  }

  /// Both orders of the weight gradient's operands: wide and narrow weights.
  private static var trainableCases: [OpCase] {
    [(1, 5, 3), (4, 8, 24), (5, 24, 8), (33, 17, 49), (70, 49, 17), (64, 64, 64), (200, 300, 8)].map {
      trainableLinear(rows: $0, inputs: $1, outputs: $2)
    }
  }

  enum Addend: String, Sendable {
    case nothing, other, itself
  }

  /// y = alpha * x Wᵀ + bias + addend and dx = alpha * dy W, W frozen.
  static func linear(
    _ kind: WeightKind, rows: Int, inputs: Int, outputs: Int, bias: Bool = false, alpha: Float = 1,
    adding addend: Addend = .nothing, intoArithmetic: Bool = false
  ) -> OpCase {
    var operands: [Operand] = [
      .input("x", rows, inputs), .weight("w", outputs, inputs, kind), .input("dy", rows, outputs),
    ]
    if bias { operands.append(.parameter("bias", 1, outputs)) }
    if addend == .other { operands += [.input("r", rows, outputs), .input("dr", rows, inputs)] }
    // What is added to must be written in place; a gradient by it would be the loss's own weights.
    if addend == .itself { operands += [.updated("y", rows, outputs), .updated("dx", rows, inputs)] }
    if intoArithmetic { operands.append(.arithmeticOutput("y", rows, outputs)) }
    let options =
      (bias ? " + bias" : "") + (alpha == 1 ? "" : " * \(alpha)")
      + (addend == .nothing ? "" : " + \(addend)") + (intoArithmetic ? " into the arithmetic's type" : "")
    return OpCase(
      name: "linear \(kind) (\(rows), \(inputs)) to \(outputs)\(options)",
      operands: operands,
      run: { s, t in
        let bias = bias ? t.bias : nil as Tensor?
        switch addend {
        case .nothing where intoArithmetic:
          s.linear(t.x, t.w, bias: bias, alpha: alpha, into: t.y)
          return ["dx": s.linearInputGradient(t.dy, t.w, alpha: alpha)]
        case .nothing, .other:
          let isOther = addend == .other
          return [
            "y": s.linear(t.x, t.w, bias: bias, alpha: alpha, adding: isOther ? t.r : nil as Tensor?),
            "dx": s.linearInputGradient(t.dy, t.w, alpha: alpha, adding: isOther ? t.dr : nil as Tensor?),
          ]
        case .itself:
          s.linear(t.x, t.w, bias: bias, alpha: alpha, adding: t.y, into: t.y)
          s.linearInputGradient(t.dy, t.w, alpha: alpha, adding: t.dx, into: t.dx)
          return [:]
        }
      },
      reference: { v in
        // Kernels may round weights to the activations' dtype before they multiply.
        let w = v.w.map(\.stored)
        let y = Matrix(rows, outputs) { i, j in
          let product = Double(alpha) * .sum(inputs) { v.x[i, $0] * w[j, $0] }
          let biased = bias ? product + v.bias[0, j] : product
          return switch addend {
          case .nothing: biased.stored
          case .other: (biased + v.r[i, j]).stored
          case .itself: (biased + v.y[i, j]).stored
          }
        }
        let dx = Matrix(rows, inputs) { i, j in
          let product = Double(alpha) * .sum(outputs) { v.dy[i, $0] * w[$0, j] }
          return switch addend {
          case .nothing: product.stored
          case .other: (product + v.dr[i, j]).stored
          case .itself: (product + v.dx[i, j]).stored
          }
        }
        return ["y": y, "dx": dx]
      },
      gradients: addend == .other ? [:] : ["x": "dx"],
      flops: 4 * Double(rows) * Double(inputs) * Double(outputs))
  }

  /// y = x Wᵀ + b with dx, dW and db, W and b in float memory: LoRA's matrices.
  static func trainableLinear(rows: Int, inputs: Int, outputs: Int) -> OpCase {
    OpCase(
      name: "trainable linear (\(rows), \(inputs)) to \(outputs)",
      operands: [
        .input("x", rows, inputs), .parameter("w", outputs, inputs), .parameter("b", 1, outputs),
        .input("dy", rows, outputs), .sum("dw", outputs, inputs), .sum("db", 1, outputs),
      ],
      run: { s, t in
        let w: Weight = t.matrix("w")
        s.linearWeightGradient(t.dy, t.x, alpha: 0.5, addingTo: t.dw)
        s.columnSum(t.dy, addingTo: t.db)
        return [
          "y": s.linear(t.x, w, bias: t.b, alpha: 0.5), "dx": s.linearInputGradient(t.dy, w, alpha: 0.5),
        ]
      },
      reference: { v in
        let w = v.w.map(\.stored)
        return [
          "y": Matrix(rows, outputs) { i, j in
            (0.5 * .sum(inputs) { v.x[i, $0] * w[j, $0] } + v.b[0, j]).stored
          },
          "dx": Matrix(rows, inputs) { i, j in
            (0.5 * .sum(outputs) { v.dy[i, $0] * w[$0, j] }).stored
          },
          "dw": Matrix(outputs, inputs) { i, j in
            v.dw[i, j].accumulating(0.5 * .sum(rows) { v.dy[$0, i] * v.x[$0, j] })
          },
          "db": Matrix(1, outputs) { _, j in v.db[0, j].accumulating(.sum(rows) { v.dy[$0, j] }) },
        ]
      },
      gradients: ["x": "dx", "w": "dw", "b": "db"],
      flops: 6 * Double(rows) * Double(inputs) * Double(outputs))
  }
}

extension Operands {
  /// A float operand as a weight matrix.
  func matrix(_ name: String) -> Weight {
    let tensor = tensor(name)
    precondition(tensor.dtype == .f32 && tensor.isContiguous)
    var layout = sw_weight()
    layout.data = UnsafeRawPointer(bitPattern: tensor.address)
    layout.rows = Int64(tensor.rows)
    layout.columns = Int64(tensor.columns)
    layout.format = SW_W_F32
    // The case's own operands, which outlive its run, own the memory.
    return Weight(layout: layout, owner: NoOwner())
  }

  private final class NoOwner {}
}

extension Uncertain {
  /// self + addend in float memory: the addend may be rounded before, the sum is after.
  func accumulating(_ addend: Uncertain) -> Uncertain { (self + addend.storedAsFloat).storedAsFloat }
}
