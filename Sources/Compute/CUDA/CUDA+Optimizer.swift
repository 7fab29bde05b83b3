extension CUDA {
  public func sumOfSquares(_ x: Tensor) -> Double { preconditionFailure("TODO") }
  public func adamW(_ update: AdamWUpdate, parameters: Tensor, gradients: Tensor, m: Tensor, v: Tensor) {
    preconditionFailure("TODO")
  }
  public func adamW8bit(
    _ update: AdamWUpdate, parameters: Tensor, gradients: Tensor, state: AdamW8bitState
  ) { preconditionFailure("TODO") }
}
