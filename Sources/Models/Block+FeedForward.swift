import Compute

/// A block's second half. Every row is on its own here, so that slices of the rows, one after the other, give what all give
/// at once, and only a slice's gate, up and activation exist at a time.
extension Block {
  /// What the backward pass of feed-forward reads. Tensors that the checkpointing policy drops are nil.
  struct FeedForward {
    var rstd: Tensor  // (T, 1)
    var n2: Tensor?  // (T, C)
    var gateUp: Tensor?  // (T, 2 F)
    var hGateUp: Tensor?  // (T, ranks), like hDown
    var activated: Tensor?  // (T, F)
    var hDown: Tensor?

    /// What is left under `checkpointing`.
    func kept(_ checkpointing: Checkpointing, _ s: Step) -> FeedForward {
      let isNarrow = checkpointing == .narrow
      return FeedForward(
        rstd: rstd, gateUp: isNarrow ? nil : gateUp, hGateUp: isNarrow ? nil : hGateUp?.apart(s),
        hDown: hDown?.apart(s))
    }

    /// The same with every tensor replaced.
    func map(_ transform: (Tensor) -> Tensor) -> FeedForward {
      FeedForward(
        rstd: transform(rstd), n2: n2.map(transform), gateUp: gateUp.map(transform),
        hGateUp: hGateUp.map(transform), activated: activated.map(transform), hDown: hDown.map(transform))
    }
  }

  /// y = middle + down(act(gate(n2)) * up(n2)), (T, C) to (T, C).
  ///
  /// - Parameter into: where y is written; a new tensor when nil.
  func feedForward(
    _ middle: Tensor, _ dropouts: Dropouts?, _ s: Step, compute: DType, into y: Tensor? = nil
  ) -> (y: Tensor, saved: FeedForward) {
    let (saved, activated) = activate(middle, dropouts, s, compute: compute)
    return (down.forward(activated, s, adding: middle, dropouts: dropouts, into: y), saved)
  }

  /// What `feedForward` saved, made again without its last product.
  func feedForwardAgain(_ middle: Tensor, _ dropouts: Dropouts?, _ s: Step, compute: DType) -> FeedForward {
    let (saved, activated) = activate(middle, dropouts, s, compute: compute)
    down.project(activated, s, dropouts: dropouts)
    return saved
  }

  /// The input of the last product, whose side is still to be written.
  private func activate(
    _ middle: Tensor, _ dropouts: Dropouts?, _ s: Step, compute: DType
  ) -> (saved: FeedForward, activated: Linear.Operand) {
    let (gateUp, n2, rstd) = widen(middle, dropouts, s, compute: compute)
    let activated = down.makeInput(middle.rows, compute, s)
    _ = s.gatedActivation(
      activation, gate: gateUp.columns(gate), up: gateUp.columns(up), into: activated.main)
    let saved = FeedForward(
      rstd: rstd, n2: n2.main, gateUp: gateUp, hGateUp: n2.side, activated: activated.main,
      hDown: activated.side)
    return (saved, activated)
  }

  /// Gate and up, and their input.
  private func widen(
    _ middle: Tensor, _ dropouts: Dropouts?, _ s: Step, compute: DType
  ) -> (gateUp: Tensor, n2: Linear.Operand, rstd: Tensor) {
    let n2 = gateUp.makeInput(middle.rows, compute, s)
    let (_, _, rstd) = s.rmsNorm(
      middle, postAttentionNorm.weight, epsilon: postAttentionNorm.epsilon, output: compute, into: n2.main)
    return (gateUp.forward(n2, s, dropouts: dropouts), n2, rstd)
  }

  /// Replaces dy by the gradient of the stream between the halves.
  func backwardFeedForward(
    _ dy: Tensor, _ middle: Tensor, _ saved: FeedForward, _ dropouts: Dropouts?, _ s: Step, compute: DType
  ) {
    var saved = saved
    if saved.gateUp == nil {
      let (gateUp, n2, _) = widen(middle, dropouts, s, compute: compute)
      (saved.gateUp, saved.n2, saved.hGateUp) = (gateUp, n2.main, n2.side)
    }
    guard let gateUp = saved.gateUp else {
      preconditionFailure("gate and up are neither kept nor made again")
    }
    let (gate, up) = (gateUp.columns(gate), gateUp.columns(up))
    let activated =
      down.isTrained ? saved.activated ?? s.gatedActivation(activation, gate: gate, up: up) : nil
    let dActivated = down.backward(
      narrowed(dy, for: down, compute, s), x: activated, h: saved.hDown, s, dropouts: dropouts)!
    let dGateUp = self.gateUp.makeOutputGradient(gateUp.rows, gateUp.dtype, s)
    s.gatedActivationBackward(
      activation, dActivated, gate: gate, up: up, dGate: dGateUp.main.columns(self.gate),
      dUp: dGateUp.main.columns(self.up))
    let n2 = self.gateUp.isTrained ? saved.n2 ?? normalised(middle, postAttentionNorm, compute, s) : nil
    let dn2 = self.gateUp.backward(dGateUp, x: n2, h: saved.hGateUp, s, dropouts: dropouts)!
    _ = s.rmsNormBackward(
      dn2, h: middle, postAttentionNorm.weight, rstd: saved.rstd, adding: dy, into: dy,
      addingTo: postAttentionNorm.gradient)
  }

  private var gate: Range<Int> { gateUp.columns[0] }
  private var up: Range<Int> { gateUp.columns[1] }

  // MARK: Slices

  /// The same as `feedForward`, leaving nothing.
  func feedForwardInSlices(_ middle: Tensor, _ dropouts: Dropouts?, _ s: Step, compute: DType) -> Tensor {
    let y = s.make(middle.rows, middle.columns, middle.dtype)
    for rows in slices(middle.rows) {
      _ = feedForward(
        middle.rows(rows), dropouts?.rows(from: rows.lowerBound), s, compute: compute, into: y.rows(rows))
    }
    return y
  }

  /// Replaces dy by the gradient of the stream between the halves, running each slice again. What is trained here adds up
  /// slice by slice.
  func backwardFeedForwardInSlices(
    _ dy: Tensor, _ middle: Tensor, _ dropouts: Dropouts?, _ s: Step, compute: DType
  ) {
    for rows in slices(middle.rows) {
      let (middle, dropouts) = (middle.rows(rows), dropouts?.rows(from: rows.lowerBound))
      let saved = feedForwardAgain(middle, dropouts, s, compute: compute)
      backwardFeedForward(dy.rows(rows), middle, saved, dropouts, s, compute: compute)
    }
  }

  /// `count` rows in as few parts as may be, of about one size.
  private func slices(_ count: Int) -> [Range<Int>] {
    let parts = (count + sliceRows - 1) / sliceRows
    let size = (count + parts - 1) / parts
    return stride(from: 0, to: count, by: size).map { $0..<min(count, $0 + size) }
  }
}
