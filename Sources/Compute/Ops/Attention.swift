/// softmax(scale * Q Kᵀ + mask) V for each sequence and head, tiled (FlashAttention-2, arXiv:2307.08691).
///
/// The mask is causal, kept inside each sequence of the packed rows, and optionally a sliding window.
public struct Attention {
  /// Heads, their size and what they see.
  public struct Shape: Sendable, Hashable {
    public var heads: Int
    /// Query heads are spread evenly over the key-value heads (grouped-query attention, arXiv:2305.13245).
    public var keyValueHeads: Int
    public var headSize: Int
    /// Usually 1 / sqrt(headSize).
    public var scale: Float
    /// A query sees at most so many keys, itself included; nil: all before it.
    public var window: Int?

    public init(heads: Int, keyValueHeads: Int, headSize: Int, scale: Float, window: Int? = nil) {
      self.heads = heads
      self.keyValueHeads = keyValueHeads
      self.headSize = headSize
      self.scale = scale
      self.window = window
    }
  }

  public let shape: Shape
  /// (Tq, heads * headSize)
  public let q: Tensor
  /// (Tk, keyValueHeads * headSize)
  public let k: Tensor
  /// (Tk, keyValueHeads * headSize)
  public let v: Tensor
  public let segments: Segments
  /// (Tq, heads * headSize)
  public let out: Tensor
  /// (Tq, heads): log of the sum of the exponentials of the scaled scores.
  public let logsumexp: Tensor
}

/// The gradient of `Attention`.
public struct AttentionBackward {
  public let forward: Attention
  /// Shaped like `out`, `q`, `k` and `v`; dQ, dK and dV are written.
  public let dOut: Tensor
  public let dQ: Tensor
  public let dK: Tensor
  public let dV: Tensor
}

/// The sequences packed into a batch, on the device.
public struct Segments: Sendable {
  /// (count, 4), i32: first query row, queries, first key row, keys. The last query stands at the last key.
  /// Queries of no sequence are not computed. Where q and k have as many rows, each sequence has as many queries as
  /// keys. Empty sequences stand behind all others.
  public let table: Tensor
  /// No sequence has more keys.
  public let longest: Int
  /// Whether every sequence has exactly `longest` queries and as many keys, and they fill the rows in order: a GPU
  /// then needs no table of offsets.
  public let isUniform: Bool

  public init(table: Tensor, longest: Int, isUniform: Bool = false) {
    precondition(table.columns == 4 && table.dtype == .i32 && table.isContiguous)
    self.table = table
    self.longest = longest
    self.isUniform = isUniform
  }
}

extension Step {
  /// The operation of `Attention`.
  ///
  /// - Parameter into: where `out` is written; a new tensor when nil.
  public func attention(
    _ q: Tensor, _ k: Tensor, _ v: Tensor, _ shape: Attention.Shape, _ segments: Segments, into: Tensor? = nil
  ) -> (out: Tensor, logsumexp: Tensor) {
    precondition(shape.heads % shape.keyValueHeads == 0 && shape.headSize % 2 == 0)
    precondition(q.columns == shape.heads * shape.headSize, "q (\(q.rows), \(q.columns))")
    precondition(k.columns == shape.keyValueHeads * shape.headSize, "k (\(k.rows), \(k.columns))")
    precondition(v.shape == k.shape && q.dtype == k.dtype && q.dtype == v.dtype)
    precondition(!segments.isUniform || q.rows == segments.longest * segments.table.rows && k.rows == q.rows)
    precondition(into.map { $0.shape == q.shape && $0.dtype == q.dtype } ?? true)
    let operation = Attention(
      shape: shape, q: q, k: k, v: v, segments: segments, out: into ?? make(q.rows, q.columns, q.dtype),
      logsumexp: make(q.rows, shape.heads, q.dtype.arithmetic))
    let bytes = backend.workspaceBytes(operation)
    perform([q, k, v, operation.out, operation.logsumexp], workspace: bytes) {
      backend.run(operation, workspace: $0)
    }
    return (operation.out, operation.logsumexp)
  }

  /// dQ, dK and dV, written to the tensors given: they may be columns of one merged gradient.
  public func attentionBackward(
    _ dOut: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, logsumexp: Tensor, _ shape: Attention.Shape,
    _ segments: Segments, dQ: Tensor, dK: Tensor, dV: Tensor
  ) {
    precondition(dOut.shape == out.shape && dQ.shape == q.shape && dK.shape == k.shape && dV.shape == v.shape)
    let forward = Attention(
      shape: shape, q: q, k: k, v: v, segments: segments, out: out, logsumexp: logsumexp)
    let operation = AttentionBackward(forward: forward, dOut: dOut, dQ: dQ, dK: dK, dV: dV)
    let bytes = backend.workspaceBytes(operation)
    perform([dOut, q, k, v, out, logsumexp, dQ, dK, dV], workspace: bytes) {
      backend.run(operation, workspace: $0)
    }
  }
}
