import Compute

extension OpCase {
  /// Layers and their adapters for a decoding step's few rows.
  static var fewRowsCases: [OpCase] {
    let (f32, bf16, q4) = (
      WeightKind(format: .f32), WeightKind(format: .bf16), WeightKind(format: .q4_1)
    )
    let nf4 = WeightKind(format: .nf4, isDoubleQuantised: true)
    let standard = WeightKind(format: .nf4, isDoubleQuantised: true, hasStandardCode: true)
    return StorageFormat.allCases.flatMap { format -> [OpCase] in
      let kind = WeightKind(format: format)
      // Rows of an odd number of elements where the format allows it.
      let inputs = format.blockSize == 256 ? 512 : format.blockSize == 32 ? 288 : 203
      return [1, 3].map { fewRows(kind, rows: $0, inputs: inputs, outputs: [37]) }
    }
      + [1, 2, 3, 8].flatMap { rows in
        [
          fewRows(q4, rows: rows, inputs: 96, outputs: [48, 16, 16], ranks: [8, 0, 5], biases: [0, 1, 2]),
          fewRows(nf4, rows: rows, inputs: 320, outputs: [70, 70], ranks: [16, 4], activation: .silu),
          fewRows(bf16, rows: rows, inputs: 130, outputs: [90], ranks: [3], biases: [0], adding: .itself),
        ]
      } + [
        fewRows(f32, rows: 1, inputs: 1, outputs: [1]), fewRows(bf16, rows: 5, inputs: 31, outputs: [17, 2]),
        fewRows(nf4, rows: 2, inputs: 96, outputs: [33], adding: .stream),
        fewRows(q4, rows: 4, inputs: 64, outputs: [40], ranks: [1], adding: .stream),
        fewRows(
          WeightKind(format: .q4_1, interleavedHead: 16), rows: 3, inputs: 64, outputs: [48, 16],
          adding: .other),
        fewRows(bf16, rows: 3, inputs: 64, outputs: [24, 24], biases: [0, 1], activation: .geluTanh),
        fewRows(q4, rows: 1, inputs: 64, outputs: [20, 20], activation: .gelu),
        // Longer than the stretches in which kernels take a row, and wide enough for all threads.
        fewRows(WeightKind(format: .q6_K), rows: 2, inputs: 2560, outputs: [5]),
        fewRows(nf4, rows: 1, inputs: 2112, outputs: [9], ranks: [64]),
        fewRows(q4, rows: 1, inputs: 64, outputs: [1500]),
        // Many blocks of columns and rows: several warps, ranges of columns, tiles for each block, tables that change.
        fewRows(f32, rows: 3, inputs: 18_944, outputs: [16]),
        fewRows(nf4, rows: 1, inputs: 64, outputs: [17_000]),
        fewRows(
          nf4, rows: 16, inputs: 1024, outputs: [80, 48, 48], ranks: [16, 16, 16], biases: [0, 1, 2]),
        fewRows(
          WeightKind(format: .nf4), rows: 33, inputs: 832, outputs: [50, 50], ranks: [8, 8], activation: .silu
        ),
        fewRows(WeightKind(format: .int8), rows: 64, inputs: 640, outputs: [100], adding: .stream),
        fewRows(WeightKind(format: .f16), rows: 9, inputs: 128, outputs: [30, 30], activation: .gelu),
        fewRows(bf16, rows: 20, inputs: 4096, outputs: [24, 40]),
        fewRows(nf4, rows: 1, inputs: 18_944, outputs: [64]),
        fewRows(nf4, rows: 20, inputs: 18_944, outputs: [40], ranks: [16], adding: .stream),
        // One table for gate and up.
        fewRows(standard, rows: 1, inputs: 832, outputs: [50, 50], ranks: [16, 16], activation: .silu),
        fewRows(standard, rows: 16, inputs: 320, outputs: [80, 80], ranks: [8, 8], activation: .silu),
        fewRows(
          WeightKind(format: .nf4, hasStandardCode: true), rows: 3, inputs: 320, outputs: [24, 24],
          activation: .gelu),
        // As wide as models are: rows of x in shared memory, float layers of few columns.
        fewRows(nf4, rows: 1, inputs: 3584, outputs: [80, 80], ranks: [16, 16], activation: .silu),
        fewRows(nf4, rows: 8, inputs: 3584, outputs: [80, 80], ranks: [16, 16], activation: .silu),
        fewRows(nf4, rows: 16, inputs: 19_008, outputs: [40, 40], ranks: [16, 16], activation: .silu),
        fewRows(nf4, rows: 9, inputs: 19_008, outputs: [40, 24], ranks: [8, 0], biases: [1]),
        fewRows(WeightKind(format: .nf4), rows: 9, inputs: 19_008, outputs: [40]),
        // Thread blocks of several warps, of which some have no rows.
        fewRows(nf4, rows: 17, inputs: 2368, outputs: [3136]),
        fewRows(standard, rows: 17, inputs: 4416, outputs: [700, 700], activation: .silu),
        fewRows(nf4, rows: 30, inputs: 3584, outputs: [112, 24, 24], ranks: [16, 0, 5], biases: [0, 1, 2]),
        fewRows(nf4, rows: 64, inputs: 3584, outputs: [80, 80], ranks: [16, 16], activation: .silu),
        fewRows(standard, rows: 64, inputs: 18_944, outputs: [96], ranks: [16], adding: .stream),
        fewRows(nf4, rows: 33, inputs: 832, outputs: [50, 50], ranks: [4, 8], activation: .gelu),
        fewRows(f32, rows: 1, inputs: 3584, outputs: [16, 16, 16]),
        fewRows(f32, rows: 9, inputs: 3584, outputs: [16, 16, 16]),
        // More than a handful.
        fewRows(q4, rows: 21, inputs: 96, outputs: [48, 16], ranks: [4, 4]),
        fewRows(f32, rows: 1, inputs: 3584, outputs: [48], selects: true),
        fewRows(f32, rows: 5, inputs: 31, outputs: [17], selects: true),
        fewRows(f32, rows: 40, inputs: 3584, outputs: [96], selects: true),
        fewRows(nf4, rows: 40, inputs: 320, outputs: [70], selects: true),
        selectAdapters(rows: 1, owners: [0]), selectAdapters(rows: 5, owners: [0, 0, 1, 1, 1, 3]),
        selectAdapters(rows: 40, owners: (0..<70).map { $0 / 16 }),
      ]
  }

  /// See `FewRows`. "apart" is what the rows one by one have other than all together: nothing, to the bit.
  ///
  /// - Parameters:
  ///   - ranks: of each part's adapter; 0 for none.
  ///   - biases: the parts that have one.
  ///   - selects: whether rows keep only their adapter's columns.
  static func fewRows(
    _ kind: WeightKind, rows: Int, inputs: Int, outputs: [Int], ranks: [Int] = [], biases: [Int] = [],
    activation: Activation? = nil, adding addend: Addend = .nothing, selects: Bool = false
  ) -> OpCase {
    let sizes = FewRowsSizes(
      outputs: outputs, ranks: ranks.isEmpty ? outputs.map { _ in 0 } : ranks, biases: biases,
      activation: activation)
    let (out, ranks) = (sizes.columns, sizes.ranks)
    let addends: [Operand] =
      switch addend {
      case .nothing: [.output("y", rows, out)]
      case .other: [.input("r", rows, out), .output("y", rows, out)]
      case .itself: [.updated("y", rows, out)]
      case .stream: [.input("r", rows, out, as: .arithmetic), .output("y", rows, out, as: .arithmetic)]
      }
    let options =
      (ranks.contains { $0 > 0 } ? ", adapters of ranks \(ranks)" : "")
      + (biases.isEmpty ? "" : ", bias of \(biases)") + (activation.map { ", \($0)" } ?? "")
      + (addend == .nothing ? "" : " + \(addend)") + (selects ? ", selecting adapters" : "")
    return OpCase(
      name: "fewRows \(kind) (\(rows), \(inputs)) to \(outputs)\(options)",
      operands: sizes.parts(kind, inputs: inputs) + addends + [
        .input("x", rows, inputs), .input("h", rows, max(1, ranks.reduce(0, +))),
        .values("one", out, rows > 1 ? out : 1, .f32) { row, column, _ in row == column ? 1 : 0 },
      ] + (selects ? adapters(rows: rows, owners: (0..<out).map { $0 / 16 }) : []),
      run: { s, t in
        let layer = sizes.layer(t)
        let h = ranks.contains { $0 > 0 } ? t.h : nil as Tensor?
        let before = addend == .itself ? s.convert(t.y, to: t.y.dtype) : nil
        let residual = addend == .nothing ? nil : before ?? t.r as Tensor
        func selection(_ rows: Range<Int>) -> AdapterSelection? {
          selects ? AdapterSelection(owners: t.owners, adapters: t.adapters.columns(rows)) : nil
        }
        s.fewRows(
          t.x, h: h, layer, biases: sizes.biases(t), activation: activation, selecting: selection(0..<rows),
          adding: addend == .itself ? t.y : residual, into: t.y)
        guard rows > 1 else { return [:] }
        let apart = s.make(rows, out, t.y.dtype)
        for row in (0..<rows).map({ $0..<$0 + 1 }) {
          s.fewRows(
            t.x.rows(row), h: h?.rows(row), layer, biases: sizes.biases(t), activation: activation,
            selecting: selection(row), adding: residual?.rows(row), into: apart.rows(row))
        }
        // Exact: each element has one product that is not zero.
        return ["apart": s.linear(Factor(apart, t.parameters("one"), scale: -1), adding: t.y)]
      },
      reference: { v in
        let parts = sizes.products(v)
        let y = Matrix(rows, out) { i, j in
          if let activation {
            return activation.reference(parts[0][i, j].stored).value * parts[1][i, j].stored
          }
          var (part, column) = (0, j)
          while column >= outputs[part] { (part, column) = (part + 1, column - outputs[part]) }
          if selects, !v.keeps(i, j) { return Uncertain(0) }
          return parts[part][i, column]
        }
        let sum = Matrix(rows, out) { i, j in
          switch addend {
          case .nothing: y[i, j].stored
          case .other: (y[i, j] + v.r[i, j]).stored
          case .itself: (y[i, j] + v.y[i, j]).stored
          case .stream: y[i, j] + v.r[i, j]
          }
        }
        return rows == 1 ? ["y": sum] : ["y": sum, "apart": sum.map { _ in Uncertain(0) }]
      },
      flops: 2 * Double(rows * inputs * outputs.reduce(0, +)))
  }

  static func selectAdapters(rows: Int, owners: [Int]) -> OpCase {
    OpCase(
      name: "selectAdapters of (\(rows), \(owners.count))",
      operands: [
        .updated("h", rows, owners.count)
      ] + adapters(rows: rows, owners: owners),
      run: { s, t in
        s.selectAdapters(t.h, AdapterSelection(owners: t.owners, adapters: t.adapters))
        return [:]
      },
      reference: { v in
        ["h": Matrix(rows, owners.count) { v.keeps($0, $1) ? v.h[$0, $1] : Uncertain(0) }]
      })
  }

  private static func adapters(rows: Int, owners: [Int]) -> [Operand] {
    [
      .values("owners", 1, owners.count, .i32) { _, column, _ in Double(owners[column]) },
      // The last owns nothing.
      .values("adapters", 1, rows, .i32) { Double(Int.random(in: 0...(owners.max() ?? 0) + 1, using: &$2)) },
    ]
  }
}

extension Values {
  /// Whether the adapter of row `i` owns column `j`.
  fileprivate func keeps(_ i: Int, _ j: Int) -> Bool {
    self.adapters[0, i].integer == self.owners[0, j].integer
  }
}

/// The parts of a `FewRows`, and what they are of a case's operands.
private struct FewRowsSizes: Sendable {
  let outputs, ranks, biases: [Int]
  let activation: Activation?

  /// Of the output.
  var columns: Int { activation == nil ? outputs.reduce(0, +) : outputs[0] }

  private func scale(_ part: Int) -> Float { Float(part) + 0.5 }

  func parts(_ kind: WeightKind, inputs: Int) -> [Operand] {
    outputs.indices.flatMap { part -> [Operand] in
      [.weight("w\(part)", outputs[part], inputs, kind)]
        + (ranks[part] > 0 ? [.parameter("b\(part)", outputs[part], ranks[part], scale: 0.2)] : [])
        + (biases.contains(part) ? [.parameter("bias\(part)", 1, outputs[part])] : [])
    }
  }

  /// Adapters lie in h one behind the other.
  private func columns(ofAdapter part: Int) -> Range<Int> {
    let first = ranks[..<part].reduce(0, +)
    return first..<first + ranks[part]
  }

  func layer(_ t: Operands) -> LinearExpansion {
    LinearExpansion(
      outputs.indices.map { part in
        LinearExpansion.Part(
          weight: t.weights["w\(part)"]!,
          up: ranks[part] == 0
            ? nil
            : LinearExpansion.Up(
              weight: t.parameters("b\(part)"), columns: columns(ofAdapter: part), scale: scale(part)))
      }, down: nil)
  }

  func biases(_ t: Operands) -> [Tensor?] { outputs.indices.map { t.tensors["bias\($0)"] } }

  /// x Wᵀ + scale h Bᵀ + bias of each part. Kernels may round weights, scaled, to the activations' dtype.
  func products(_ v: Values) -> [Matrix<Uncertain>] {
    outputs.indices.map { part in
      let w = v.matrices["w\(part)"]!.map(\.stored)
      let b = v.matrices["b\(part)"]?.map { (Double(scale(part)) * $0).stored }
      let (bias, columns) = (v.matrices["bias\(part)"], columns(ofAdapter: part))
      let (x, h) = (v.x as Matrix<Uncertain>, v.h as Matrix<Uncertain>)
      return Matrix(x.rows, w.rows) { i, j in
        var sum = Uncertain.sum(w.columns) { x[i, $0] * w[j, $0] }
        if let b { sum = sum + .sum(b.columns) { h[i, columns.lowerBound + $0] * b[j, $0] } }
        return bias.map { sum + $0[0, j].stored } ?? sum
      }
    }
  }
}
