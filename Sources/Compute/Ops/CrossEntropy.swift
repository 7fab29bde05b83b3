/// The label of a position whose prediction does not count (PyTorch's ignore_index).
public let ignoredLabel: Int32 = -100

extension Step {
  /// loss[t] = logsumexp(logits[t]) - logits[t, labels[t]], 0 for an ignored label.
  ///
  /// - Parameters:
  ///   - logits: (n, V)
  ///   - labels: (1, n), i32
  ///   - loss: (1, n) of the logits' arithmetic type, written; a label's log-probability is its negative.
  /// - Returns: logsumexp (1, n), which the gradient needs.
  public func crossEntropy(_ logits: Tensor, labels: Tensor, loss: Tensor) -> Tensor {
    precondition(labels.columns == logits.rows && labels.dtype == .i32)
    precondition(loss.columns == logits.rows && loss.dtype == logits.dtype.arithmetic)
    let logsumexp = make(1, logits.rows, logits.dtype.arithmetic)
    perform([logits, labels, loss, logsumexp]) { _ in
      backend.crossEntropy(logits, labels: labels, logsumexp: logsumexp, loss: loss)
    }
    return logsumexp
  }

  /// The logits' gradient, rowWeight[t] * (softmax(logits[t]) - onehot(labels[t])). It takes the logits' memory.
  ///
  /// - Parameters:
  ///   - rowWeight: (1, n), f32: dL/dloss[t], which is -dL/dlogp[t].
  ///   - output: the gradient's dtype: the logits', or bf16 when they are f32.
  public func crossEntropyBackward(
    _ logits: Tensor, labels: Tensor, logsumexp: Tensor, rowWeight: Tensor, output: DType
  ) -> Tensor {
    precondition(rowWeight.columns == logits.rows && rowWeight.dtype == .f32)
    precondition(output.isNarrow(side: logits.dtype))
    let dLogits = logits.narrowed(to: output)
    perform([logits, labels, logsumexp, rowWeight]) { _ in
      backend.crossEntropyBackward(
        logits, labels: labels, logsumexp: logsumexp, rowWeight: rowWeight, dLogits: dLogits)
    }
    return dLogits
  }
}
