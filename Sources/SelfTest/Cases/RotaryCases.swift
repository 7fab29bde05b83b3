import Compute
import Foundation

extension OpCase {
  static var rotaryCases: [OpCase] {
    [
      rotate(rows: 1, heads: 1, headSize: 2, rotary: 2), rotate(rows: 9, heads: 3, headSize: 20, rotary: 20),
      rotate(rows: 5, heads: 2, headSize: 64, rotary: 16),
      rotate(rows: 150, heads: 4, headSize: 128, rotary: 128),
    ]
  }

  /// y is x turned, back is y turned back, dx is dy turned back.
  static func rotate(rows: Int, heads: Int, headSize: Int, rotary: Int) -> OpCase {
    let half = rotary / 2
    let positions = 2 * rows
    @Sendable func angle(_ position: Int, _ i: Int) -> Double {
      Double(position) * pow(100, -Double(i) / Double(half))
    }
    return OpCase(
      name: "rotate (\(rows), \(heads) * \(headSize)), the first \(rotary) of a head",
      operands: [
        .input("x", rows, heads * headSize), .input("dy", rows, heads * headSize),
        .values("positions", 1, rows, .i32) { Double(Int.random(in: 0..<positions, using: &$2)) },
        .values("cosine", positions, half, .f32) { position, i, _ in cos(angle(position, i)) },
        .values("sine", positions, half, .f32) { position, i, _ in sin(angle(position, i)) },
      ],
      run: { s, t in
        let table = RotaryTable(
          cosine: t.cosine, sine: t.sine, headSize: headSize, owner: t.buffer("cosine"))
        let y = s.convert(t.x, to: t.dtype)
        s.rotate(y, positions: t.positions, table)
        let back = s.convert(y, to: t.dtype)
        s.rotate(back, positions: t.positions, table, .backward)
        let dx = s.convert(t.dy, to: t.dtype)
        s.rotate(dx, positions: t.positions, table, .backward)
        return ["y": y, "back": back, "dx": dx]
      },
      reference: { v in
        func rotated(_ x: Matrix<Uncertain>, by sign: Double) -> Matrix<Uncertain> {
          Matrix(rows, heads * headSize) { row, column in
            let i = column % headSize
            guard i < rotary else { return x[row, column] }
            let position = v.positions[0, row].integer
            let cosine = v.cosine[position, i % half]
            let sine = Uncertain(sign * v.sine[position, i % half].value)
            return i < half
              ? (x[row, column] * cosine - x[row, column + half] * sine).stored
              : (x[row, column] * cosine + x[row, column - half] * sine).stored
          }
        }
        let y = rotated(v.x, by: 1)
        return ["y": y, "back": rotated(y, by: -1), "dx": rotated(v.dy, by: -1)]
      },
      gradients: ["x": "dx"])
  }
}
