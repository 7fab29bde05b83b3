import Basics
import CKernels

/// cuDNN's fused attention on one GPU: what it takes, and a plan for each kind of it met so far.
final class CuDNNAttention {
  let library: CuDNN
  private let computeCapability: (major: Int, minor: Int)
  /// nil: cuDNN cannot.
  private var plans: [CuDNNAttentionKey: CuDNNAttentionPlan?] = [:]

  init(_ library: CuDNN, computeCapability: (major: Int, minor: Int)) {
    self.library = library
    self.computeCapability = computeCapability
  }

  /// The plan for an operation; nil where it is left to our own kernel.
  func plan(_ attention: Attention, _ backward: AttentionBackward? = nil) -> CuDNNAttentionPlan? {
    key(attention, backward).flatMap(plan)
  }

  func plan(_ key: CuDNNAttentionKey) -> CuDNNAttentionPlan? {
    if let known = plans[key] { return known }
    let plan = try? CuDNNAttentionPlan(key, library)
    plans[key] = .some(plan)
    return plan
  }

  /// How cuDNN is asked for an operation; nil where it does not serve it, or not well.
  func key(_ attention: Attention, _ backward: AttentionBackward?) -> CuDNNAttentionKey? {
    let (segments, shape, rows) = (attention.segments, attention.shape, attention.q.rows)
    var operands = [attention.q, attention.k, attention.v, attention.out]
    if let backward { operands += [backward.dOut, backward.dQ, backward.dK, backward.dV] }
    // Decoding has a new length with every token, and few queries: not worth a plan. Nor are short sequences, nor
    // prompts of few rows, whose context may be long.
    guard rows == attention.k.rows, min(rows, segments.longest) >= 64, isServed(shape),
      operands.allSatisfy({ $0.dtype == .bf16 && $0.liesInVectors })
    else { return nil }

    let isPacked = !(segments.isUniform && segments.longest % 128 == 0)
    let widest = max(shape.heads * shape.headSize, operands.map(\.stride).max() ?? 0)
    guard !isPacked || servesPacked(shape) && rows * widest <= Int32.max else { return nil }

    var key = CuDNNAttentionKey(
      shape: shape, isPacked: isPacked, sequences: segments.table.rows, longest: segments.longest,
      q: attention.q.stride, k: attention.k.stride, v: attention.v.stride, out: attention.out.stride)
    if let window = shape.window, window >= segments.longest { key.shape.window = nil }
    if let backward {
      key.gradients = CuDNNAttentionKey.Gradients(
        dOut: backward.dOut.stride, dQ: backward.dQ.stride, dK: backward.dK.stride, dV: backward.dV.stride)
      // Whatever offsets it is given for packed rows' gradients, cuDNN takes those of q, k and v; but its sums over the
      // query heads of a group are as wide as the group times the stride, which is kept narrow.
      if isPacked {
        let width = key.isGrouped ? shape.keyValueHeads * shape.headSize : nil
        key.gradients = CuDNNAttentionKey.Gradients(
          dOut: backward.dOut.stride, dQ: key.q, dK: width ?? key.k, dV: width ?? key.v)
      }
    }
    return key
  }

  private func isServed(_ shape: Attention.Shape) -> Bool {
    isSound && computeCapability.major >= 8 && shape.headSize % 8 == 0
      && shape.headSize <= (computeCapability.major == 9 ? 256 : 128)
  }

  /// 9.6: grouped heads of packed rows. 9.10.0 and 9.10.1 compute attention wrongly.
  private var isSound: Bool { library.version >= 90600 && ![91000, 91001].contains(library.version) }

  private func servesPacked(_ shape: Attention.Shape) -> Bool {
    servesPackedRows && shape.headSize % 16 == 0  // what kernels of packed rows want
  }

  /// Whether it has kernels for sequences of any lengths: other GPUs' take no packed statistics.
  var servesPackedRows: Bool { isSound && (9...10).contains(computeCapability.major) }
}

extension Tensor {
  /// Whether all rows begin at multiples of 16 bytes. Memory of a step does, so that this holds of addresses while the
  /// step is recorded as well.
  fileprivate var liesInVectors: Bool { address % 16 == 0 && stride * dtype.size % 16 == 0 }
}

/// A plan, and the memory that it needs beside cuDNN's own.
struct CuDNNAttentionPlan {
  /// Parts of the workspace.
  enum Part {
    /// What `attention_offsets` fills.
    case offsets
    /// (B, H, S), of sequences of one length.
    case logsumexp
    case delta, dQSum, dKHeads, dVHeads
    /// Packed rows' gradients as cuDNN writes them, before they are copied to where they belong.
    case dQ, dK, dV
    case cuDNN
  }

  let key: CuDNNAttentionKey
  let plan: CuDNNPlan
  let offsets: [CuDNNAttentionGraph.Offsets]

  /// - Throws: `.unavailable` when cuDNN has none.
  init(_ key: CuDNNAttentionKey, _ library: CuDNN) throws(SwiftletError) {
    let description = try CuDNNAttentionGraph(key, library)
    self.key = key
    plan = try CuDNNPlan(description.graph)
    offsets = description.offsets
  }

  /// Integers of a line of `Part.offsets`.
  var offsetsLine: Int { (key.sequences + 1 + 63) / 64 * 64 }

  /// Where each part lies in a workspace, and the bytes of all.
  ///
  /// - Parameter rows: of q and k.
  func workspace(rows: Int) -> (starts: [Part: Int], bytes: Int) {
    var (starts, bytes): ([Part: Int], Int) = ([:], 0)
    func add(_ part: Part, _ size: Int) {
      starts[part] = bytes
      bytes += Plan.aligned(size)
    }
    let shape = key.shape
    let heads = rows * shape.heads
    if key.isPacked {
      add(.offsets, (2 + offsets.count) * offsetsLine * 4)
    } else {
      add(.logsumexp, heads * 4)
    }
    if let gradients = key.gradients {
      add(.delta, heads * 4)
      add(.dQSum, (key.isPacked ? rows * gradients.dQ : heads * shape.headSize) * 4)
      if key.isPacked {
        add(.dQ, rows * gradients.dQ * 2)
        add(.dK, rows * gradients.dK * 2)
        add(.dV, rows * gradients.dV * 2)
      }
      if key.isPacked && key.isGrouped {
        // As much as cuDNN takes for them itself where rows are not packed. (It would take them for packed rows too,
        // but as many for every sequence as the longest has.)
        add(.dKHeads, heads * shape.headSize * 2)
        add(.dVHeads, heads * shape.headSize * 2)
      }
    }
    add(.cuDNN, plan.workspaceBytes)
    return (starts, bytes)
  }
}
