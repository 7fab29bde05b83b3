import Basics
import Compute

/// How a head that waits in the host's memory takes part in a step: slice after slice comes to the device.
public struct HeadStream: Sendable {
  /// Rows of a slice, at most: some milliseconds of copying.
  public var rows: Int
  /// Whether it lies where copies read it. If not it is still in its file: see `Decoder.placeHead`.
  var isPlaced = true

  public init(rows: Int = 8192) { self.rows = rows }
}

/// Norm, head and loss. Logits of all rows and the whole vocabulary never exist at once: they come in chunks of rows, or,
/// where the head does, in slices of the vocabulary.
extension Decoder {
  /// The final norm of the last block's output.
  func normalised(_ x: Tensor, _ s: Step, compute dtype: DType) -> (hidden: Linear.Operand, rstd: Tensor) {
    let hidden = head.makeInput(x.rows, dtype, s)
    let (_, _, rstd) = s.rmsNorm(
      x, finalNorm.weight, epsilon: finalNorm.epsilon, output: dtype, into: hidden.main)
    return (hidden, rstd)
  }

  /// Logits for rows of hidden states, (n, C) to (n, vocabulary), in the arithmetic type: rounded to bfloat16,
  /// probabilities would be off by percents.
  public func logits(_ hidden: Linear.Operand, _ s: Step) -> Tensor {
    head.forward(hidden, s, output: hidden.main.dtype.arithmetic)
  }

  /// The loss of every row, without gradients.
  ///
  /// - Parameter loss: (1, T) of the arithmetic type, written: see `Step.crossEntropy`.
  public func loss(_ batch: TrainingBatch, _ s: Step, compute dtype: DType, into loss: Tensor) {
    let hidden = hidden(batch.ids, batch.rows, s, compute: dtype)
    if let streamedHead {
      _ = self.loss(hidden.main, streamedHead, batch, s, into: loss)
    } else {
      forEachHeadChunk(hidden, s) { rows, chunk in
        let logits = logits(chunk, s)
        _ = s.crossEntropy(logits, labels: batch.labels.columns(rows), loss: loss.columns(rows))
      }
    }
  }

  /// Loss and its gradient by the last block's output x (T, C), so that the gradient is there when the forward pass ends. nil
  /// when nothing below the head is trained.
  func headGradient(
    _ x: Tensor, _ batch: TrainingBatch, _ s: Step, compute dtype: DType, into loss: Tensor,
    _ weigh: (() -> Void)?
  ) -> Tensor? {
    let (hidden, rstd) = normalised(x, s, compute: dtype)
    let gradient =
      streamedHead.map { hiddenGradient(hidden.main, $0, batch, s, into: loss, weigh) }
      ?? hiddenGradient(hidden, batch, s, into: loss, weigh)
    guard lowestTrained < blocks.count || finalNorm.gradient != nil else { return nil }
    return s.rmsNormBackward(
      gradient, h: x, finalNorm.weight, rstd: rstd, addingTo: finalNorm.gradient)
  }

  /// Brings a head that is not on the device there, or else to memory of the host's that copies read. A model that was loaded
  /// with `streamsHead` must not run before.
  ///
  /// - Throws: `.outOfMemory`.
  public mutating func placeHead(onDevice: Bool) throws(SwiftletError) {
    guard let headStream else { return }
    if onDevice {
      head.parts[0].weight = try backend.place(head.parts[0].weight, as: nil)
      self.headStream = nil
    } else if !headStream.isPlaced {
      head.parts[0].weight = try backend.placeForLookup(head.parts[0].weight, as: nil)
      self.headStream?.isPlaced = true
    }
  }

  /// Bytes of logits that exist at once; all of them would be (T, vocabulary). A GPU needs some hundred rows to be
  /// busy.
  private static func logitBytes(_ s: Step) -> Int { (s.backend.hasHostMemory ? 96 : 320) << 20 }

  // MARK: In chunks of rows

  /// Calls `body` for chunks of rows small enough that their logits fit `logitBytes`.
  private func forEachHeadChunk(
    _ hidden: Linear.Operand, _ s: Step, _ body: (Range<Int>, Linear.Operand) -> Void
  ) {
    let count = hidden.main.rows
    let most = max(1, Self.logitBytes(s) / (spec.vocabularySize * hidden.main.dtype.arithmetic.size))
    let chunks = (count + most - 1) / most
    let size = (count + chunks - 1) / chunks
    for start in stride(from: 0, to: count, by: size) {
      let rows = start..<min(count, start + size)
      body(rows, hidden.rows(rows))
    }
  }

  /// Loss and its gradient by the hidden states, (T, C), and by the head where that is trained.
  private func hiddenGradient(
    _ hidden: Linear.Operand, _ batch: TrainingBatch, _ s: Step, into loss: Tensor, _ weigh: (() -> Void)?
  ) -> Tensor {
    let dtype = hidden.main.dtype
    if let weigh {
      forEachHeadChunk(hidden, s) { rows, chunk in
        let dropouts = batch.rows.dropouts?.rows(from: rows.lowerBound)
        let logits = head.forward(chunk, s, dropouts: dropouts, output: dtype.arithmetic)
        _ = s.crossEntropy(logits, labels: batch.labels.columns(rows), loss: loss.columns(rows))
      }
      s.host(reading: [loss, batch.labels], writing: [batch.rowWeights], weigh)
    }
    let dHidden = s.make(hidden.main.rows, hidden.main.columns, dtype)
    forEachHeadChunk(hidden, s) { rows, chunk in
      let dropouts = batch.rows.dropouts?.rows(from: rows.lowerBound)
      let logits = head.forward(chunk, s, dropouts: dropouts, output: dtype.arithmetic)
      let labels = batch.labels.columns(rows)
      let logsumexp = s.crossEntropy(logits, labels: labels, loss: loss.columns(rows))
      let dLogits = s.crossEntropyBackward(
        logits, labels: labels, logsumexp: logsumexp, rowWeight: batch.rowWeights.columns(rows), output: dtype
      )
      _ = head.backward(
        head.outputGradient(dLogits, s), x: chunk.main, h: chunk.side, s, dropouts: dropouts,
        into: dHidden.rows(rows))
    }
    return dHidden
  }

  // MARK: In slices of the vocabulary

  /// A head in the host's memory, and rows of a slice.
  private struct StreamedHead {
    let weight: Weight
    let rows: Int
  }

  /// Bytes of the host's memory, not the device's, in which the head waits.
  public var streamedBytes: Int { streamedHead?.weight.bytes ?? 0 }

  /// nil where the head lies on the device, or is not frozen, alone and in a format whose rows stand alone: then products
  /// read it where it lies.
  private var streamedHead: StreamedHead? {
    guard let headStream, let part = head.parts.first, head.down == nil, part.bias == nil,
      part.weightGradient == nil, part.weight.rowBytes != nil
    else { return nil }
    return StreamedHead(weight: part.weight, rows: headStream.rows)
  }

  /// Calls `body` with the logits of each slice of the vocabulary, (T, columns), and the slice's rows of the head.
  private func forEachHeadSlice(
    _ hidden: Tensor, _ head: StreamedHead, _ s: Step,
    _ body: (_ slice: VocabularySlice, _ logits: Tensor, _ weight: Weight) -> Void
  ) {
    let dtype = hidden.dtype.arithmetic
    let fitting = Self.logitBytes(s) / (hidden.rows * dtype.size)
    s.stream(head.weight, rows: min(head.rows, max(64, fitting / 64 * 64))) { columns, weight in
      let logits = s.linear(Factor(hidden, weight), into: s.make(hidden.rows, columns.count, dtype))
      body(VocabularySlice(columns, of: head.weight.rows), logits, weight)
    }
  }

  /// - Returns: logsumexp, (1, T).
  private func loss(
    _ hidden: Tensor, _ head: StreamedHead, _ batch: TrainingBatch, _ s: Step, into loss: Tensor
  ) -> Tensor {
    let logsumexp = s.make(1, hidden.rows, loss.dtype)
    forEachHeadSlice(hidden, head, s) { slice, logits, _ in
      s.crossEntropy(logits, slice, labels: batch.labels, logsumexp: logsumexp, loss: loss)
    }
    return logsumexp
  }

  /// Loss and its gradient by the hidden states, (T, C), added up in the arithmetic type. The head comes twice.
  private func hiddenGradient(
    _ hidden: Tensor, _ head: StreamedHead, _ batch: TrainingBatch, _ s: Step, into loss: Tensor,
    _ weigh: (() -> Void)?
  ) -> Tensor {
    let logsumexp = self.loss(hidden, head, batch, s, into: loss)
    if let weigh { s.host(reading: [loss, batch.labels], writing: [batch.rowWeights], weigh) }
    let dHidden = s.make(hidden.rows, hidden.columns, hidden.dtype.arithmetic)
    forEachHeadSlice(hidden, head, s) { slice, logits, weight in
      let dLogits = s.crossEntropyBackward(
        logits, firstColumn: slice.columns.lowerBound, labels: batch.labels, logsumexp: logsumexp,
        rowWeight: batch.rowWeights, output: hidden.dtype)
      s.linearInputGradient(
        [Factor(dLogits, weight)], adding: slice.columns.lowerBound > 0 ? dHidden : nil, into: dHidden)
    }
    return dHidden
  }
}
