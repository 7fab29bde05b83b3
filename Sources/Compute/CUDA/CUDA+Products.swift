import CKernels

extension CUDA {
  public func workspaceBytes(_ product: MatrixProduct) -> Int { ProductPlan(product).bytes }

  public func run(_ product: MatrixProduct, workspace: Tensor?) {
    guard let workspace = workspace?.address else { preconditionFailure("a product without workspace") }
    let plan = ProductPlan(product)
    let sums = plan.sums?.tensor(in: workspace)
    if let bias = product.bias, let place = plan.bias { convert(bias, y: place.tensor(in: workspace)) }
    if plan.isJoined {
      runJoined(product, plan, sums, workspace)
    } else {
      runOneByOne(product, plan, sums, workspace)
    }
    if let sums { store(sums, product) }
  }

  private func runOneByOne(_ product: MatrixProduct, _ plan: ProductPlan, _ sums: Tensor?, _ workspace: UInt)
  {
    for (index, term) in product.terms.enumerated() {
      let right: Tensor
      if let weight = term.weightToDecode, let place = plan.rights[index] {
        right = place.tensor(in: workspace)
        dequantize(weight, into: right)
      } else {
        right = term.right.tensor(term.left.dtype)
      }
      var gemm = product.gemm(
        term.left, right, transposed: term.right.isTransposed, bias: plan.bias?.tensor(in: workspace),
        into: sums)
      gemm.alpha = product.alpha * term.scale
      if index > 0 { (gemm.bias, gemm.addend) = (nil, gemm.out) }
      run(gemm, workspace: workspace)
    }
  }

  private func runJoined(_ product: MatrixProduct, _ plan: ProductPlan, _ sums: Tensor?, _ workspace: UInt) {
    guard let right = plan.rights[0]?.tensor(in: workspace) else {
      preconditionFailure("no place to join in")
    }
    let first = product.terms[0]
    let k = product.terms.reduce(0) { $0 + product.k($1) }
    let left =
      plan.left?.tensor(in: workspace)
      ?? Tensor(
        address: first.left.address, rows: product.m, columns: k, stride: first.left.stride,
        dtype: first.left.dtype, slot: nil)
    var start = 0
    for term in product.terms {
      guard let weight = term.right.weight else { preconditionFailure("only weights are joined") }
      let range = start..<start + product.k(term)
      if plan.left != nil { convert(term.left, y: left.columns(range)) }
      dequantize(
        weight, scale: term.scale,
        into: term.right.isTransposed ? right.columns(range) : right.rows(range))
      start = range.upperBound
    }
    run(
      product.gemm(
        left, right, transposed: first.right.isTransposed, bias: plan.bias?.tensor(in: workspace), into: sums),
      workspace: workspace)
  }

  /// out = sums + bias + addend
  private func store(_ sums: Tensor, _ product: MatrixProduct) {
    let out = product.out
    precondition(out.dtype == .bf16 && !product.outTransposed)
    launch(
      .matrixProduct, "store_sums_bf16", grid: Grid(x: (out.columns + 255) / 256, y: min(out.rows, 65535)),
      threads: 256, Int64(out.rows), Int64(out.columns), sums.address, Int64(sums.stride),
      product.bias?.address ?? 0, product.addend?.address ?? 0, Int64(product.addend?.stride ?? 0),
      out.address, Int64(out.stride))
  }
}

extension MatrixProduct {
  /// left * right, `right` lying as (n, k) when transposed, with the bias as it is in out's type. Into `sums`, what
  /// `out` gets besides is left to its last step.
  fileprivate func gemm(
    _ left: Tensor, _ right: Tensor, transposed isRightTransposed: Bool, bias roundedBias: Tensor?,
    into sums: Tensor?
  ) -> Gemm {
    let (bias, addend) = sums == nil ? (roundedBias ?? bias, addend) : (nil, nil)
    guard outTransposed else {
      return Gemm(
        a: left, aTransposed: leftTransposed, b: right, bTransposed: isRightTransposed, alpha: alpha,
        bias: bias, addend: addend, out: sums ?? out)
    }
    // outᵀ = rightᵀ leftᵀ
    precondition(bias == nil && sums == nil)
    return Gemm(
      a: right, aTransposed: !isRightTransposed, b: left, bTransposed: !leftTransposed, alpha: alpha,
      addend: addend, out: out)
  }
}

extension MatrixProduct.Term.Right {
  /// The operand where it lies, (k, n) or (n, k), of `dtype`.
  fileprivate func tensor(_ dtype: DType) -> Tensor {
    switch self {
    case .matrix(let tensor), .rowsOfMatrix(let tensor): tensor
    case .rowsOf(let weight), .weight(let weight):
      Tensor(
        address: UInt(bitPattern: weight.layout.data), rows: weight.rows, columns: weight.columns,
        stride: weight.columns, dtype: dtype, slot: nil)
    }
  }
}
