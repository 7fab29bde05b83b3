import Basics

extension CUDA {
  public func workspaceBytes(_ product: MatrixProduct) -> Int { preconditionFailure("TODO") }
  public func run(_ product: MatrixProduct, workspace: Tensor?) { preconditionFailure("TODO") }
}

extension CUDA {
  func dequantize(_ weight: Weight, into out: Tensor) { preconditionFailure("TODO") }
}
