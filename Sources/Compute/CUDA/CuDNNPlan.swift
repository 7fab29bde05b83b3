import Basics

/// A graph compiled for a GPU.
final class CuDNNPlan {
  /// Bytes of memory that a call needs for itself.
  let workspaceBytes: Int
  private let library: CuDNN
  private let plan: CuDNNDescriptor
  private let graph: CuDNNGraph

  /// - Throws: `.unavailable` when cuDNN has no engine for the graph.
  init(_ graph: CuDNNGraph) throws(SwiftletError) {
    library = graph.library
    self.graph = graph
    library.makeCurrent()
    plan = try Self.compile(graph)
    workspaceBytes = Int(try plan.int64(.executionPlanWorkspaceSize))
  }

  /// The plan of the first engine that takes the graph, in the order in which cuDNN proposes them.
  private static func compile(_ graph: CuDNNGraph) throws(SwiftletError) -> CuDNNDescriptor {
    let library = graph.library
    var refusal = SwiftletError(.unavailable, "cuDNN \(library.version) has no engine for the graph")
    for engine in try engines(graph) {
      let plan = try library.descriptor(.executionPlan)
      switch library.target {
      case .handle(let handle): try plan.set(.executionPlanHandle, handle: handle)
      case .properties(let properties): try plan.set(.executionPlanDeviceProperties, [properties])
      }
      try plan.set(.executionPlanEngineConfiguration, [engine])
      do throws(SwiftletError) {
        try plan.finalize("compiling a graph")
        return plan
      } catch { refusal = error }
    }
    throw refusal
  }

  private static func engines(_ graph: CuDNNGraph) throws(SwiftletError) -> [CuDNNDescriptor] {
    let library = graph.library
    let operations = try library.descriptor(.operationGraph)
    try operations.set(.operationGraphOperations, graph.operations)
    if case .handle(let handle) = library.target { try operations.set(.operationGraphHandle, handle: handle) }
    try operations.finalize("making a graph")

    let heuristics = try library.descriptor(.engineHeuristics)
    try heuristics.set(.engineHeuristicsOperationGraph, [operations])
    try heuristics.set(.engineHeuristicsMode, .a)
    if case .properties(let properties) = library.target {
      try heuristics.set(.engineHeuristicsDeviceProperties, [properties])
    }
    try heuristics.finalize("choosing engines")
    return try heuristics.descriptors(.engineHeuristicsResults, .engineConfiguration)
  }

  /// Starts the graph on the library's stream.
  ///
  /// - Parameters:
  ///   - addresses: of the tensors in memory, by their ids.
  ///   - workspace: `workspaceBytes` of memory.
  func start(_ addresses: [Int64: UInt], workspace: UInt) throws(SwiftletError) {
    guard case .handle(let handle) = library.target else {
      preconditionFailure("a described GPU runs nothing")
    }
    library.makeCurrent()
    let pack = try library.descriptor(.variantPack)
    var values = graph.constants.map(\.value)
    var ids = Array(addresses.keys)
    var pointers = ids.map { UnsafeMutableRawPointer(bitPattern: addresses[$0]!) }
    let result = values.withUnsafeMutableBufferPointer { values in
      ids += graph.constants.map(\.id)
      pointers += values.indices.map { UnsafeMutableRawPointer(values.baseAddress! + $0) }
      return Result { () throws(SwiftletError) in
        try pack.set(.variantPackUniqueIDs, ids)
        try pack.set(.variantPackDataPointers, pointers)
        try pack.set(.variantPackWorkspace, [UnsafeMutableRawPointer(bitPattern: workspace)])
        try pack.finalize("giving a graph its operands")
        let status = library.functions.cudnnBackendExecute(handle, plan.raw, pack.raw)
        try library.functions.check(status, "starting a graph")
      }
    }
    try result.get()
  }
}
