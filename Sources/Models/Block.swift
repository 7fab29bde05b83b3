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
  /// Rows of a slice at most, where feed-forward runs in slices: enough to keep a GPU busy.
  public var sliceRows = 1024

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
    /// nil when feed-forward runs again in slices.
    var feedForward: FeedForward?

    /// What is left under `checkpointing`.
    func kept(_ checkpointing: Checkpointing, _ s: Step) -> Saved {
      guard checkpointing != .keep else { return self }
      var saved = self
      saved.n1 = nil
      saved.hQKV = hQKV?.apart(s)
      saved.feedForward = feedForward?.kept(checkpointing, s)
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
        hOutput: hOutput.map(transform), middle: transform(middle),
        feedForward: feedForward?.map(transform))
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
  ///
  /// - Parameter inSlices: whether feed-forward runs in slices of rows and leaves nothing.
  public func forward(
    _ x: Tensor, _ rows: Rows, _ s: Step, compute: DType, inSlices: Bool
  ) -> (y: Tensor, saved: Saved) {
    var saved = forwardAttention(x, rows, s, compute: compute)
    let middle = saved.middle
    guard !inSlices else {
      return (feedForwardInSlices(middle, rows.dropouts, s, compute: compute), saved)
    }
    let (y, feedForward) = feedForward(middle, rows.dropouts, s, compute: compute)
    saved.feedForward = feedForward
    return (y, saved)
  }

  /// What `forward` saved, made again of its input.
  func again(_ x: Tensor, _ rows: Rows, _ s: Step, compute: DType, inSlices: Bool) -> Saved {
    var saved = forwardAttention(x, rows, s, compute: compute)
    guard !inSlices else { return saved.kept(.sliced, s) }
    saved.feedForward = feedForwardAgain(saved.middle, rows.dropouts, s, compute: compute)
    return saved
  }

  /// From x to the stream between the halves.
  private func forwardAttention(_ x: Tensor, _ rows: Rows, _ s: Step, compute: DType) -> Saved {
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
    return Saved(
      x: x, rstd1: rstd1, n1: n1.main, qkv: qkv, heads: heads, hQKV: n1.side, mix: mix.main,
      logsumexp: logsumexp, hOutput: mix.side, middle: middle)
  }

  /// Adds the gradients of everything trained here and returns dx, (T, C); dy is overwritten.
  ///
  /// - Parameter needsInputGradient: false for the lowest layer that trains anything.
  public func backward(
    _ dy: Tensor, _ saved: Saved, _ rows: Rows, _ s: Step, needsInputGradient: Bool = true
  ) -> Tensor? {
    let compute = saved.qkv.dtype
    if let feedForward = saved.feedForward {
      backwardFeedForward(dy, saved.middle, feedForward, rows.dropouts, s, compute: compute)
    } else {
      backwardFeedForwardInSlices(dy, saved.middle, rows.dropouts, s, compute: compute)
    }
    return backwardAttention(dy, saved, rows, s, needsInputGradient: needsInputGradient)
  }

  /// From the gradient of the stream between the halves to dx.
  private func backwardAttention(
    _ dMiddle: Tensor, _ saved: Saved, _ rows: Rows, _ s: Step, needsInputGradient: Bool
  ) -> Tensor? {
    let dMix = output.backward(
      narrowed(dMiddle, for: output, saved.qkv.dtype, s), x: saved.mix, h: saved.hOutput, s,
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
    let n1 = qkv.isTrained ? saved.n1 ?? normalised(saved.x, inputNorm, saved.qkv.dtype, s) : nil
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

  // MARK: Between stream and products

  func normalised(_ x: Tensor, _ norm: Norm, _ dtype: DType, _ s: Step) -> Tensor {
    s.rmsNorm(x, norm.weight, epsilon: norm.epsilon, output: dtype).y
  }

  /// The stream's gradient as the products of `linear` take it.
  func narrowed(_ dy: Tensor, for linear: Linear, _ dtype: DType, _ s: Step) -> Linear.Operand {
    if dy.dtype == dtype, !linear.merges(s) { return linear.outputGradient(dy, s) }
    let gradient = linear.makeOutputGradient(dy.rows, dtype, s)
    s.copy(dy, into: gradient.main)
    return gradient
  }

  /// Whether training changes anything here.
  public var isTrained: Bool {
    [qkv, output, gateUp, down].contains(where: \.isTrained)
      || [inputNorm, postAttentionNorm, queryNorm, keyNorm].contains { $0?.gradient != nil }
  }
}

extension Tensor {
  /// Itself, or a copy when it is columns of a wider one, which would stay alive with it.
  func apart(_ s: Step) -> Tensor { isContiguous ? self : s.convert(self, to: dtype) }
}
