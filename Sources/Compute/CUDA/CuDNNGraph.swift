import Basics

/// A tensor of a graph: in memory, a number given with the call, or virtual, never in memory.
struct CuDNNTensor {
  let descriptor: CuDNNDescriptor
  let id: Int64
  let dimensions: [Int]
  /// In elements.
  let strides: [Int]

  /// Dimensions and strides of a tensor.
  struct Layout {
    var dimensions: [Int]
    var strides: [Int]

    /// The same elements with the last two dimensions exchanged.
    var transposed: Layout {
      var layout = self
      layout.dimensions.swapAt(2, 3)
      layout.strides.swapAt(2, 3)
      return layout
    }
  }

  var layout: Layout { Layout(dimensions: dimensions, strides: strides) }
}

/// Operations that cuDNN is to run as one. Every one is computed in float, but for comparisons and indices.
final class CuDNNGraph {
  let library: CuDNN
  private(set) var operations: [CuDNNDescriptor] = []
  /// Numbers that are given with each call, by the tensors' ids.
  private(set) var constants: [(id: Int64, value: Float)] = []
  /// Ids below are the caller's.
  private var nextID: Int64 = 1000

  init(_ library: CuDNN) { self.library = library }

  // MARK: Tensors

  /// A tensor at an address that is given with each call under `id`.
  ///
  /// - Parameter offsets: for sequences of different lengths, the elements before each of them.
  func tensor(
    _ id: Int64, _ layout: CuDNNTensor.Layout, _ type: CuDNNDataType, offsets: CuDNNTensor? = nil
  ) throws(SwiftletError) -> CuDNNTensor {
    try tensor(id, layout, type, offsets) { (_) throws(SwiftletError) in }
  }

  /// - Parameter offsets: as above.
  func virtual(
    _ layout: CuDNNTensor.Layout, _ type: CuDNNDataType, offsets: CuDNNTensor? = nil
  ) throws(SwiftletError) -> CuDNNTensor {
    try tensor(newID(), layout, type, offsets) { (descriptor) throws(SwiftletError) in
      try descriptor.set(.tensorIsVirtual, true)
    }
  }

  func constant(_ value: Float) throws(SwiftletError) -> CuDNNTensor {
    let one = CuDNNTensor.Layout(dimensions: [1, 1, 1, 1], strides: [1, 1, 1, 1])
    let made = try tensor(newID(), one, .float, nil) { (descriptor) throws(SwiftletError) in
      try descriptor.set(.tensorIsByValue, true)
    }
    constants.append((made.id, value))
    return made
  }

  private func newID() -> Int64 {
    nextID += 1
    return nextID
  }

  private func tensor(
    _ id: Int64, _ layout: CuDNNTensor.Layout, _ type: CuDNNDataType, _ offsets: CuDNNTensor?,
    _ configure: (CuDNNDescriptor) throws(SwiftletError) -> Void
  ) throws(SwiftletError) -> CuDNNTensor {
    let descriptor = try library.descriptor(.tensor)
    try descriptor.set(.tensorDataType, type)
    try descriptor.set(.tensorDimensions, layout.dimensions.map(Int64.init))
    try descriptor.set(.tensorStrides, layout.strides.map(Int64.init))
    try descriptor.set(.tensorUniqueID, [id])
    try descriptor.set(.tensorByteAlignment, [16])
    try configure(descriptor)
    if let offsets { try descriptor.set(.tensorRaggedOffset, [offsets.descriptor]) }
    try descriptor.finalize("describing the tensor \(id)")
    return CuDNNTensor(descriptor: descriptor, id: id, dimensions: layout.dimensions, strides: layout.strides)
  }

  // MARK: Operations

  /// y = mode(x, b).
  ///
  /// - Parameters:
  ///   - condition: what `.select` asks.
  ///   - axis: which of x's `.index` counts.
  ///   - y: a virtual tensor like x, of `type`, when nil.
  @discardableResult
  func pointwise(
    _ mode: CuDNNPointwise, _ x: CuDNNTensor, _ b: CuDNNTensor? = nil, condition: CuDNNTensor? = nil,
    axis: Int? = nil, precision: CuDNNDataType = .float, type: CuDNNDataType = .float,
    into y: CuDNNTensor? = nil
  ) throws(SwiftletError) -> CuDNNTensor {
    let kind = try library.descriptor(.pointwise)
    try kind.set(.pointwiseMode, mode)
    try kind.set(.pointwiseMathPrecision, precision)
    if let axis { try kind.set(.pointwiseAxis, [Int64(axis)]) }
    try kind.finalize("describing \(mode)")

    let result: CuDNNTensor
    if let y { result = y } else { result = try virtual(x.layout, type) }
    let operation = try library.descriptor(.operationPointwise)
    try operation.set(.operationPointwiseDescriptor, [kind])
    try operation.set(.operationPointwiseX, [x.descriptor])
    try operation.set(.operationPointwiseY, [result.descriptor])
    if let b { try operation.set(.operationPointwiseB, [b.descriptor]) }
    if let condition { try operation.set(.operationPointwiseT, [condition.descriptor]) }
    try operation.set(.operationPointwiseAlpha1, 1)
    try operation.set(.operationPointwiseAlpha2, 1)
    try add(operation, "\(mode)")
    return result
  }

  /// c = a b, of which each sequence takes as many rows (m), columns (n) and terms (k) as the overrides say.
  func matmul(
    _ a: CuDNNTensor, _ b: CuDNNTensor, into c: CuDNNTensor, m: CuDNNTensor? = nil, n: CuDNNTensor? = nil,
    k: CuDNNTensor? = nil
  ) throws(SwiftletError) {
    let kind = try library.descriptor(.matmul)
    try kind.set(.matmulComputeType, .float)
    try kind.finalize("describing a product")
    let operation = try library.descriptor(.operationMatmul)
    try operation.set(.operationMatmulDescriptor, [kind])
    try operation.set(.operationMatmulA, [a.descriptor])
    try operation.set(.operationMatmulB, [b.descriptor])
    try operation.set(.operationMatmulC, [c.descriptor])
    if let m { try operation.set(.operationMatmulMOverride, [m.descriptor]) }
    if let n { try operation.set(.operationMatmulNOverride, [n.descriptor]) }
    if let k { try operation.set(.operationMatmulKOverride, [k.descriptor]) }
    try add(operation, "a product")
  }

  /// y = x reduced along the dimensions in which y is smaller.
  func reduce(
    _ reduction: CuDNNReduction, _ x: CuDNNTensor, into y: CuDNNTensor
  ) throws(SwiftletError) {
    let kind = try library.descriptor(.reduction)
    try kind.set(.reductionComputeType, .float)
    try kind.set(.reductionOperator, reduction)
    try kind.set(.reductionIsDeterministic, false)
    try kind.finalize("describing a reduction")
    let operation = try library.descriptor(.operationReduction)
    try operation.set(.operationReductionDescriptor, [kind])
    try operation.set(.operationReductionX, [x.descriptor])
    try operation.set(.operationReductionY, [y.descriptor])
    try add(operation, "a reduction")
  }

  /// y = x seen with y's dimensions and strides.
  func reshape(_ x: CuDNNTensor, into y: CuDNNTensor) throws(SwiftletError) {
    let operation = try library.descriptor(.operationReshape)
    try operation.set(.operationReshapeX, [x.descriptor])
    try operation.set(.operationReshapeY, [y.descriptor])
    try add(operation, "a change of shape")
  }

  private func add(_ operation: CuDNNDescriptor, _ what: String) throws(SwiftletError) {
    try operation.finalize("adding \(what) to a graph")
    operations.append(operation)
  }
}
