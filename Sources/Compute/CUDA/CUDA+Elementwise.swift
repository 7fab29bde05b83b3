extension CUDA {
  public func rmsNorm(
    _ x: Tensor, residual: Tensor?, weight: Tensor, epsilon: Float, h: Tensor?, y: Tensor, rstd: Tensor
  ) { preconditionFailure("TODO") }
  public func rmsNormBackward(
    _ dy: Tensor, h: Tensor, weight: Tensor, rstd: Tensor, adding: Tensor?, dh: Tensor, dWeight: Tensor?
  ) { preconditionFailure("TODO") }
  public func rotary(
    _ x: Tensor, positions: Tensor, table: RotaryTable, direction: RotaryDirection, y: Tensor
  ) { preconditionFailure("TODO") }
  public func gatedActivation(_ activation: Activation, gate: Tensor, up: Tensor, y: Tensor) {
    preconditionFailure("TODO")
  }
  public func gatedActivationBackward(
    _ activation: Activation, gate: Tensor, up: Tensor, dy: Tensor, dGate: Tensor, dUp: Tensor
  ) { preconditionFailure("TODO") }
  public func add(_ a: Tensor, _ b: Tensor, y: Tensor) { preconditionFailure("TODO") }
  public func convert(_ x: Tensor, y: Tensor) { preconditionFailure("TODO") }
  public func dropout(_ x: Tensor, _ dropout: Dropout, y: Tensor) { preconditionFailure("TODO") }
  public func zero(_ x: Tensor) { preconditionFailure("TODO") }
  public func embedding(ids: Tensor, weight: Weight, y: Tensor) { preconditionFailure("TODO") }
  public func embeddingBackward(_ dy: Tensor, ids: Tensor, dWeight: Tensor) { preconditionFailure("TODO") }
  public func columnSum(_ x: Tensor, sum: Tensor) { preconditionFailure("TODO") }
  public func crossEntropy(_ logits: Tensor, labels: Tensor, logsumexp: Tensor, loss: Tensor) {
    preconditionFailure("TODO")
  }
  public func crossEntropyBackward(
    _ logits: Tensor, labels: Tensor, logsumexp: Tensor, rowWeight: Tensor, dLogits: Tensor
  ) { preconditionFailure("TODO") }
}
