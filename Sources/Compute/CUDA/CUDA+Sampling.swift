import CKernels

extension CUDA {
  public func editLogits(_ logits: Tensor, _ edits: Tensor) {
    launch(
      .sampling, "edit_logits", grid: Grid(x: (edits.rows + 127) / 128), threads: 128, logits.matrix,
      edits.address, Int64(edits.stride), Int32(edits.rows))
  }

  public func maskLogits(_ logits: Tensor, _ masks: Tensor) {
    launch(
      .sampling, "mask_logits", grid: Grid(x: (logits.columns + 255) / 256, y: min(logits.rows, 65_535)),
      threads: 256, logits.matrix, masks.address, Int64(masks.stride))
  }

  /// Blocks that look at a row's pieces (PIECES), each of which leaves 16 bytes.
  private static let pieces = 16

  public func workspaceBytes(_ sampling: Sampling) -> Int { sampling.logits.rows * Self.pieces * 16 }

  public func run(_ sampling: Sampling, workspace: Tensor?) {
    guard let workspace else { preconditionFailure("sampling without its workspace") }
    precondition(sampling.logits.rows <= Self.counterCount)
    // Of the list of the most probable tokens (MOST_LISTED).
    let shared = 4 + 4096 * 8
    launch(
      .sampling, "sample", grid: Grid(x: Self.pieces, y: sampling.logits.rows), threads: 1024, shared: shared,
      sampling.logits.matrix, sampling.edited.matrix, sampling.numbers.address,
      Int64(sampling.numbers.stride),
      sampling.seeds.address, Int64(sampling.seeds.stride), sampling.tokens.address,
      sampling.logProbabilities.address, workspace.address, UInt(arrivals))
  }
}
