import Compute

extension OpCase {
  static var normCases: [OpCase] {
    [
      rmsNorm(rows: 1, width: 1), rmsNorm(rows: 5, width: 33),
      rmsNorm(rows: 3, width: 576, residual: true), rmsNorm(rows: 200, width: 257, residual: true),
      rmsNorm(rows: 7, width: 16, groups: 3), rmsNorm(rows: 70, width: 130, groups: 5),
      rmsNorm(rows: 9, width: 64, groups: 2, inPlace: true),
      rmsNorm(rows: 6, width: 200, residual: true, inPlace: true),
      rmsNorm(rows: 5, width: 75, stream: true), rmsNorm(rows: 70, width: 258, residual: true, stream: true),
      rmsNorm(rows: 4, width: 64, residual: true, inPlace: true, stream: true),
    ]
  }

  /// RMS norm and its gradient.
  ///
  /// - Parameters:
  ///   - inPlace: the gradient takes the memory of what it is added to, or of dy.
  ///   - stream: x and its gradient are of the arithmetic's type.
  static func rmsNorm(
    rows: Int, width: Int, groups: Int = 1, residual: Bool = false, inPlace: Bool = false,
    stream: Bool = false
  ) -> OpCase {
    let element: Operand.Element = stream ? .arithmetic : .activation
    let options =
      (residual ? " + residual" : "") + (inPlace ? " in place" : "") + (stream ? " from the stream" : "")
    let columns = groups * width
    let epsilon: Float = 1e-5
    return OpCase(
      name: "rmsNorm (\(rows), \(groups) * \(width))\(options)",
      operands: [
        .input("x", rows, columns, as: element), .parameter("w", 1, width, centre: 1, scale: 0.5),
        .input("dy", rows, columns), .sum("dw", 1, width),
      ]
        + (residual
          ? [.input("r", rows, columns, as: element), .input("dh", rows, columns, as: element)] : []),
      run: { s, t in
        let (h, y, rstd) = s.rmsNorm(
          t.x, adding: residual ? t.r : nil as Tensor?, t.w, epsilon: epsilon, output: t.dtype)
        let dy = inPlace && !residual ? s.convert(t.dy, to: t.dy.dtype) : t.dy
        let dh = !residual ? nil : inPlace ? s.convert(t.dh, to: t.dh.dtype) : t.dh as Tensor?
        let dx = s.rmsNormBackward(
          dy, h: h, t.w, rstd: rstd, adding: dh, into: inPlace ? dh ?? dy : nil, addingTo: t.dw)
        return residual ? ["h": h, "y": y, "rstd": rstd, "dx": dx] : ["y": y, "rstd": rstd, "dx": dx]
      },
      reference: { v in
        func kept(_ value: Uncertain) -> Uncertain { stream ? value : value.stored }
        let h = residual ? Matrix(rows, columns) { kept(v.x[$0, $1] + v.r[$0, $1]) } : v.x
        let rstd = Matrix(rows, groups) { i, group in
          let sum = Uncertain.sum(width) { h[i, group * width + $0] * h[i, group * width + $0] }
          return .constant(1) / (1 / Double(width) * sum + .constant(Double(epsilon))).squareRoot
        }
        let n = Matrix(rows, columns) { h[$0, $1] * rstd[$0, $1 / width] }
        let dn = Matrix(rows, columns) { v.w[0, $1 % width] * v.dy[$0, $1] }
        let mean = Matrix(rows, groups) { i, group in
          1 / Double(width) * .sum(width) { dn[i, group * width + $0] * n[i, group * width + $0] }
        }
        let dx = Matrix(rows, columns) { i, j in
          let gradient = rstd[i, j / width] * (dn[i, j] - n[i, j] * mean[i, j / width])
          return kept(residual ? v.dh[i, j] + gradient : gradient)
        }
        let dw = Matrix(1, width) { _, c in
          v.dw[0, c].accumulating(
            .sum(rows * groups) {
              let (i, j) = ($0 / groups, $0 % groups * width + c)
              return v.dy[i, j] * n[i, j]
            })
        }
        let y = Matrix(rows, columns) { (n[$0, $1] * v.w[0, $1 % width]).stored }
        let results = ["y": y, "rstd": rstd, "dx": dx, "dw": dw]
        return residual ? results.merging(["h": h]) { $1 } : results
      },
      gradients: ["x": "dx", "w": "dw"].merging(residual ? ["r": "dx"] : [:]) { $1 },
      // The residual stream goes on beside the norm, with a gradient of its own.
      loss: residual ? ["y": "dy", "h": "dh"] : ["y": "dy"])
  }
}
