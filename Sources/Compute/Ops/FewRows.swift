/// Linear layers that share an input, and their adapters, for the few rows of a decoding step: what it costs is to read
/// the weights once.
///
///     y_p = x W_pᵀ + bias_p + scale_p h[.., columns_p] B_pᵀ
///     out = [y_1 y_2 ...] + addend, or with an activation act(y_1) * y_2
///
/// With a selection, of which every row keeps its own adapter's columns: a layer of adapters' first halves makes h.
///
/// A row's result does not depend on the other rows, nor on how many there are: the sums' order is fixed.
public struct FewRows {
  /// (T, in)
  public let x: Tensor
  /// (T, R): x through the adapters' first halves, made from x by the `fewRows` before, or earlier.
  public let h: Tensor?
  public let layer: LinearExpansion
  /// (1, out of the part), f32: one entry a part.
  public let biases: [Tensor?]
  /// With two parts of one size: the gate's activation.
  public let activation: Activation?
  /// Neither with an activation nor with an addend.
  public let selection: AdapterSelection?
  /// (T, out) of out's dtype; may be `out` itself.
  public let addend: Tensor?
  /// (T, out), or (T, out / 2) with an activation; of x's dtype or its arithmetic type.
  public let out: Tensor
}

/// Which columns of h, (T, R), a row keeps where several adapters' lie side by side: those of its own. The others are
/// zero.
public struct AdapterSelection: Sendable {
  /// (1, R), i32: the adapter that each column is of.
  public let owners: Tensor
  /// (1, T), i32: each row's adapter; one that owns no column for none.
  public let adapters: Tensor

  public init(owners: Tensor, adapters: Tensor) {
    precondition(owners.rows == 1 && owners.dtype == .i32 && adapters.rows == 1 && adapters.dtype == .i32)
    self.owners = owners
    self.adapters = adapters
  }

  /// Whether it is one of h's columns and rows.
  func fits(_ h: Tensor) -> Bool { owners.columns == h.columns && adapters.columns == h.rows }
}

extension Step {
  /// The operation of `FewRows`.
  ///
  /// - Parameters:
  ///   - layer: its `down` is not read: `h` is what it gave.
  ///   - into: where `out` is written; a new tensor of `output`'s dtype, or x's, when nil.
  @discardableResult
  public func fewRows(
    _ x: Tensor, h: Tensor? = nil, _ layer: LinearExpansion, biases: [Tensor?]? = nil,
    activation: Activation? = nil, selecting selection: AdapterSelection? = nil, adding addend: Tensor? = nil,
    output: DType? = nil, into: Tensor? = nil
  ) -> Tensor {
    precondition(x.columns == layer.inputs && h.map { $0.rows == x.rows && $0.dtype == x.dtype } ?? true)
    let biases = biases ?? layer.parts.map { _ in nil }
    precondition(biases.count == layer.parts.count)
    precondition(
      activation == nil
        || addend == nil && layer.parts.count == 2
          && layer.parts[0].weight.rows == layer.parts[1].weight.rows
    )
    for (part, bias) in zip(layer.parts, biases) {
      precondition(bias.map { $0.columns == part.weight.rows && $0.dtype == .f32 } ?? true)
      if let up = part.up {
        precondition(h.map { up.columns.upperBound <= $0.columns } ?? false)
        precondition(up.weight.rows == part.weight.rows && up.weight.columns == up.columns.count)
      }
    }
    let columns = activation == nil ? layer.outputs : layer.parts[0].weight.rows
    let out = into ?? make(x.rows, columns, output ?? addend?.dtype ?? x.dtype)
    precondition(out.shape == (x.rows, columns) && (out.dtype == x.dtype || out.dtype == x.dtype.arithmetic))
    precondition(addend.map { $0.shape == out.shape && $0.dtype == out.dtype } ?? true)
    precondition(selection.map { activation == nil && addend == nil && $0.fits(out) } ?? true)
    let operation = FewRows(
      x: x, h: h, layer: layer, biases: biases, activation: activation, selection: selection, addend: addend,
      out: out)
    let operands = [x, h, selection?.owners, selection?.adapters, addend, out]
    perform(operands + biases, workspace: backend.workspaceBytes(operation)) {
      backend.run(operation, workspace: $0)
    }
    return out
  }

  /// The selection alone, of an h that an ordinary product made. In place.
  public func selectAdapters(_ h: Tensor, _ selection: AdapterSelection) {
    precondition(selection.fits(h))
    perform([h, selection.owners, selection.adapters]) { _ in backend.selectAdapters(h, selection) }
  }
}
