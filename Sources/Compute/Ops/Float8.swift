/// Rows in float8 (e4m3) with a scale each: element [t, c] is scales[t] * codes[t, c].
///
/// Source: Micikevicius et al., arXiv:2209.05433, section 3; a scale for each row keeps one row's outliers from costing the
/// others their precision.
public struct Float8Rows {
  /// (T, C), f8, contiguous.
  public let codes: Tensor
  /// (1, T), f32.
  public let scales: Tensor

  public init(codes: Tensor, scales: Tensor) {
    precondition(codes.dtype == .f8 && codes.isContiguous && scales.dtype == .f32)
    precondition(scales.shape == (1, codes.rows))
    self.codes = codes
    self.scales = scales
  }
}

/// out = left rightᵀ + addend, rows in float8, sums and scales in float.
public struct Float8Product {
  /// (m, k)
  public let left: Float8Rows
  /// (n, k)
  public let right: Float8Rows
  /// (m, n) of out's dtype; may be `out` itself.
  public let addend: Tensor?
  /// (m, n), bf16 or f32.
  public let out: Tensor
}

extension Step {
  /// x, each row scaled so that its largest magnitude is 448, e4m3's largest.
  ///
  /// - Parameters:
  ///   - x: (T, C), bf16 or f32, C a multiple of 16.
  ///   - factors: (1, C), f32: what each column is multiplied by before.
  public func float8(_ x: Tensor, times factors: Tensor? = nil) -> Float8Rows {
    precondition(x.columns % 16 == 0 && (x.dtype == .bf16 || x.dtype == .f32))
    precondition(factors.map { $0.shape == (1, x.columns) && $0.dtype == .f32 } ?? true)
    let rows = Float8Rows(codes: make(x.rows, x.columns, .f8), scales: make(1, x.rows, .f32))
    perform([x, factors, rows.codes, rows.scales], "float8 rows") { _ in
      backend.float8(x, times: factors, into: rows)
    }
    return rows
  }

  /// The scales of a weight's rows, (out, in) to (1, out), f32: each row's largest magnitude over 448.
  public func float8Scales(_ weight: Weight, into scales: Tensor) {
    precondition(weight.columns % 16 == 0 && scales.shape == (1, weight.rows) && scales.dtype == .f32)
    perform([scales]) { _ in backend.float8Scales(weight, into: scales) }
  }

  /// The codes of weights that share an input under their rows' scales: one below the other, (out, in), or all of that
  /// transposed, (in, out).
  ///
  /// - Parameter scales: (1, out): `float8Scales` of each.
  public func float8(_ weights: [Weight], scales: Tensor, transposed: Bool) -> Tensor {
    let (outputs, inputs) = (weights.reduce(0) { $0 + $1.rows }, weights[0].columns)
    precondition(weights.allSatisfy { $0.columns == inputs && $0.rows % 16 == 0 } && inputs % 16 == 0)
    precondition(scales.shape == (1, outputs))
    let codes = transposed ? make(inputs, outputs, .f8) : make(outputs, inputs, .f8)
    perform([scales, codes], transposed ? "float8 weights, transposed" : "float8 weights") { _ in
      var first = 0
      for weight in weights {
        let rows = first..<first + weight.rows
        backend.float8(
          weight, scales: scales.columns(rows), transposed: transposed,
          into: transposed ? codes.columns(rows) : codes.rows(rows))
        first = rows.upperBound
      }
    }
    return codes
  }

  /// left rightᵀ + adding, (T, k) by (n, k) to (T, n).
  ///
  /// - Parameters:
  ///   - adding: (T, n) of into's dtype; may be `into`.
  ///   - into: bf16 or f32.
  public func product(
    _ left: Float8Rows, rowsOf right: Float8Rows, adding: Tensor? = nil, into out: Tensor
  ) {
    precondition(left.codes.columns == right.codes.columns)
    precondition(out.shape == (left.codes.rows, right.codes.rows))
    precondition(adding.map { $0.shape == out.shape && $0.dtype == out.dtype } ?? true)
    let product = Float8Product(left: left, right: right, addend: adding, out: out)
    perform(
      [left.codes, left.scales, right.codes, right.scales, adding, out],
      workspace: backend.workspaceBytes(product), "float8 product"
    ) { backend.run(product, workspace: $0) }
  }
}
