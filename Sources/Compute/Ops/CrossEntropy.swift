/// The label of a position whose prediction does not count (PyTorch's ignore_index).
public let ignoredLabel: Int32 = -100

/// The columns of a vocabulary's logits that are there at a time.
public struct VocabularySlice: Sendable {
  public let columns: Range<Int>
  /// Of the whole vocabulary.
  public let count: Int

  public init(_ columns: Range<Int>, of count: Int) {
    precondition(columns.lowerBound >= 0 && columns.upperBound <= count)
    self.columns = columns
    self.count = count
  }

  var isLast: Bool { columns.upperBound == count }
}

extension Step {
  /// loss[t] = logsumexp(logits[t]) - logits[t, labels[t]], 0 for an ignored label.
  ///
  /// - Parameters:
  ///   - logits: (n, V)
  ///   - labels: (1, n), i32
  ///   - loss: (1, n) of the logits' arithmetic type, written; a label's log-probability is its negative.
  /// - Returns: logsumexp (1, n), which the gradient needs.
  public func crossEntropy(_ logits: Tensor, labels: Tensor, loss: Tensor) -> Tensor {
    let logsumexp = make(1, logits.rows, logits.dtype.arithmetic)
    let all = VocabularySlice(0..<logits.columns, of: logits.columns)
    crossEntropy(logits, all, labels: labels, logsumexp: logsumexp, loss: loss)
    return logsumexp
  }

  /// The same for a vocabulary that comes in slices, once each from the first to the last.
  ///
  /// - Parameters:
  ///   - logits: (n, columns of the slice)
  ///   - logsumexp: (1, n) of the logits' arithmetic type: of the slices so far.
  ///   - loss: (1, n) of the same type: before the last slice the negative logit of the label, 0 when that has not come.
  public func crossEntropy(
    _ logits: Tensor, _ slice: VocabularySlice, labels: Tensor, logsumexp: Tensor, loss: Tensor
  ) {
    precondition(logits.columns == slice.columns.count)
    precondition(labels.columns == logits.rows && labels.dtype == .i32)
    for row in [logsumexp, loss] {
      precondition(row.columns == logits.rows && row.dtype == logits.dtype.arithmetic)
    }
    perform([logits, labels, loss, logsumexp]) { _ in
      backend.crossEntropy(logits, slice, labels: labels, logsumexp: logsumexp, loss: loss)
    }
  }

  /// The logits' gradient, rowWeight[t] * (softmax(logits[t]) - onehot(labels[t])). It takes the logits' memory.
  ///
  /// - Parameters:
  ///   - firstColumn: the vocabulary's column that the logits begin with, when they are a slice.
  ///   - logsumexp: (1, n): of the whole vocabulary.
  ///   - rowWeight: (1, n), f32: dL/dloss[t], which is -dL/dlogp[t].
  ///   - output: the gradient's dtype: the logits', or bf16 when they are f32.
  public func crossEntropyBackward(
    _ logits: Tensor, firstColumn: Int = 0, labels: Tensor, logsumexp: Tensor, rowWeight: Tensor,
    output: DType
  ) -> Tensor {
    precondition(rowWeight.columns == logits.rows && rowWeight.dtype == .f32)
    precondition(output.isNarrow(side: logits.dtype))
    let dLogits = logits.narrowed(to: output)
    perform([logits, labels, logsumexp, rowWeight]) { _ in
      backend.crossEntropyBackward(
        logits, firstColumn: firstColumn, labels: labels, logsumexp: logsumexp, rowWeight: rowWeight,
        dLogits: dLogits)
    }
    return dLogits
  }
}
