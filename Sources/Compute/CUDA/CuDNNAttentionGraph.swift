import Basics

/// Everything that cuDNN's plan for an attention depends on. Row strides are in elements.
struct CuDNNAttentionKey: Hashable {
  struct Gradients: Hashable {
    var dOut, dQ, dK, dV: Int
  }

  /// Its window is nil where every query sees all keys before it.
  var shape: Attention.Shape
  /// Whether sequences have lengths of their own, which the device knows.
  var isPacked: Bool
  var sequences: Int
  /// Rows of a sequence, at most.
  var longest: Int
  var q, k, v, out: Int
  /// nil: forward.
  var gradients: Gradients?

  var isGrouped: Bool { shape.heads != shape.keyValueHeads }
}

/// Attention as a graph that cuDNN knows as fused: the pattern of operations, their types and which tensors lie in memory
/// are fixed, see "Scaled dot product attention" in NVIDIA's documentation of cuDNN.
///
/// B sequences of up to S rows, H heads of D columns; the softmax runs over (B, H, S, S), of which nothing is in memory.
struct CuDNNAttentionGraph {
  /// The ids of tensors in memory. Those of offsets follow `firstOffsets`.
  enum Operand: Int64 {
    case q = 1
    case k, v, out
    /// (B, H, S, 1). Packed rows: (T, H) as ours; else H before S.
    case logsumexp
    case dOut, dQ, dK, dV
    /// (B): the rows of each sequence.
    case queryCounts, keyCounts
    /// As `logsumexp`: rowsum(dO * O).
    case delta
    /// Like dQ, float: what is summed up.
    case dQSum
    /// dK and dV of each query head, of packed rows with grouped heads.
    case dKHeads, dVHeads
    case firstOffsets = 100
  }

  /// The elements before each sequence, of rows `stride` apart.
  struct Offsets: Hashable {
    var ofKeys: Bool
    var stride: Int
  }

  let graph: CuDNNGraph
  /// Their ids are `firstOffsets` and those after it.
  private(set) var offsets: [Offsets] = []
  private let key: CuDNNAttentionKey
  private let scale: CuDNNTensor
  private var offsetTensors: [CuDNNTensor] = []
  private var queryCounts: CuDNNTensor?
  private var keyCounts: CuDNNTensor?

  private var shape: Attention.Shape { key.shape }
  private var B: Int { key.sequences }
  private var H: Int { shape.heads }
  private var S: Int { key.longest }
  private var D: Int { shape.headSize }

  /// - Throws: `.unavailable` when cuDNN does not take the description.
  init(_ key: CuDNNAttentionKey, _ library: CuDNN) throws(SwiftletError) {
    self.key = key
    graph = CuDNNGraph(library)
    scale = try graph.constant(key.shape.scale)
    if key.isPacked {
      queryCounts = try integers(.queryCounts, key.sequences)
      keyCounts = try integers(.keyCounts, key.sequences)
    }
    if let gradients = key.gradients { try addBackward(gradients) } else { try addForward() }
  }

  // MARK: Layouts

  private func integers(_ operand: Operand, _ count: Int, after: Int = 0) throws(SwiftletError) -> CuDNNTensor
  {
    try graph.tensor(
      operand.rawValue + Int64(after),
      CuDNNTensor.Layout(dimensions: [count, 1, 1, 1], strides: [1, 1, 1, 1]), .int32)
  }

  /// The offsets of an operand's sequences; nil unless rows are packed.
  private mutating func offsets(
    ofKeys: Bool = false, stride: Int
  ) throws(SwiftletError) -> CuDNNTensor? {
    guard key.isPacked else { return nil }
    let wanted = Offsets(ofKeys: ofKeys, stride: stride)
    if let index = offsets.firstIndex(of: wanted) { return offsetTensors[index] }
    let made = try integers(.firstOffsets, key.sequences + 1, after: offsets.count)
    offsets.append(wanted)
    offsetTensors.append(made)
    return made
  }

  /// (B, heads, S, D) in rows that lie `stride` apart.
  private func rows(_ heads: Int, stride: Int) -> CuDNNTensor.Layout {
    CuDNNTensor.Layout(dimensions: [B, heads, S, D], strides: [S * stride, D, stride, 1])
  }

  /// (B, H, S, last), contiguous.
  private func contiguous(_ last: Int) -> CuDNNTensor.Layout {
    CuDNNTensor.Layout(dimensions: [B, H, S, last], strides: [H * S * last, S * last, last, 1])
  }

  private var scores: CuDNNTensor.Layout { contiguous(S) }

  private mutating func ofQueries(
    _ operand: Operand, stride: Int, _ type: CuDNNDataType = .bfloat16
  ) throws(SwiftletError) -> CuDNNTensor {
    try graph.tensor(operand.rawValue, rows(H, stride: stride), type, offsets: offsets(stride: stride))
  }

  private mutating func ofKeys(
    _ operand: Operand, stride: Int, transposed: Bool = false
  ) throws(SwiftletError) -> CuDNNTensor {
    let layout = rows(shape.keyValueHeads, stride: stride)
    return try graph.tensor(
      operand.rawValue, transposed ? layout.transposed : layout, .bfloat16,
      offsets: offsets(ofKeys: true, stride: stride))
  }

  /// A number for each query and head, in memory.
  private mutating func statistics(_ operand: Operand) throws(SwiftletError) -> CuDNNTensor {
    var layout = contiguous(1)
    if key.isPacked { layout.strides = [S * H, 1, H, 1] }
    return try graph.tensor(operand.rawValue, layout, .float, offsets: offsets(stride: H))
  }

  // MARK: Parts of both directions

  /// scale * Q Kᵀ, from K transposed.
  private func scaledScores(_ q: CuDNNTensor, _ k: CuDNNTensor) throws(SwiftletError) -> CuDNNTensor {
    let products = try graph.virtual(scores, .float)
    try graph.matmul(q, k, into: products, m: queryCounts, n: keyCounts)
    return try graph.pointwise(.multiply, products, scale)
  }

  /// Replaces the scores of keys that a query does not see: those past the sequence, after the query, before its window.
  private func masked(_ scores: CuDNNTensor) throws(SwiftletError) -> CuDNNTensor {
    var x = scores
    if let queryCounts, let keyCounts {
      let (row, column) = try indices(x, precision: .int32)
      let isRow = try graph.pointwise(.isLess, row, queryCounts, precision: .boolean, type: .boolean)
      let isColumn = try graph.pointwise(.isLess, column, keyCounts, precision: .boolean, type: .boolean)
      x = try select(x, graph.pointwise(.and, isRow, isColumn, precision: .boolean, type: .boolean))
    }
    let (row, column) = try indices(x)
    x = try select(x, graph.pointwise(.isGreaterOrEqual, row, column, precision: .boolean, type: .boolean))
    if let window = shape.window {
      let (row, column) = try indices(x)
      let end = try graph.pointwise(.add, column, graph.constant(Float(window)))
      x = try select(x, graph.pointwise(.isGreater, end, row, precision: .boolean, type: .boolean))
    }
    return x
  }

  private func indices(
    _ x: CuDNNTensor, precision: CuDNNDataType = .float
  ) throws(SwiftletError) -> (row: CuDNNTensor, column: CuDNNTensor) {
    (
      try graph.pointwise(.index, x, axis: 2, precision: precision, type: .int32),
      try graph.pointwise(.index, x, axis: 3, precision: precision, type: .int32)
    )
  }

  private func select(_ x: CuDNNTensor, _ isSeen: CuDNNTensor) throws(SwiftletError) -> CuDNNTensor {
    try graph.pointwise(.select, x, graph.constant(-.greatestFiniteMagnitude), condition: isSeen)
  }

  // MARK: Forward

  /// P = softmax(mask(scale * Q Kᵀ)), O = P V.
  private mutating func addForward() throws(SwiftletError) {
    let q = try ofQueries(.q, stride: key.q)
    let k = try ofKeys(.k, stride: key.k, transposed: true)
    let v = try ofKeys(.v, stride: key.v)
    let out = try ofQueries(.out, stride: key.out)
    let logsumexp = try statistics(.logsumexp)

    let x = try masked(scaledScores(q, k))
    let top = try graph.virtual(contiguous(1), .float)
    try graph.reduce(.max, x, into: top)
    let exponentials = try graph.pointwise(.exponential, graph.pointwise(.subtract, x, top))
    let sum = try graph.virtual(contiguous(1), .float)
    try graph.reduce(.add, exponentials, into: sum)
    try graph.pointwise(.add, top, graph.pointwise(.logarithm, sum), into: logsumexp)
    let p = try graph.pointwise(.divide, exponentials, sum, type: .bfloat16)
    try graph.matmul(p, v, into: out, m: queryCounts, k: keyCounts)
  }

  // MARK: Backward

  /// With P = exp(mask(scale * Q Kᵀ - L)) and D = rowsum(dO * O):
  /// dV = Pᵀ dO, dS = P * (dO Vᵀ - D) * scale, dK = dSᵀ Q, dQ = dS K.
  private mutating func addBackward(_ strides: CuDNNAttentionKey.Gradients) throws(SwiftletError) {
    let q = try ofQueries(.q, stride: key.q)
    let k = try ofKeys(.k, stride: key.k, transposed: true)
    let v = try ofKeys(.v, stride: key.v, transposed: true)
    let out = try ofQueries(.out, stride: key.out)
    let dOut = try ofQueries(.dOut, stride: strides.dOut)
    let logsumexp = try statistics(.logsumexp)

    let dots = try graph.virtual(contiguous(1), .float)
    try graph.reduce(
      .add, graph.pointwise(.multiply, dOut, out, into: graph.virtual(contiguous(D), .float)), into: dots)
    let delta = try statistics(.delta)
    try graph.pointwise(.multiply, dots, graph.constant(1), into: delta)

    let exponents = try graph.pointwise(.subtract, scaledScores(q, k), logsumexp)
    let p = try graph.pointwise(.exponential, masked(exponents))
    try addProductOfKeys(p, dOut, perHead: .dVHeads, into: .dV, stride: strides.dV)

    let dP = try graph.virtual(scores, .float)
    try graph.matmul(dOut, v, into: dP, m: queryCounts, n: keyCounts)
    let dPCentred = try graph.pointwise(.subtract, dP, delta)
    let dS = try graph.pointwise(.multiply, graph.pointwise(.multiply, dPCentred, p), scale)
    try addProductOfKeys(dS, q, perHead: .dKHeads, into: .dK, stride: strides.dK)
    try addProductOfQueries(dS, k, stride: strides.dQ)
  }

  /// dK or dV: transposed scores times rows of queries, summed over the query heads of a group.
  private mutating func addProductOfKeys(
    _ scores: CuDNNTensor, _ rows: CuDNNTensor, perHead: Operand, into operand: Operand, stride: Int
  ) throws(SwiftletError) {
    let transposed = try graph.virtual(self.scores.transposed, .bfloat16)
    try graph.reshape(scores, into: transposed)
    let result = try ofKeys(operand, stride: stride)
    guard key.isGrouped else {
      try graph.matmul(transposed, rows, into: result, m: keyCounts, k: queryCounts)
      return
    }
    let heads: CuDNNTensor
    if key.isPacked {
      // The offsets are the result's: cuDNN multiplies them by the heads of a group.
      let layout = self.rows(H, stride: stride * (H / shape.keyValueHeads))
      heads = try graph.tensor(
        perHead.rawValue, layout, .bfloat16, offsets: offsets(ofKeys: true, stride: stride))
    } else {
      heads = try graph.virtual(contiguous(D), .bfloat16)
    }
    try graph.matmul(transposed, rows, into: heads, m: keyCounts, k: queryCounts)
    try graph.reduce(.add, heads, into: result)
  }

  /// dQ = dS K, summed up in float.
  private mutating func addProductOfQueries(
    _ dS: CuDNNTensor, _ k: CuDNNTensor, stride: Int
  ) throws(SwiftletError) {
    let rowsOfK = try graph.virtual(
      k.layout.transposed, .float, offsets: offsets(ofKeys: true, stride: key.k))
    try graph.reshape(k, into: rowsOfK)
    let layout = key.isPacked ? rows(H, stride: stride) : contiguous(D)
    let sum = try graph.tensor(
      Operand.dQSum.rawValue, layout, .float, offsets: offsets(stride: stride))
    try graph.matmul(dS, rowsOfK, into: sum, m: queryCounts, k: keyCounts)
    try graph.pointwise(.identity, sum, into: ofQueries(.dQ, stride: stride))
  }
}
