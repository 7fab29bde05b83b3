import Basics
import Compute

/// A decoder-only transformer: embedding, blocks, norm and head.
public struct Decoder {
  public let spec: ModelSpec
  /// (vocabulary, C)
  public var embedding: Weight
  /// (vocabulary, C), when the embedding is trained.
  public var embeddingGradient: Tensor?
  public var blocks: [Block]
  public var finalNorm: Norm
  /// (vocabulary, C); the embedding itself when `spec.tiesHead`.
  public var head: Linear
  /// When the head waits in the host's memory; nil when it lies on the device.
  public var headStream: HeadStream?
  /// Memory of norms and biases.
  private let vectors: [Buffer]
  /// Where everything lies.
  let backend: any Backend
  /// The number of the one adapter that it was adapted by: rows that have it need no selection. nil when it has none, or
  /// several.
  public internal(set) var onlyAdapter: Int32?
  /// What is trained: a tensor does not keep its memory alive.
  var parameters: Parameters?

  public init(
    spec: ModelSpec, embedding: Weight, blocks: [Block], finalNorm: Norm, head: Linear, vectors: [Buffer],
    backend: any Backend
  ) {
    self.vectors = vectors
    self.backend = backend
    self.spec = spec
    self.embedding = embedding
    self.blocks = blocks
    self.finalNorm = finalNorm
    self.head = head
  }

  /// The hidden states after the last block and norm, (T, C), as `logits` takes them. Feed-forward runs in slices: evaluation
  /// needs no more memory than training with the least.
  public func hidden(
    _ ids: Tensor, _ rows: Rows, _ s: Step, compute dtype: DType
  ) -> Linear.Operand {
    var x = s.embedding(ids, embedding, dtype: dtype.arithmetic)
    for block in blocks { x = block.forward(x, rows, s, compute: dtype, inSlices: true).y }
    return normalised(x, s, compute: dtype).hidden
  }

  /// Adds the gradients of sum over t of rowWeight[t] * loss[t] to everything trained.
  ///
  /// - Parameters:
  ///   - policies: one entry a layer.
  ///   - loss: (1, T) of the arithmetic type, written: each row's -logp of its label.
  ///   - weigh: sets `batch.rowWeights` from `loss`, on the host, for a total that is no fixed sum of the rows'
  ///     losses: rowWeight[t] = -dL/dlogp[t]. Logits are computed a second time then, as they are never kept. nil
  ///     when the weights are known beforehand.
  public func lossAndGradients(
    _ batch: TrainingBatch, _ s: Step, compute dtype: DType, policies: [LayerPolicy], into loss: Tensor,
    weigh: (() -> Void)? = nil
  ) {
    precondition(policies.count == blocks.count, "a policy for each layer")
    let lowest = lowestTrained
    var x = s.embedding(batch.ids, embedding, dtype: dtype.arithmetic)
    var states = LayerStack(s)
    for (block, policy) in zip(blocks, policies) {
      let inSlices = policy.checkpointing == .sliced
      let (y, saved) = block.forward(x, batch.rows, s, compute: dtype, inSlices: inSlices)
      if block.layer >= lowest {
        let state = block.state(saved, policy.checkpointing, s)
        states.push(state, isOffloaded: policy.isOffloaded && canOffload(layer: block.layer))
      }
      x = y
    }
    states.finishPushing()
    guard var dx = headGradient(x, batch, s, compute: dtype, into: loss, weigh) else { return }
    states.beginPopping()
    for (block, policy) in zip(blocks[lowest...], policies[lowest...]).reversed() {
      let inSlices = policy.checkpointing == .sliced
      let saved = states.pop().saved { block.again($0, batch.rows, s, compute: dtype, inSlices: inSlices) }
      let isLast = block.layer == lowest && embeddingGradient == nil
      guard let next = block.backward(dx, saved, batch.rows, s, needsInputGradient: !isLast) else { return }
      dx = next
    }
    if let embeddingGradient { s.embeddingBackward(dx, batch.ids, addingTo: embeddingGradient) }
  }

  /// Whether a policy may have what this layer leaves wait in the host's memory: not where nobody reads it, nor the last
  /// layer's, which backward reads at once.
  public func canOffload(layer: Int) -> Bool { layer >= lowestTrained && layer < blocks.count - 1 }

  /// The lowest layer whose backward pass anybody needs; past the last when only the head is trained.
  var lowestTrained: Int {
    embeddingGradient != nil ? 0 : blocks.firstIndex(where: \.isTrained) ?? blocks.count
  }
}

/// One micro-batch on the device: T rows, packed from several sequences.
public struct TrainingBatch {
  /// (1, T), i32
  public var ids: Tensor
  /// (1, T), i32: the token that each row should predict, or `ignoredLabel`.
  public var labels: Tensor
  /// (1, T), f32: what each row's loss counts for in the sum that is minimised.
  public var rowWeights: Tensor
  public var rows: Rows

  public init(ids: Tensor, labels: Tensor, rowWeights: Tensor, rows: Rows) {
    self.ids = ids
    self.labels = labels
    self.rowWeights = rowWeights
    self.rows = rows
  }
}
