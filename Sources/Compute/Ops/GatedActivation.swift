/// The activation of a gated feed-forward block.
public enum Activation: Sendable, CaseIterable {
  /// x * sigmoid(x), also called swish.
  case silu
  /// 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x³)))
  case geluTanh
  /// x Φ(x)
  case gelu
}

extension Step {
  /// y = act(gate) * up (Shazeer, arXiv:2002.05202, eq. 6).
  ///
  /// - Parameter into: where y is written; a new tensor when nil.
  public func gatedActivation(
    _ activation: Activation, gate: Tensor, up: Tensor, into: Tensor? = nil
  ) -> Tensor {
    precondition(gate.shape == up.shape && gate.dtype == up.dtype)
    let y = into ?? make(gate.rows, gate.columns, gate.dtype)
    precondition(y.shape == gate.shape && y.dtype == gate.dtype)
    perform([gate, up, y]) { _ in backend.gatedActivation(activation, gate: gate, up: up, y: y) }
    return y
  }

  /// dGate = dy * up * act'(gate), dUp = dy * act(gate), written; they may be gate and up themselves.
  public func gatedActivationBackward(
    _ activation: Activation, _ dy: Tensor, gate: Tensor, up: Tensor, dGate: Tensor, dUp: Tensor
  ) {
    precondition(dy.shape == gate.shape && dGate.shape == gate.shape && dUp.shape == up.shape)
    perform([gate, up, dy, dGate, dUp]) { _ in
      backend.gatedActivationBackward(activation, gate: gate, up: up, dy: dy, dGate: dGate, dUp: dUp)
    }
  }
}
