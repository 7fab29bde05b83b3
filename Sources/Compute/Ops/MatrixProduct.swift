/// out = alpha * left * right + bias + addend: the one product behind a linear layer and its gradients.
public struct MatrixProduct {
  /// What stands on the right, k by n.
  public enum Right {
    /// right(k, n) = weight[n, k]: forward, y = x Wᵀ.
    case rowsOf(Weight)
    /// right(k, n) = weight[k, n]: gradient of the input, dx = dy W.
    case weight(Weight)
    /// right(k, n) = matrix[k, n], of left's dtype.
    case matrix(Tensor)
  }

  /// (m, k), or (k, m) when `leftTransposed`. Its dtype decides the arithmetic.
  public let left: Tensor
  public let leftTransposed: Bool
  public let right: Right
  public let alpha: Float
  /// (1, n), f32.
  public let bias: Tensor?
  /// (m, n) of out's dtype; may be `out` itself.
  public let addend: Tensor?
  /// (m, n), or (n, m) when `outTransposed`.
  public let out: Tensor
  public let outTransposed: Bool

  public var m: Int { leftTransposed ? left.columns : left.rows }
  public var k: Int { leftTransposed ? left.rows : left.columns }
  public var n: Int { outTransposed ? out.rows : out.columns }
}

extension Step {
  /// y = alpha * x Wᵀ + bias + adding, (T, in) by (out, in) to (T, out).
  ///
  /// - Parameters:
  ///   - adding: (T, out), such as the residual; may be `into` itself, to accumulate.
  ///   - into: where y is written; a new tensor of x's dtype when nil.
  @discardableResult
  public func linear(
    _ x: Tensor, _ weight: Weight, bias: Tensor? = nil, alpha: Float = 1, adding: Tensor? = nil,
    into: Tensor? = nil
  ) -> Tensor {
    precondition(
      x.columns == weight.columns, "x (\(x.rows), \(x.columns)) by a weight of \(weight.columns) inputs")
    precondition(bias.map { $0.columns == weight.rows && $0.dtype == .f32 } ?? true)
    let y = into ?? make(x.rows, weight.rows, x.dtype)
    return multiply(
      x, .rowsOf(weight), bias: bias, alpha: alpha, adding: adding, into: y, (x.rows, weight.rows))
  }

  /// dx = alpha * dy W + adding, (T, out) by (out, in) to (T, in): the gradient of `linear` by its input.
  @discardableResult
  public func linearInputGradient(
    _ dy: Tensor, _ weight: Weight, alpha: Float = 1, adding: Tensor? = nil, into: Tensor? = nil
  ) -> Tensor {
    precondition(
      dy.columns == weight.rows, "dy (\(dy.rows), \(dy.columns)) by a weight of \(weight.rows) outputs")
    let dx = into ?? make(dy.rows, weight.columns, dy.dtype)
    return multiply(
      dy, .weight(weight), bias: nil, alpha: alpha, adding: adding, into: dx, (dy.rows, weight.columns))
  }

  /// dW += alpha * dyᵀ x, (T, out) and (T, in) to (out, in), f32: the gradient of `linear` by its weight.
  public func linearWeightGradient(_ dy: Tensor, _ x: Tensor, alpha: Float = 1, addingTo dWeight: Tensor) {
    precondition(dy.rows == x.rows && dy.dtype == x.dtype && dWeight.dtype == .f32)
    precondition(dWeight.shape == (dy.columns, x.columns), "dW (\(dWeight.rows), \(dWeight.columns))")
    // The left operand is transposed row by row: let it be the narrower.
    let swapped = x.columns < dy.columns
    let (left, right) = swapped ? (x, dy) : (dy, x)
    start(
      MatrixProduct(
        left: left, leftTransposed: true, right: .matrix(right), alpha: alpha, bias: nil, addend: dWeight,
        out: dWeight, outTransposed: swapped),
      reading: right)
  }

  private func multiply(
    _ left: Tensor, _ right: MatrixProduct.Right, bias: Tensor?, alpha: Float, adding: Tensor?,
    into out: Tensor,
    _ shape: (Int, Int)
  ) -> Tensor {
    precondition(out.shape == shape, "out (\(out.rows), \(out.columns)), expected \(shape)")
    precondition(adding.map { $0.shape == shape && $0.dtype == out.dtype } ?? true)
    start(
      MatrixProduct(
        left: left, leftTransposed: false, right: right, alpha: alpha, bias: bias, addend: adding, out: out,
        outTransposed: false))
    return out
  }

  private func start(_ product: MatrixProduct, reading right: Tensor? = nil) {
    let bytes = backend.workspaceBytes(product)
    perform([product.left, right, product.bias, product.addend, product.out], workspace: bytes) {
      backend.run(product, workspace: $0)
    }
  }
}
