import CKernels

/// What a GPU computes in float8, slowly: for checks.
extension CPU {
  public var float8Refusal: String? { "float8 products are for GPUs" }

  public func float8(_ x: Tensor, times factors: Tensor?, into rows: Float8Rows) {
    self.rows(of: x) {
      sw_float8_rows(
        x.matrix, factors?.pointer(), rows.codes.pointer(), rows.scales.pointer(), $0, $1)
    }
  }

  public func float8Scales(_ weight: Weight, into scales: Tensor) {
    ranges(weight.rows, elementsEach: weight.columns) { begin, end in
      withUnsafePointer(to: weight.layout) { sw_float8_weight_scales($0, scales.pointer(), begin, end) }
    }
  }

  public func float8(_ weight: Weight, scales: Tensor, transposed: Bool, into codes: Tensor) {
    ranges(weight.rows, elementsEach: weight.columns) { begin, end in
      withUnsafePointer(to: weight.layout) {
        sw_float8_weight(
          $0, scales.pointer(), transposed, codes.pointer(), Int64(codes.stride), begin, end)
      }
    }
  }

  public func workspaceBytes(_ product: Float8Product) -> Int { 0 }

  public func run(_ product: Float8Product, workspace: Tensor?) {
    let (left, right) = (product.left, product.right)
    rows(of: product.out) {
      sw_float8_product(
        left.codes.pointer(), left.scales.pointer(), right.codes.pointer(), right.scales.pointer(),
        Int64(left.codes.columns), product.addend?.matrix ?? sw_matrix(), product.out.matrix, $0, $1)
    }
  }
}
