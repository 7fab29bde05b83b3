import CKernels

extension Weight {
  /// Trainable parameters as a weight: a contiguous f32 matrix of `owner`'s.
  public init(_ parameters: Tensor, owner: Buffer) {
    precondition(parameters.dtype == .f32 && parameters.isContiguous)
    var layout = sw_weight()
    layout.data = UnsafeRawPointer(bitPattern: parameters.address)
    layout.rows = Int64(parameters.rows)
    layout.columns = Int64(parameters.columns)
    layout.format = SW_W_F32
    self.init(layout: layout, owner: owner)
  }
}
