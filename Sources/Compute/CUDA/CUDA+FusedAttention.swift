import Basics
import CKernels

/// Attention by cuDNN.
extension CUDA {
  private typealias Operand = CuDNNAttentionGraph.Operand

  func runFused(_ attention: Attention, _ plan: CuDNNAttentionPlan, workspace: Tensor?) {
    let parts = Parts(plan, attention, workspace)
    var addresses = operands(attention, plan, parts)
    if plan.key.isPacked { addresses[.logsumexp] = attention.logsumexp.address }
    start(plan, addresses, parts)
    if !plan.key.isPacked {
      // (B, H, S) to (B, S, H)
      transpose(
        parts[.logsumexp], attention.logsumexp.address, planes: plan.key.sequences,
        rows: attention.shape.heads, columns: plan.key.longest)
    }
  }

  func runFused(_ backward: AttentionBackward, _ plan: CuDNNAttentionPlan, workspace: Tensor) {
    guard let strides = plan.key.gradients else { preconditionFailure("a plan of the other direction") }
    let forward = backward.forward
    let parts = Parts(plan, forward, workspace)
    var addresses = operands(forward, plan, parts)
    if plan.key.isPacked {
      addresses[.logsumexp] = forward.logsumexp.address
    } else {
      transpose(
        forward.logsumexp.address, parts[.logsumexp], planes: plan.key.sequences, rows: plan.key.longest,
        columns: forward.shape.heads)
    }
    addresses[.dOut] = backward.dOut.address
    addresses[.delta] = parts[.delta]
    addresses[.dQSum] = parts[.dQSum]
    if parts.contains(.dKHeads) {
      addresses[.dKHeads] = parts[.dKHeads]
      addresses[.dVHeads] = parts[.dVHeads]
    }
    let results: [(operand: Operand, part: CuDNNAttentionPlan.Part, gradient: Tensor, stride: Int)] = [
      (.dQ, .dQ, backward.dQ, strides.dQ), (.dK, .dK, backward.dK, strides.dK),
      (.dV, .dV, backward.dV, strides.dV),
    ]
    for result in results {
      addresses[result.operand] = parts.contains(result.part) ? parts[result.part] : result.gradient.address
    }
    start(plan, addresses, parts)
    for result in results where parts.contains(result.part) {
      let gradient = result.gradient
      let gathered = Tensor(
        address: parts[result.part], rows: gradient.rows, columns: gradient.columns, stride: result.stride,
        dtype: .bf16, slot: nil)
      convert(gathered, y: gradient)
    }
  }

  /// What both directions read; fills the tables of packed rows.
  private func operands(_ attention: Attention, _ plan: CuDNNAttentionPlan, _ parts: Parts) -> [Operand: UInt]
  {
    var addresses: [Operand: UInt] = [
      .q: attention.q.address, .k: attention.k.address, .v: attention.v.address, .out: attention.out.address,
    ]
    guard plan.key.isPacked else {
      addresses[.logsumexp] = parts[.logsumexp]
      return addresses
    }
    let line = plan.offsetsLine
    precondition(plan.offsets.count <= 8)
    var strides = SIMD8<Int64>()
    var ofKeys: Int32 = 0
    for (index, offsets) in plan.offsets.enumerated() {
      strides[index] = Int64(offsets.stride)
      if offsets.ofKeys { ofKeys |= 1 << Int32(index) }
    }
    launch(
      .attentionLayout, "attention_offsets", grid: Grid(x: (plan.key.sequences + 256) / 256), threads: 256,
      attention.segments.table.address, Int64(plan.key.sequences), Int64(attention.q.rows), strides,
      Int32(plan.offsets.count), ofKeys, parts[.offsets], Int64(line))
    addresses[.queryCounts] = parts[.offsets]
    addresses[.keyCounts] = parts[.offsets] + UInt(line * 4)
    return addresses
  }

  private func start(_ plan: CuDNNAttentionPlan, _ operands: [Operand: UInt], _ parts: Parts) {
    guard !hasFailed else { return }
    var addresses: [Int64: UInt] = [:]
    for (operand, address) in operands { addresses[operand.rawValue] = address }
    for index in plan.offsets.indices {
      addresses[Operand.firstOffsets.rawValue + Int64(index)] =
        parts[.offsets] + UInt((2 + index) * plan.offsetsLine * 4)
    }
    do throws(SwiftletError) {
      try plan.plan.start(addresses, workspace: parts[.cuDNN])
    } catch { fail(error) }
  }

  private func transpose(_ x: UInt, _ y: UInt, planes: Int, rows: Int, columns: Int) {
    launch(
      .attentionLayout, "transpose_f32", grid: Grid(x: (columns + 31) / 32, y: (rows + 31) / 32, z: planes),
      threads: 256, x, y, Int64(rows), Int64(columns))
  }

  /// Addresses of the workspace's parts.
  private struct Parts {
    private let starts: [CuDNNAttentionPlan.Part: Int]
    private let base: UInt

    init(_ plan: CuDNNAttentionPlan, _ attention: Attention, _ workspace: Tensor?) {
      guard let workspace else { preconditionFailure("cuDNN's attention without its workspace") }
      starts = plan.workspace(rows: attention.q.rows).starts
      base = workspace.address
    }

    func contains(_ part: CuDNNAttentionPlan.Part) -> Bool { starts[part] != nil }

    subscript(part: CuDNNAttentionPlan.Part) -> UInt {
      guard let start = starts[part] else { preconditionFailure("this attention has no \(part)") }
      return base + UInt(start)
    }
  }
}
