/// What a row of logits is sampled by, as columns of (n, count) f32.
public enum SamplingColumn: Int, Sendable, CaseIterable {
  /// Logits are divided by it; 0 takes the greatest, the first of equals.
  case temperature
  /// Only so many of the most probable tokens; 0: all.
  case topK
  /// Only the most probable tokens that together reach this probability (arXiv:1904.09751); 1: all.
  case topP
  /// Only tokens with at least this part of the most probable one's probability (arXiv:2407.01082); 0: all.
  case minP

  public static var count: Int { allCases.count }
}

/// One change of a logit, as columns of (n, count) i32.
public enum LogitEditColumn: Int, Sendable, CaseIterable {
  /// The row; negative for no change.
  case row
  case token
  /// An f32's bits: positive logits are divided by it, negative ones multiplied (arXiv:1909.05858, section 4.1).
  case penalty
  /// An f32's bits, added after that.
  case bias

  public static var count: Int { allCases.count }
}

/// Draws a token from each row of logits.
///
/// With probabilities p = softmax(logits / temperature): the topK most probable tokens are left (of equals the lower id first), of
/// those the fewest most probable that reach topP of their mass, of those the ones of at least minP times the greatest. In the order
/// of their ids, the token taken is the first at which their cumulated mass exceeds u times their whole mass, where u is uniform in
/// [0, 1), a function of the row's seed and position alone.
public struct Sampling {
  /// (n, V), f32: the model's own.
  public let logits: Tensor
  /// (n, V), f32: after edits and masks; `logits` itself without.
  public let edited: Tensor
  /// (n, SamplingColumn.count), f32
  public let numbers: Tensor
  /// (n, 4), i32: the counter's seed, low and high half, and position, low and high half.
  public let seeds: Tensor
  /// (1, n), i32, written.
  public let tokens: Tensor
  /// (1, n), f32, written: the tokens' log-probabilities under `logits`; not finite where a logit is not.
  public let logProbabilities: Tensor
}

extension Step {
  /// Changes single logits (n, V), f32, in place. No two edits are of one row and token.
  ///
  /// - Parameter edits: (m, LogitEditColumn.count), i32.
  public func editLogits(_ logits: Tensor, _ edits: Tensor) {
    precondition(logits.dtype == .f32 && edits.dtype == .i32 && edits.columns == LogitEditColumn.count)
    perform([logits, edits]) { _ in backend.editLogits(logits, edits) }
  }

  /// Sets the logits (n, V), f32, of tokens whose bit is 0 to minus infinity, in place.
  ///
  /// - Parameter masks: (n, ceil(V / 32)), i32: token t's bit is bit t % 32 of word t / 32.
  public func maskLogits(_ logits: Tensor, _ masks: Tensor) {
    precondition(logits.dtype == .f32 && masks.dtype == .i32 && masks.rows == logits.rows)
    precondition(masks.columns == (logits.columns + 31) / 32)
    perform([logits, masks]) { _ in backend.maskLogits(logits, masks) }
  }

  /// The operation of `Sampling`.
  public func sample(
    _ logits: Tensor, edited: Tensor? = nil, numbers: Tensor, seeds: Tensor, tokens: Tensor,
    logProbabilities: Tensor
  ) {
    let edited = edited ?? logits
    precondition(logits.dtype == .f32 && edited.dtype == .f32 && edited.shape == logits.shape)
    precondition(numbers.shape == (logits.rows, SamplingColumn.count) && numbers.dtype == .f32)
    precondition(seeds.shape == (logits.rows, 4) && seeds.dtype == .i32)
    precondition(tokens.columns == logits.rows && tokens.dtype == .i32)
    precondition(logProbabilities.columns == logits.rows && logProbabilities.dtype == .f32)
    let sampling = Sampling(
      logits: logits, edited: edited, numbers: numbers, seeds: seeds, tokens: tokens,
      logProbabilities: logProbabilities)
    perform(
      [logits, edited, numbers, seeds, tokens, logProbabilities],
      workspace: backend.workspaceBytes(sampling)
    ) { backend.run(sampling, workspace: $0) }
  }
}
