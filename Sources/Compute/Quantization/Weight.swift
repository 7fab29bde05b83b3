import CKernels

/// A weight matrix (out, in) in any storage format, in memory that its `owner` keeps: a mapped file, a buffer
/// made while loading, or trainable parameters.
///
/// `Sendable` because the bytes it points to are not written while a step reads them: frozen weights never
/// change, trainable ones change only between steps.
public struct Weight: @unchecked Sendable {
  /// What the kernels read.
  public var layout: sw_weight
  /// Keeps every buffer that `layout` points to alive.
  public let owner: AnyObject

  public init(layout: sw_weight, owner: AnyObject) {
    self.layout = layout
    self.owner = owner
  }

  /// Output features.
  public var rows: Int { Int(layout.rows) }
  /// Input features.
  public var columns: Int { Int(layout.columns) }
}
