import Basics

extension CUDA {
  public func workspaceBytes(_ product: MatrixProduct) -> Int { preconditionFailure("TODO") }
  public func run(_ product: MatrixProduct, workspace: Tensor?) { preconditionFailure("TODO") }
}

extension CUDA {
  public var mergesLinears: Bool { true }
  public func expand(_ layer: LinearExpansion, into out: Tensor) { preconditionFailure("TODO") }
  public func place(_ weight: Weight) throws(SwiftletError) -> Weight { preconditionFailure("TODO") }
}
