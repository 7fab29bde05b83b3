import Compute

/// A linear layer, or several that share an input and are computed as one: q, k and v; gate and up.
///
/// Adapters, trainable weights and the weights' formats end here: a block sees one product.
public struct Linear {
  /// One of the layers that share the input.
  public struct Part {
    /// Path in Hugging Face's models: `model.layers.0.self_attn.q_proj`.
    public let name: String
    /// (out, in)
    public var weight: Weight
    /// (1, out), f32
    public var bias: Tensor?
    /// Where the weight's gradient is added, (out, in), when the weight itself is trained.
    public var weightGradient: Tensor?
    /// (1, out)
    public var biasGradient: Tensor?
    public var adapter: LowRank?

    public init(name: String, weight: Weight, bias: Tensor? = nil) {
      self.name = name
      self.weight = weight
      self.bias = bias
    }
  }

  /// The second half of a low-rank adapter: y += scale * h[:, columns] Bᵀ with h = dropout(x) Aᵀ (Hu et al.,
  /// arXiv:2106.09685, eq. 3).
  public struct LowRank {
    /// The columns of h that are this layer's: its rank.
    public var columns: Range<Int>
    /// B, (out, rank)
    public var up: Weight
    public var upGradient: Tensor
    public var scale: Float
  }

  /// The first halves of all parts' adapters: A, one above the other, (sum of ranks, in).
  public struct Down {
    public var weight: Weight
    public var gradient: Tensor
    public var dropout: Float
  }

  public var parts: [Part]
  public var down: Down?
  /// Tells this layer's dropout mask from others'.
  public var dropoutStream: UInt64 = 0

  public init(_ parts: [Part]) {
    precondition(parts.allSatisfy { $0.weight.columns == parts[0].weight.columns })
    self.parts = parts
  }

  public var inputs: Int { parts[0].weight.columns }
  public var outputs: Int { parts.reduce(0) { $0 + $1.weight.rows } }

  /// The columns of y, or of dy, that belong to each part.
  public var columns: [Range<Int>] {
    var start = 0
    return parts.map { part in
      defer { start += part.weight.rows }
      return start..<start + part.weight.rows
    }
  }

  /// Whether training changes anything here.
  public var isTrained: Bool {
    down != nil || parts.contains { $0.weightGradient != nil || $0.biasGradient != nil }
  }

  /// y = x Wᵀ + bias + adapters + adding, (T, in) to (T, out).
  ///
  /// - Parameters:
  ///   - adding: (T, out): the residual stream.
  ///   - output: y's dtype; the residual's, or else x's, when nil.
  ///   - dropouts: nil outside training.
  /// - Returns: y and h, (T, sum of ranks), which backward needs.
  public func forward(
    _ x: Tensor, _ s: Step, adding residual: Tensor? = nil, dropouts: Dropouts? = nil, output: DType? = nil
  )
    -> (y: Tensor, h: Tensor?)
  {
    let y = s.make(x.rows, outputs, output ?? residual?.dtype ?? x.dtype)
    let h = down.map { s.linear(Factor(masked(x, $0, s, dropouts), $0.weight)) }
    for (part, range) in zip(parts, columns) {
      let (out, adding) = (y.columns(range), residual?.columns(range))
      if let adapter = part.adapter, let h {
        s.linear(
          Factor(x, part.weight), Factor(h.columns(adapter.columns), adapter.up, scale: adapter.scale),
          bias: part.bias, adding: adding, into: out)
      } else {
        s.linear(Factor(x, part.weight), bias: part.bias, adding: adding, into: out)
      }
    }
    return (y, h)
  }

  /// Adds the gradients of everything trained here, and returns dx = dy W + adapters, (T, in); nil when
  /// nobody needs it.
  ///
  /// - Parameters:
  ///   - x: forward's input; nil when nothing here is trained.
  ///   - into: where dx is written; a new tensor when nil.
  public func backward(
    _ dy: Tensor, x: Tensor?, h: Tensor?, _ s: Step, dropouts: Dropouts? = nil,
    needsInputGradient: Bool = true, into: Tensor? = nil
  ) -> Tensor? {
    for (part, range) in zip(parts, columns) {
      if let x, let gradient = part.weightGradient {
        s.linearWeightGradient(dy.columns(range), x, addingTo: gradient)
      }
      if let gradient = part.biasGradient { s.columnSum(dy.columns(range), addingTo: gradient) }
    }
    let dh = backwardAdapters(dy, x: x, h: h, s, dropouts)
    guard needsInputGradient else { return nil }
    var factors = zip(parts, columns).map { Factor(dy.columns($1), $0.weight) }
    guard let down, let dh else { return s.linearInputGradient(factors, into: into) }
    guard let dropout = dropouts?.dropout(down.dropout, stream: dropoutStream) else {
      factors.append(Factor(dh, down.weight))
      return s.linearInputGradient(factors, into: into)
    }
    let dx = s.linearInputGradient(factors, into: into)
    let dMasked = s.linearInputGradient([Factor(dh, down.weight)])
    return s.add(s.dropout(dMasked, dropout, into: dMasked), dx, into: dx)
  }

  /// Adds the adapters' gradients and returns dh, (T, sum of ranks).
  private func backwardAdapters(_ dy: Tensor, x: Tensor?, h: Tensor?, _ s: Step, _ dropouts: Dropouts?)
    -> Tensor?
  {
    guard let down, let x, let h else { return nil }
    let dh = s.make(h.rows, h.columns, h.dtype)
    for (part, range) in zip(parts, columns) {
      guard let adapter = part.adapter else { continue }
      let dyPart = dy.columns(range)
      s.linearWeightGradient(
        dyPart, h.columns(adapter.columns), alpha: adapter.scale, addingTo: adapter.upGradient)
      s.linearInputGradient(
        [Factor(dyPart, adapter.up, scale: adapter.scale)], into: dh.columns(adapter.columns))
    }
    s.linearWeightGradient(dh, masked(x, down, s, dropouts), addingTo: down.gradient)
    return dh
  }

  private func masked(_ x: Tensor, _ down: Down, _ s: Step, _ dropouts: Dropouts?) -> Tensor {
    dropouts?.dropout(down.dropout, stream: dropoutStream).map { s.dropout(x, $0) } ?? x
  }
}

/// The dropout masks of one micro-batch: the same in forward and backward, others in the next micro-batch.
public struct Dropouts: Sendable {
  public var seed: UInt64
  /// Counts micro-batches over the whole run.
  public var microBatch: Int

  public init(seed: UInt64, microBatch: Int) {
    self.seed = seed
    self.microBatch = microBatch
  }

  func dropout(_ probability: Float, stream: UInt64) -> Dropout? {
    guard probability > 0 else { return nil }
    return Dropout(probability: probability, seed: seed, stream: UInt64(microBatch) << 16 | stream)
  }
}
