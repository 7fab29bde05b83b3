import Basics

extension CUDA {
  public func allocateGrowing(most: Int) throws(SwiftletError) -> any GrowingMemory { preconditionFailure() }
  public func servesFewRows(_ layer: LinearExpansion, rows: Int) -> Bool { false }
  public func workspaceBytes(_ layer: FewRows) -> Int { preconditionFailure() }
  public func run(_ layer: FewRows, workspace: Tensor?) { preconditionFailure() }
  public func selectAdapters(_ h: Tensor, owners: Tensor, adapters: Tensor) { preconditionFailure() }
  public func run(_ write: PageWrite) { preconditionFailure() }
  public func workspaceBytes(_ attention: PagedAttention) -> Int { preconditionFailure() }
  public func run(_ attention: PagedAttention, workspace: Tensor?) { preconditionFailure() }
  public func editLogits(_ logits: Tensor, _ edits: Tensor) { preconditionFailure() }
  public func maskLogits(_ logits: Tensor, _ masks: Tensor) { preconditionFailure() }
  public func workspaceBytes(_ sampling: Sampling) -> Int { preconditionFailure() }
  public func run(_ sampling: Sampling, workspace: Tensor?) { preconditionFailure() }
}
