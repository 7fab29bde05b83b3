import Compute
import Foundation

extension OpCase {
  static var elementwiseCases: [OpCase] {
    [
      add(1, 1), add(7, 33), add(300, 257), add(9, 64, inPlace: true), convert(1, 1), convert(6, 77),
      convert(260, 300), convert(6, 77, isDouble: true), zero(1, 1), zero(5, 33), zero(260, 300),
      columnSum(1, 1), columnSum(64, 7),
      columnSum(300, 270), dropout(0.1, 1, 1), dropout(0.5, 6, 301), dropout(0, 3, 64),
      dropout(0.05, 260, 300), dropout(0.9, 4, 512, inPlace: true), dropout(0.5, 7, 40, firstRow: 70_001),
    ]
  }

  static func add(_ rows: Int, _ columns: Int, inPlace: Bool = false) -> OpCase {
    OpCase(
      name: "add (\(rows), \(columns))\(inPlace ? " in place" : "")",
      operands: [.input("a", rows, columns, scale: 3), .input("b", rows, columns)],
      run: { s, t in
        let a = inPlace ? s.convert(t.a, to: t.dtype) : t.a
        return ["y": s.add(a, t.b, into: inPlace ? a : nil)]
      },
      reference: { v in ["y": Matrix(rows, columns) { (v.a[$0, $1] + v.b[$0, $1]).stored }] })
  }

  /// To every dtype but f64, or from f64 to itself and the others, with every kind of number.
  static func convert(_ rows: Int, _ columns: Int, isDouble: Bool = false) -> OpCase {
    // Ties between two bfloat16s and next to them, the ends of the range, and what is no number.
    let special: [Double] = [
      1 + 0x1p-8, 1 + 0x3p-8, 1 + 0x1p-8 + 0x1p-23, -1 - 0x1p-8, 0, -0.0, .infinity, -.infinity, .nan,
      0x1p-126, 0x1p-133, 0x1.8p-133, 0x1.FFp127, 3.4e38, -3.4e38, 1 + 0x1p-24, 1 + 0x3p-24,
    ]
    let all: [DType] = isDouble ? [.f64] : [.f32, .bf16]
    return OpCase(
      name: "convert (\(rows), \(columns))\(isDouble ? " to double" : "")",
      dtypes: isDouble ? [.f64] : [.f32, .bf16, .f64],
      operands: [
        Operand(
          name: "x", rows: rows, columns: columns, element: .activation,
          content: .computed { _, column, random in
            column % 2 == 1 ? special.randomElement(using: &random) ?? 0 : 100 * random.uniform()
          }, isStrided: true)
      ],
      run: { s, t in
        Dictionary(uniqueKeysWithValues: all.map { ("\($0)", s.convert(t.x, to: $0)) })
      },
      reference: { v in
        Dictionary(
          uniqueKeysWithValues: all.map { to in ("\(to)", v.x.map { Uncertain(to.round($0.value)) }) })
      })
  }

  static func zero(_ rows: Int, _ columns: Int) -> OpCase {
    OpCase(
      name: "zero (\(rows), \(columns))", operands: [.output("x", rows, columns)],
      run: { s, t in
        s.zero(t.x)
        return [:]
      },
      reference: { _ in ["x": Matrix(rows, columns) { _, _ in Uncertain(0) }] })
  }

  static func columnSum(_ rows: Int, _ columns: Int) -> OpCase {
    OpCase(
      name: "columnSum (\(rows), \(columns))",
      operands: [.input("x", rows, columns), .sum("sum", 1, columns)],
      run: { s, t in
        s.columnSum(t.x, addingTo: t.sum)
        return [:]
      },
      reference: { v in
        ["sum": Matrix(1, columns) { _, j in v.sum[0, j].accumulating(.sum(rows) { v.x[$0, j] }) }]
      })
  }

  /// y and dx have the same mask, that of Philox4x32-10.
  static func dropout(
    _ probability: Float, _ rows: Int, _ columns: Int, inPlace: Bool = false, firstRow: Int = 0
  ) -> OpCase {
    let (seed, microBatch, layer): (UInt64, UInt64, UInt64) = (0x1234_5678_9ABC_DEF0, 0xFEDC_BA98, 0x7654)
    return OpCase(
      name: "dropout \(probability) (\(rows), \(columns))\(inPlace ? " in place" : "")"
        + (firstRow > 0 ? " from row \(firstRow)" : ""),
      operands: [
        .input("x", rows, columns), .input("dy", rows, columns),
        .values("counter", 1, 2, .f64) { _, column, _ in
          Double(bitPattern: column == 0 ? seed : microBatch)
        },
      ],
      run: { s, t in
        let dropout = Dropout(
          probability: probability, layer: layer, counter: t.counter, firstRow: firstRow)
        let x = inPlace ? s.convert(t.x, to: t.dtype) : t.x
        let y = s.dropout(x, dropout, into: inPlace ? x : nil)
        return ["y": y, "dx": s.dropout(t.dy, dropout)]
      },
      reference: { v in
        let threshold = Double(probability) * 0x1p32
        let scale = Uncertain.constant(1 / (1 - Double(probability)))
        let mask = Matrix(rows, columns) { row, column in
          let word = Philox.words(
            key: seed, counter: UInt64(firstRow + row) << 32 | UInt64(column / 4), microBatch << 16 | layer
          )[column % 4]
          return Double(word) >= threshold.rounded(.down)
        }
        func dropped(_ x: Matrix<Uncertain>) -> Matrix<Uncertain> {
          Matrix(rows, columns) { mask[$0, $1] ? (x[$0, $1] * scale).stored : Uncertain(0) }
        }
        return ["y": dropped(v.x), "dx": dropped(v.dy)]
      },
      gradients: ["x": "dx"])
  }
}

/// Philox4x32-10 as published (Salmon et al., SC 2011), one counter at a time.
enum Philox {
  static func words(key: UInt64, counter low: UInt64, _ high: UInt64) -> [UInt32] {
    var c = [low, low >> 32, high, high >> 32].map { UInt32(truncatingIfNeeded: $0) }
    var k = [key, key >> 32].map { UInt32(truncatingIfNeeded: $0) }
    for _ in 0..<10 {
      let first = c[0].multipliedFullWidth(by: 0xD251_1F53)
      let second = c[2].multipliedFullWidth(by: 0xCD9E_8D57)
      c = [second.high ^ c[1] ^ k[0], second.low, first.high ^ c[3] ^ k[1], first.low]
      k = [k[0] &+ 0x9E37_79B9, k[1] &+ 0xBB67_AE85]
    }
    return c
  }
}
