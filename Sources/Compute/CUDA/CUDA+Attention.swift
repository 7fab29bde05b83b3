import Basics
import CKernels

/// Attention by cuDNN's fused kernels where it has them (bf16 from Ampere on), else by a kernel of ours.
extension CUDA {
  public var attendsFasterOutsidePages: Bool { fusedAttention?.servesPackedRows ?? false }

  public func workspaceBytes(_ attention: Attention) -> Int {
    fusedAttention?.plan(attention)?.workspace(rows: attention.q.rows).bytes ?? 0
  }

  public func run(_ attention: Attention, workspace: Tensor?) {
    if let plan = fusedAttention?.plan(attention) {
      runFused(attention, plan, workspace: workspace)
    } else {
      launch(
        .attention, "attention_\(attention.kernelSuffix)",
        grid: tiles(of: attention.q, attention, heads: attention.shape.heads),
        threads: 256, attention.kernel)
    }
  }

  public func workspaceBytes(_ backward: AttentionBackward) -> Int {
    let forward = backward.forward
    return fusedAttention?.plan(forward, backward)?.workspace(rows: forward.q.rows).bytes
      ?? forward.q.rows * forward.shape.heads * DType.f32.size
  }

  public func run(_ backward: AttentionBackward, workspace: Tensor?) {
    guard let workspace else { preconditionFailure("attention's gradient without its workspace") }
    if let plan = fusedAttention?.plan(backward.forward, backward) {
      return runFused(backward, plan, workspace: workspace)
    }
    let forward = backward.forward
    let (shape, delta) = (forward.shape, workspace.address)
    let gradients = sw_attention_gradients(
      d_o: backward.dOut.matrix, d_q: backward.dQ.matrix, d_k: backward.dK.matrix, d_v: backward.dV.matrix)
    launch(
      .attention, "attention_row_dots_\(forward.q.dtype)",
      grid: Grid(x: (forward.q.rows * shape.heads + 7) / 8), threads: 256,
      forward.out.matrix, backward.dOut.matrix, Int32(shape.heads), Int64(shape.headSize), delta)
    launch(
      .attention, "attention_backward_queries_\(forward.kernelSuffix)",
      grid: tiles(of: forward.q, forward, heads: shape.heads), threads: 256, forward.kernel, gradients, delta)
    launch(
      .attention, "attention_backward_keys_\(forward.kernelSuffix)",
      grid: tiles(of: forward.k, forward, heads: shape.keyValueHeads), threads: 256, forward.kernel,
      gradients,
      delta)
  }

  /// As many tiles of 64 rows as all sequences can have, whose lengths only the device knows.
  private func tiles(of rows: Tensor, _ attention: Attention, heads: Int) -> Grid {
    Grid(x: rows.rows / 64 + attention.segments.table.rows, y: heads)
  }
}

extension Attention {
  /// The dtype and greatest head size of the kernel that serves it.
  fileprivate var kernelSuffix: String {
    precondition(shape.headSize <= 256, "attention heads of \(shape.headSize)")
    return "\(q.dtype)_\(shape.headSize <= 64 ? 64 : shape.headSize <= 128 ? 128 : 256)"
  }
}
