extension Step {
  /// h = x + residual; y = h / sqrt(mean(h²) + ε) * w (Zhang & Sennrich, arXiv:1910.07467, eq. 4).
  ///
  /// x (T, n * C) is T * n rows of C = weight's width, each normalised by itself: n is 1 for a hidden state and
  /// the number of heads for QK-norm.
  ///
  /// - Parameters:
  ///   - weight: (1, C), f32.
  ///   - output: y's dtype: x's, or bf16 when x is f32.
  ///   - into: where y is written, of dtype `output`; a new tensor when nil.
  /// - Returns: h (x itself when there is no residual), y, and rstd (T, n), which the gradient needs.
  public func rmsNorm(
    _ x: Tensor, adding residual: Tensor? = nil, _ weight: Tensor, epsilon: Float, output: DType? = nil,
    into: Tensor? = nil
  ) -> (h: Tensor, y: Tensor, rstd: Tensor) {
    precondition(x.columns % weight.columns == 0 && weight.dtype == .f32, "x (\(x.rows), \(x.columns))")
    precondition(residual.map { $0.shape == x.shape && $0.dtype == x.dtype } ?? true)
    let h = residual.map { _ in make(x.rows, x.columns, x.dtype) }
    let y = into ?? make(x.rows, x.columns, output ?? x.dtype)
    precondition(y.shape == x.shape && y.dtype == output ?? x.dtype)
    precondition(y.dtype.isNarrow(side: x.dtype))
    let rstd = make(x.rows, x.columns / weight.columns, x.dtype.arithmetic)
    perform([x, residual, weight, h, y, rstd]) { _ in
      backend.rmsNorm(x, residual: residual, weight: weight, epsilon: epsilon, h: h, y: y, rstd: rstd)
    }
    return (h ?? x, y, rstd)
  }

  /// dh = adding + the gradient of `rmsNorm` by h, and dWeight += the gradient by w.
  ///
  /// With n = h * rstd: dh = rstd * (w * dy - n * mean(w * dy * n)), dw = sum over rows of dy * n.
  ///
  /// - Parameters:
  ///   - dy: of h's dtype, or bf16 when h is f32.
  ///   - h: what was normalised, with its `rstd`.
  ///   - into: where dh is written; may be `adding` or, of the same dtype, dy; a new tensor when nil.
  public func rmsNormBackward(
    _ dy: Tensor, h: Tensor, _ weight: Tensor, rstd: Tensor, adding: Tensor? = nil, into: Tensor? = nil,
    addingTo dWeight: Tensor? = nil
  ) -> Tensor {
    precondition(dy.shape == h.shape && dy.dtype.isNarrow(side: h.dtype))
    precondition(adding.map { $0.shape == h.shape && $0.dtype == h.dtype } ?? true)
    let dh = into ?? make(h.rows, h.columns, h.dtype)
    precondition(dh.shape == h.shape && dh.dtype == h.dtype)
    perform([dy, h, weight, rstd, adding, dh, dWeight]) { _ in
      backend.rmsNormBackward(dy, h: h, weight: weight, rstd: rstd, adding: adding, dh: dh, dWeight: dWeight)
    }
    return dh
  }
}
