extension CUDA {
  public func workspaceBytes(_ attention: Attention) -> Int { preconditionFailure("TODO") }
  public func run(_ attention: Attention, workspace: Tensor?) { preconditionFailure("TODO") }
  public func workspaceBytes(_ backward: AttentionBackward) -> Int { preconditionFailure("TODO") }
  public func run(_ backward: AttentionBackward, workspace: Tensor?) { preconditionFailure("TODO") }
}
