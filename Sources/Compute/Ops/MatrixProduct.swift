/// out = alpha * (sum of left * scale * right over the terms) + bias + addend: the one product behind linear
/// layers, their adapters and all their gradients. The terms are added up before anything is rounded.
public struct MatrixProduct {
  /// One product of the sum.
  public struct Term {
    /// What stands on the right, k by n.
    public enum Right {
      /// right(k, n) = weight[n, k]: forward, y = x Wᵀ.
      case rowsOf(Weight)
      /// right(k, n) = weight[k, n]: gradient of the input, dx = dy W.
      case weight(Weight)
      /// right(k, n) = matrix[k, n], of left's dtype.
      case matrix(Tensor)
      /// right(k, n) = matrix[n, k], of left's dtype.
      case rowsOfMatrix(Tensor)
    }

    /// (m, k), or (k, m) when the product's left is transposed. Its dtype decides the arithmetic.
    public let left: Tensor
    public let right: Right
    public let scale: Float
  }

  public let terms: [Term]
  public let leftTransposed: Bool
  public let alpha: Float
  /// (1, n), f32.
  public let bias: Tensor?
  /// (m, n) of out's dtype; may be `out` itself.
  public let addend: Tensor?
  /// (m, n), or (n, m) when `outTransposed`.
  public let out: Tensor
  public let outTransposed: Bool

  public var m: Int { leftTransposed ? terms[0].left.columns : terms[0].left.rows }
  public var n: Int { outTransposed ? out.rows : out.columns }
  public func k(_ term: Term) -> Int { leftTransposed ? term.left.rows : term.left.columns }
}

/// A weight that a tensor meets in a product.
public struct Factor {
  /// x, (T, in), in a forward product; dy, (T, out), in a gradient.
  public let tensor: Tensor
  /// (out, in)
  public let weight: Weight
  public let scale: Float

  public init(_ tensor: Tensor, _ weight: Weight, scale: Float = 1) {
    self.tensor = tensor
    self.weight = weight
    self.scale = scale
  }
}

extension Step {
  /// y = sum of scale * x Wᵀ over the factors + bias + adding, (T, in) by (out, in) to (T, out).
  ///
  /// - Parameters:
  ///   - adding: (T, out) of y's dtype: the residual.
  ///   - into: where y is written; a new tensor of x's dtype when nil.
  @discardableResult
  public func linear(
    _ factors: Factor..., bias: Tensor? = nil, adding: Tensor? = nil, into: Tensor? = nil
  ) -> Tensor {
    let outputs = factors[0].weight.rows
    precondition(factors.allSatisfy { $0.tensor.columns == $0.weight.columns && $0.weight.rows == outputs })
    precondition(bias.map { $0.columns == outputs && $0.dtype == .f32 } ?? true)
    let terms = factors.map {
      MatrixProduct.Term(left: $0.tensor, right: .rowsOf($0.weight), scale: $0.scale)
    }
    return multiply(terms, bias: bias, adding: adding, into: into, columns: outputs, #function)
  }

  /// dx = sum of scale * dy W over the factors, (T, out) by (out, in) to (T, in): the gradient of `linear` by an
  /// input that all the weights share.
  ///
  /// - Parameters:
  ///   - adding: (T, in) of dx's dtype, may be `into`.
  ///   - into: where dx is written; a new tensor of dy's dtype when nil.
  @discardableResult
  public func linearInputGradient(_ factors: [Factor], adding: Tensor? = nil, into: Tensor? = nil) -> Tensor {
    let inputs = factors[0].weight.columns
    precondition(factors.allSatisfy { $0.tensor.columns == $0.weight.rows && $0.weight.columns == inputs })
    let terms = factors.map {
      MatrixProduct.Term(left: $0.tensor, right: .weight($0.weight), scale: $0.scale)
    }
    return multiply(terms, bias: nil, adding: adding, into: into, columns: inputs, #function)
  }

  /// left * rightᵀ + bias + adding, (T, k) by (n, k) to (T, n); both factors are of one dtype.
  ///
  /// - Parameter into: where the product is written; a new tensor of left's dtype when nil.
  @discardableResult
  public func product(
    _ left: Tensor, rowsOf right: Tensor, bias: Tensor? = nil, adding: Tensor? = nil, into: Tensor? = nil
  ) -> Tensor {
    precondition(left.columns == right.columns && left.dtype == right.dtype)
    precondition(bias.map { $0.columns == right.rows && $0.dtype == .f32 } ?? true)
    let term = MatrixProduct.Term(left: left, right: .rowsOfMatrix(right), scale: 1)
    return multiply([term], bias: bias, adding: adding, into: into, columns: right.rows, #function)
  }

  /// left * right + adding, (T, k) by (k, n) to (T, n); both factors are of one dtype.
  ///
  /// - Parameter into: where the product is written; a new tensor of left's dtype when nil.
  @discardableResult
  public func product(_ left: Tensor, _ right: Tensor, adding: Tensor? = nil, into: Tensor? = nil) -> Tensor {
    precondition(left.columns == right.rows && left.dtype == right.dtype)
    let term = MatrixProduct.Term(left: left, right: .matrix(right), scale: 1)
    return multiply([term], bias: nil, adding: adding, into: into, columns: right.columns, #function)
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
        terms: [MatrixProduct.Term(left: left, right: .matrix(right), scale: 1)], leftTransposed: true,
        alpha: alpha, bias: nil, addend: dWeight, out: dWeight, outTransposed: swapped))
  }

  private func multiply(
    _ terms: [MatrixProduct.Term], bias: Tensor?, adding: Tensor?, into: Tensor?, columns: Int,
    _ name: StaticString = #function
  ) -> Tensor {
    let left = terms[0].left
    precondition(terms.allSatisfy { $0.left.rows == left.rows && $0.left.dtype == left.dtype })
    let out = into ?? make(left.rows, columns, left.dtype)
    precondition(out.shape == (left.rows, columns), "out (\(out.rows), \(out.columns))")
    precondition(adding.map { $0.shape == out.shape && $0.dtype == out.dtype } ?? true)
    start(
      MatrixProduct(
        terms: terms, leftTransposed: false, alpha: 1, bias: bias, addend: adding, out: out,
        outTransposed: false), name)
    return out
  }

  private func start(_ product: MatrixProduct, _ name: StaticString = #function) {
    var operands: [Tensor?] = [product.bias, product.addend, product.out]
    for term in product.terms {
      operands.append(term.left)
      switch term.right {
      case .matrix(let right), .rowsOfMatrix(let right): operands.append(right)
      case .weight, .rowsOf: break
      }
    }
    perform(operands, workspace: backend.workspaceBytes(product), name) {
      backend.run(product, workspace: $0)
    }
  }
}
