import Basics
import CKernels

/// cuDNN's backend API for one GPU, or for one that is only described: plans can be built then, but not run.
final class CuDNN {
  enum Target {
    case handle(UnsafeMutableRawPointer)
    /// A `deviceProperties` descriptor.
    case properties(CuDNNDescriptor)
  }

  let functions: sw_cudnn
  let target: Target
  private let device: CUDADevice?

  /// - Throws: `.unavailable` when cuDNN does not start.
  init(_ functions: sw_cudnn, on device: CUDADevice, _ stream: UnsafeMutableRawPointer) throws(SwiftletError)
  {
    device.makeCurrent()
    var handle: UnsafeMutableRawPointer?
    try functions.check(functions.cudnnCreate(&handle), "starting cuDNN")
    guard let handle else { preconditionFailure("cuDNN gave no handle") }
    self.functions = functions
    self.device = device
    target = .handle(handle)
    try functions.check(functions.cudnnSetStream(handle, stream), "giving cuDNN a stream")
  }

  /// - Parameter properties: a GPU's properties in cuDNN's JSON representation.
  /// - Throws: `.unavailable` when cuDNN does not take them.
  init(_ functions: sw_cudnn, properties: String) throws(SwiftletError) {
    let descriptor = try CuDNNDescriptor(.deviceProperties, functions)
    try descriptor.set(.devicePropertiesJSON, properties)
    try descriptor.finalize("describing a GPU")
    self.functions = functions
    target = .properties(descriptor)
    device = nil
  }

  deinit {
    guard case .handle(let handle) = target else { return }
    device?.makeCurrent()
    _ = functions.cudnnDestroy(handle)
  }

  /// Makes the calling thread use the GPU, if there is one.
  func makeCurrent() { device?.makeCurrent() }

  /// 9.19.0 is 91900.
  var version: Int { functions.cudnnGetVersion() }

  func descriptor(_ kind: CuDNNDescriptor.Kind) throws(SwiftletError) -> CuDNNDescriptor {
    try CuDNNDescriptor(kind, functions)
  }
}

extension sw_cudnn {
  /// - Throws: `.unavailable` with cuDNN's own words.
  func check(_ status: Int32, _ what: String) throws(SwiftletError) {
    guard status != 0 else { return }
    var text = [CChar](repeating: 0, count: 2048)
    cudnnGetLastErrorString(&text, text.count)
    let reason = text.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
    throw SwiftletError(.unavailable, "\(what): \(reason) (cuDNN error \(status))")
  }
}

/// A description that cuDNN holds: attributes are set, then it is finalized and no longer changes.
final class CuDNNDescriptor {
  /// Of cudnnBackendDescriptorType_t: CUDNN_BACKEND_…_DESCRIPTOR.
  enum Kind: Int32 {
    case pointwise = 0
    case engineConfiguration = 3
    case engineHeuristics = 4
    case executionPlan = 5
    case operationPointwise = 13
    case operationGraph = 15
    case variantPack = 16
    case tensor = 17
    case matmul = 18
    case operationMatmul = 19
    case reduction = 21
    case operationReduction = 22
    case operationReshape = 31
    case deviceProperties = 38
  }

  let raw: UnsafeMutableRawPointer
  private let functions: sw_cudnn
  /// What attributes refer to.
  private var references: [CuDNNDescriptor] = []

  init(_ kind: Kind, _ functions: sw_cudnn) throws(SwiftletError) {
    var raw: UnsafeMutableRawPointer?
    try functions.check(
      functions.cudnnBackendCreateDescriptor(kind.rawValue, &raw), "making a \(kind) descriptor")
    guard let raw else { preconditionFailure("cuDNN gave no descriptor") }
    self.raw = raw
    self.functions = functions
  }

  deinit { _ = functions.cudnnBackendDestroyDescriptor(raw) }

  func finalize(_ what: @autoclosure () -> String) throws(SwiftletError) {
    let status = functions.cudnnBackendFinalize(raw)
    if status != 0 { try functions.check(status, what()) }
  }

  // MARK: Attributes

  func set(_ attribute: CuDNNAttribute, _ values: [Int64]) throws(SwiftletError) {
    try set(attribute, .int64, values)
  }
  func set(_ attribute: CuDNNAttribute, _ value: Float) throws(SwiftletError) {
    try set(attribute, .float, [value])
  }
  func set(_ attribute: CuDNNAttribute, _ value: Bool) throws(SwiftletError) {
    try set(attribute, .boolean, [value])
  }
  func set(_ attribute: CuDNNAttribute, _ text: String) throws(SwiftletError) {
    try set(attribute, .char, Array(text.utf8) + [0])
  }
  func set(_ attribute: CuDNNAttribute, _ type: CuDNNDataType) throws(SwiftletError) {
    try set(attribute, .dataType, [type.rawValue])
  }
  func set(_ attribute: CuDNNAttribute, _ mode: CuDNNPointwise) throws(SwiftletError) {
    try set(attribute, .pointwiseMode, [mode.rawValue])
  }
  func set(_ attribute: CuDNNAttribute, _ operation: CuDNNReduction) throws(SwiftletError) {
    try set(attribute, .reductionOperator, [operation.rawValue])
  }
  func set(_ attribute: CuDNNAttribute, _ mode: CuDNNHeuristic) throws(SwiftletError) {
    try set(attribute, .heuristicMode, [mode.rawValue])
  }
  func set(_ attribute: CuDNNAttribute, _ pointers: [UnsafeMutableRawPointer?]) throws(SwiftletError) {
    try set(attribute, .voidPointer, pointers)
  }
  func set(_ attribute: CuDNNAttribute, handle: UnsafeMutableRawPointer) throws(SwiftletError) {
    try set(attribute, .handle, [handle])
  }
  func set(_ attribute: CuDNNAttribute, _ descriptors: [CuDNNDescriptor]) throws(SwiftletError) {
    try set(attribute, .descriptor, descriptors.map(\.raw))
    references += descriptors
  }

  private func set<Value: BitwiseCopyable>(
    _ attribute: CuDNNAttribute, _ type: CuDNNAttributeType, _ values: [Value]
  ) throws(SwiftletError) {
    let status = values.withUnsafeBytes {
      functions.cudnnBackendSetAttribute(
        raw, attribute.rawValue, type.rawValue, Int64(values.count), $0.baseAddress!)
    }
    try functions.check(status, "setting \(attribute)")
  }

  func int64(_ attribute: CuDNNAttribute) throws(SwiftletError) -> Int64 {
    var (value, count): (Int64, Int64) = (0, 0)
    let status = functions.cudnnBackendGetAttribute(
      raw, attribute.rawValue, CuDNNAttributeType.int64.rawValue, 1, &count, &value)
    try functions.check(status, "asking for \(attribute)")
    return value
  }

  /// The descriptors of `kind` that the attribute holds.
  func descriptors(
    _ attribute: CuDNNAttribute, _ kind: Kind
  ) throws(SwiftletError) -> [CuDNNDescriptor] {
    var count: Int64 = 0
    let type = CuDNNAttributeType.descriptor.rawValue
    _ = functions.cudnnBackendGetAttribute(raw, attribute.rawValue, type, 0, &count, nil)
    // cuDNN fills descriptors that the caller makes.
    var made: [CuDNNDescriptor] = []
    for _ in 0..<count { made.append(try CuDNNDescriptor(kind, functions)) }
    guard count > 0 else { return [] }
    var pointers: [UnsafeMutableRawPointer?] = made.map(\.raw)
    let status = functions.cudnnBackendGetAttribute(
      raw, attribute.rawValue, type, Int64(made.count), &count, &pointers)
    try functions.check(status, "asking for \(attribute)")
    return Array(made.prefix(Int(count)))
  }
}
