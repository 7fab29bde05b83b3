import Compute

/// A normalisation's weights, and their gradient's place when they are trained.
public struct Norm {
  /// (1, width), f32
  public var weight: Tensor
  public var gradient: Tensor?
  public var epsilon: Float

  public init(weight: Tensor, epsilon: Float) {
    self.weight = weight
    self.epsilon = epsilon
  }
}

/// What a block must know of the rows it is given.
public struct Rows {
  /// (1, T), i32
  public var positions: Tensor
  public var segments: Segments
  public var rotary: RotaryTable
  /// nil outside training.
  public var dropouts: Dropouts?

  public init(positions: Tensor, segments: Segments, rotary: RotaryTable, dropouts: Dropouts? = nil) {
    self.positions = positions
    self.segments = segments
    self.rotary = rotary
    self.dropouts = dropouts
  }
}

/// One layer of a decoder: pre-norm attention, then pre-norm gated feed-forward, each added to the stream.
public struct Block {
  public let layer: Int
  public let attention: Attention.Shape
  public let activation: Activation
  public var inputNorm: Norm
  public var qkv: Linear
  /// Per-head norms of q and k (Qwen3).
  public var queryNorm: Norm?
  public var keyNorm: Norm?
  public var output: Linear
  public var postAttentionNorm: Norm
  public var gateUp: Linear
  public var down: Linear

  /// What backward reads. Tensors that the checkpointing policy drops are nil.
  public struct Saved {
    var x: Tensor  // (T, C)
    var rstd1: Tensor  // (T, 1)
    var n1: Tensor?  // (T, C)
    var qkv: Tensor  // (T, (H + 2 KV) D): rotated, before it was normalised where heads are
    var heads: NormalisedHeads?
    var hQKV: Tensor?  // (T, ranks), like all h below
    var mix: Tensor  // (T, H D)
    var logsumexp: Tensor  // (T, H)
    var hOutput: Tensor?
    var middle: Tensor  // (T, C)
    var rstd2: Tensor  // (T, 1)
    var n2: Tensor?  // (T, C)
    var gateUp: Tensor?  // (T, 2 F)
    var hGateUp: Tensor?
    var activated: Tensor?  // (T, F)
    var hDown: Tensor?

    /// What is left under `checkpointing`.
    func kept(_ checkpointing: Checkpointing, _ s: Step) -> Saved {
      guard checkpointing != .keep else { return self }
      var saved = self
      let isNarrow = checkpointing == .narrow
      // Beside what is dropped, they would keep it.
      func apart(_ side: Tensor?) -> Tensor? {
        side.map { $0.isContiguous ? $0 : s.convert($0, to: $0.dtype) }
      }
      saved.hQKV = apart(hQKV)
      saved.hGateUp = isNarrow ? nil : apart(hGateUp)
      saved.hDown = apart(hDown)
      if isNarrow { saved.gateUp = nil }
      saved.n1 = nil
      saved.n2 = nil
      saved.activated = nil
      return saved
    }

    /// The same with every tensor replaced.
    func map(_ transform: (Tensor) -> Tensor) -> Saved {
      Saved(
        x: transform(x), rstd1: transform(rstd1), n1: n1.map(transform), qkv: transform(qkv),
        heads: heads.map {
          NormalisedHeads(
            q: transform($0.q), k: transform($0.k), rstdQ: transform($0.rstdQ), rstdK: transform($0.rstdK))
        },
        hQKV: hQKV.map(transform), mix: transform(mix), logsumexp: transform(logsumexp),
        hOutput: hOutput.map(transform), middle: transform(middle), rstd2: transform(rstd2),
        n2: n2.map(transform), gateUp: gateUp.map(transform), hGateUp: hGateUp.map(transform),
        activated: activated.map(transform), hDown: hDown.map(transform))
    }
  }

  /// q and k after QK-norm, with what the norms' gradients need.
  struct NormalisedHeads {
    let q: Tensor  // (T, H D), rotated
    let k: Tensor  // (T, KV D), rotated
    let rstdQ: Tensor  // (T, H)
    let rstdK: Tensor  // (T, KV)
  }

  /// y = middle + down(act(gate(n2)) * up(n2)), middle = x + output(attention(q, k, v)), (T, C) to (T, C).
  ///
  /// The stream, x and y, is of `compute`'s arithmetic type; what lies between is of type `compute`.
  public func forward(
    _ x: Tensor, _ rows: Rows, _ s: Step, compute: DType
  ) -> (y: Tensor, saved: Saved) {
    let n1 = self.qkv.makeInput(x.rows, compute, s)
    let (_, _, rstd1) = s.rmsNorm(
      x, inputNorm.weight, epsilon: inputNorm.epsilon, output: compute, into: n1.main)
    let qkv = self.qkv.forward(n1, s, dropouts: rows.dropouts)
    let heads = normaliseHeads(qkv, s)
    let (q, k) = (heads?.q ?? qkv.columns(queries), heads?.k ?? qkv.columns(keys))
    s.rotate(q, positions: rows.positions, rows.rotary)
    s.rotate(k, positions: rows.positions, rows.rotary)
    let v = qkv.columns(values)
    let mix = output.makeInput(x.rows, compute, s)
    let (_, logsumexp) = s.attention(q, k, v, attention, rows.segments, into: mix.main)
    let middle = output.forward(mix, s, adding: x, dropouts: rows.dropouts)

    let n2 = self.gateUp.makeInput(x.rows, compute, s)
    let (_, _, rstd2) = s.rmsNorm(
      middle, postAttentionNorm.weight, epsilon: postAttentionNorm.epsilon, output: compute, into: n2.main)
    let gateUp = self.gateUp.forward(n2, s, dropouts: rows.dropouts)
    let activated = down.makeInput(x.rows, compute, s)
    _ = s.gatedActivation(
      activation, gate: gateUp.columns(gate), up: gateUp.columns(up), into: activated.main)
    let y = down.forward(activated, s, adding: middle, dropouts: rows.dropouts)

    let saved = Saved(
      x: x, rstd1: rstd1, n1: n1.main, qkv: qkv, heads: heads, hQKV: n1.side, mix: mix.main,
      logsumexp: logsumexp, hOutput: mix.side, middle: middle, rstd2: rstd2, n2: n2.main, gateUp: gateUp,
      hGateUp: n2.side, activated: activated.main, hDown: activated.side)
    return (y, saved)
  }

  /// Adds the gradients of everything trained here and returns dx, (T, C); dy is overwritten.
  ///
  /// - Parameter needsInputGradient: false for the lowest layer that trains anything.
  public func backward(
    _ dy: Tensor, _ saved: Saved, _ rows: Rows, _ s: Step, needsInputGradient: Bool = true
  ) -> Tensor? {
    let dMiddle = backwardFeedForward(dy, saved, rows, s)
    return backwardAttention(dMiddle, saved, rows, s, needsInputGradient: needsInputGradient)
  }

  /// From dy to the gradient of the stream between the halves.
  private func backwardFeedForward(_ dy: Tensor, _ saved: Saved, _ rows: Rows, _ s: Step) -> Tensor {
    let saved = saved.gateUp == nil ? withGateUp(saved, rows, s) : saved
    guard let gateUp = saved.gateUp else {
      preconditionFailure("gate and up are neither kept nor made again")
    }
    let (gate, up) = (gateUp.columns(gate), gateUp.columns(up))
    let activated =
      down.isTrained ? saved.activated ?? s.gatedActivation(activation, gate: gate, up: up) : nil
    let dActivated = down.backward(
      narrowed(dy, for: down, like: saved.qkv, s), x: activated, h: saved.hDown, s, dropouts: rows.dropouts)!
    let dGateUp = self.gateUp.makeOutputGradient(gateUp.rows, gateUp.dtype, s)
    s.gatedActivationBackward(
      activation, dActivated, gate: gate, up: up, dGate: dGateUp.main.columns(self.gate),
      dUp: dGateUp.main.columns(self.up))
    let n2 = self.gateUp.isTrained ? saved.n2 ?? normalised(saved.middle, postAttentionNorm, saved, s) : nil
    let dn2 = self.gateUp.backward(dGateUp, x: n2, h: saved.hGateUp, s, dropouts: rows.dropouts)!
    return s.rmsNormBackward(
      dn2, h: saved.middle, postAttentionNorm.weight, rstd: saved.rstd2, adding: dy, into: dy,
      addingTo: postAttentionNorm.gradient)
  }

  /// What was saved with gate and up, which were not, and their input.
  private func withGateUp(_ saved: Saved, _ rows: Rows, _ s: Step) -> Saved {
    let n2 = gateUp.makeInput(saved.middle.rows, saved.qkv.dtype, s)
    _ = s.rmsNorm(
      saved.middle, postAttentionNorm.weight, epsilon: postAttentionNorm.epsilon, output: saved.qkv.dtype,
      into: n2.main)
    var saved = saved
    saved.gateUp = gateUp.forward(n2, s, dropouts: rows.dropouts)
    (saved.n2, saved.hGateUp) = (n2.main, n2.side)
    return saved
  }

  /// From the gradient of the stream between the halves to dx.
  private func backwardAttention(
    _ dMiddle: Tensor, _ saved: Saved, _ rows: Rows, _ s: Step, needsInputGradient: Bool
  ) -> Tensor? {
    let dMix = output.backward(
      narrowed(dMiddle, for: output, like: saved.qkv, s), x: saved.mix, h: saved.hOutput, s,
      dropouts: rows.dropouts)!
    let dQKV = qkv.makeOutputGradient(saved.qkv.rows, saved.qkv.dtype, s)
    let (dQ, dK) = (dQKV.main.columns(queries), dQKV.main.columns(keys))
    s.attentionBackward(
      dMix, q: saved.heads?.q ?? saved.qkv.columns(queries), k: saved.heads?.k ?? saved.qkv.columns(keys),
      v: saved.qkv.columns(values), out: saved.mix, logsumexp: saved.logsumexp, attention, rows.segments,
      dQ: dQ, dK: dK, dV: dQKV.main.columns(values))
    s.rotate(dQ, positions: rows.positions, rows.rotary, .backward)
    s.rotate(dK, positions: rows.positions, rows.rotary, .backward)
    if let heads = saved.heads { backwardHeads(dQ, dK, heads, saved.qkv, s) }
    let n1 = qkv.isTrained ? saved.n1 ?? normalised(saved.x, inputNorm, saved, s) : nil
    let needsNorm = needsInputGradient || inputNorm.gradient != nil
    let dn1 = qkv.backward(
      dQKV, x: n1, h: saved.hQKV, s, dropouts: rows.dropouts, needsInputGradient: needsNorm)
    return dn1.map {
      s.rmsNormBackward(
        $0, h: saved.x, inputNorm.weight, rstd: saved.rstd1, adding: dMiddle, into: dMiddle,
        addingTo: inputNorm.gradient)
    }
  }

  // MARK: QK-norm

  func normaliseHeads(_ qkv: Tensor, _ s: Step) -> NormalisedHeads? {
    guard let queryNorm, let keyNorm else { return nil }
    let (_, q, rstdQ) = s.rmsNorm(qkv.columns(queries), queryNorm.weight, epsilon: queryNorm.epsilon)
    let (_, k, rstdK) = s.rmsNorm(qkv.columns(keys), keyNorm.weight, epsilon: keyNorm.epsilon)
    return NormalisedHeads(q: q, k: k, rstdQ: rstdQ, rstdK: rstdK)
  }

  /// Replaces dQ and dK by the gradients before the norms.
  private func backwardHeads(_ dQ: Tensor, _ dK: Tensor, _ heads: NormalisedHeads, _ qkv: Tensor, _ s: Step) {
    guard let queryNorm, let keyNorm else { return }
    _ = s.rmsNormBackward(
      dQ, h: qkv.columns(queries), queryNorm.weight, rstd: heads.rstdQ, into: dQ, addingTo: queryNorm.gradient
    )
    _ = s.rmsNormBackward(
      dK, h: qkv.columns(keys), keyNorm.weight, rstd: heads.rstdK, into: dK, addingTo: keyNorm.gradient)
  }

  // MARK: Columns

  var queries: Range<Int> { qkv.columns[0] }
  var keys: Range<Int> { qkv.columns[1] }
  var values: Range<Int> { qkv.columns[2] }
  private var gate: Range<Int> { gateUp.columns[0] }
  private var up: Range<Int> { gateUp.columns[1] }

  // MARK: Between stream and products

  private func normalised(_ x: Tensor, _ norm: Norm, _ saved: Saved, _ s: Step) -> Tensor {
    s.rmsNorm(x, norm.weight, epsilon: norm.epsilon, output: saved.qkv.dtype).y
  }

  /// The stream's gradient as the products of `linear` take it.
  private func narrowed(_ dy: Tensor, for linear: Linear, like product: Tensor, _ s: Step) -> Linear.Operand {
    if dy.dtype == product.dtype, !linear.merges(s) { return linear.outputGradient(dy, s) }
    let gradient = linear.makeOutputGradient(dy.rows, product.dtype, s)
    s.copy(dy, into: gradient.main)
    return gradient
  }

  /// Whether training changes anything here.
  public var isTrained: Bool {
    [qkv, output, gateUp, down].contains(where: \.isTrained)
      || [inputNorm, postAttentionNorm, queryNorm, keyNorm].contains { $0?.gradient != nil }
  }
}
