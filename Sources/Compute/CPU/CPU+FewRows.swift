import CKernels

extension CPU {
  /// Up to so many rows, reading the weights is what a product costs, and dot products straight on their blocks are
  /// faster than tiles of packed columns.
  private static let mostFewRows = 8

  public func servesFewRows(_ layer: LinearExpansion, rows: Int, isDecoding: Bool) -> Bool {
    isDecoding || rows <= Self.mostFewRows
  }

  public func workspaceBytes(_ layer: FewRows) -> Int {
    guard layer.x.dtype != .f64 else { return doubleWorkspaceBytes(layer) }
    return layer.withKernel { Self.scratchBytes($0) } * threads
  }

  private static func scratchBytes(_ kernel: UnsafePointer<sw_few_rows>) -> Int {
    (Int(sw_few_rows_scratch_bytes(kernel)) + 63) / 64 * 64
  }

  public func run(_ layer: FewRows, workspace: Tensor?) {
    guard layer.x.dtype != .f64 else { return runInDouble(layer, workspace: workspace) }
    let scratch = workspace?.address ?? 0
    let elementsEach = layer.x.rows * layer.layer.inputs * (layer.activation == nil ? 1 : 2)
    layer.withKernel { kernel in
      let each = Self.scratchBytes(kernel)
      ranges(layer.out.columns, elementsEach: elementsEach, multiple: 8) { begin, end, thread in
        sw_run_few_rows(
          kernel, begin, end, UnsafeMutableRawPointer(bitPattern: scratch + UInt(thread * each)))
      }
    }
  }

  // MARK: In double, for checks

  private func doubleWorkspaceBytes(_ layer: FewRows) -> Int {
    let products = layer.products(into: layer.unactivated(at: 0))
    return layer.unactivatedBytes + (products.map { workspaceBytes($0) }.max() ?? 0)
  }

  private func runInDouble(_ layer: FewRows, workspace: Tensor?) {
    guard let activation = layer.activation, let workspace else {
      for product in layer.products(into: layer.out) { run(product, workspace: workspace) }
      if let selection = layer.selection { selectAdapters(layer.out, selection) }
      return
    }
    let width = layer.out.columns
    let y = layer.unactivated(at: workspace.address)
    let rest = workspace.columns(layer.unactivatedBytes..<workspace.columns)
    for product in layer.products(into: y) { run(product, workspace: rest) }
    gatedActivation(
      activation, gate: y.columns(0..<width), up: y.columns(width..<2 * width), y: layer.out)
  }
}

extension FewRows {
  /// The operation as kernels take it.
  fileprivate func withKernel<Result>(_ body: (UnsafePointer<sw_few_rows>) -> Result) -> Result {
    let parts = zip(layer.parts, biases).map { part, bias in
      var kernel = sw_part()
      kernel.weight = part.weight.layout
      kernel.bias = UnsafePointer(bias?.pointer(Float.self))
      if let up = part.up {
        kernel.up = up.weight.layout
        kernel.up_column = Int64(up.columns.lowerBound)
        kernel.up_scale = up.scale
      }
      return kernel
    }
    return parts.withUnsafeBufferPointer { parts in
      let kernel = sw_few_rows(
        x: x.matrix, h: h?.matrix ?? sw_matrix(), parts: parts.baseAddress, part_count: Int32(parts.count),
        gated: activation == nil ? 0 : 1, activation: activation?.kernel ?? SW_SILU,
        owners: UnsafePointer(selection?.owners.pointer(Int32.self)),
        adapters: UnsafePointer(selection?.adapters.pointer(Int32.self)),
        addend: addend?.matrix ?? sw_matrix(),
        out: out.matrix)
      return withUnsafePointer(to: kernel, body)
    }
  }

  /// The layers' outputs.
  fileprivate func unactivated(at address: UInt) -> Tensor {
    Tensor(
      address: address, rows: x.rows, columns: layer.outputs, stride: layer.outputs, dtype: out.dtype,
      slot: nil)
  }

  /// Bytes of the layers' outputs, when an activation follows.
  fileprivate var unactivatedBytes: Int {
    activation == nil ? 0 : (x.rows * layer.outputs * out.dtype.size + 63) / 64 * 64
  }

  /// The parts' products, into columns of `y`.
  fileprivate func products(into y: Tensor) -> [MatrixProduct] {
    var first = 0
    return zip(layer.parts, biases).map { part, bias in
      defer { first += part.weight.rows }
      var terms = [MatrixProduct.Term(left: x, right: .rowsOf(part.weight), scale: 1)]
      if let up = part.up, let h {
        terms.append(
          MatrixProduct.Term(left: h.columns(up.columns), right: .rowsOf(up.weight), scale: up.scale))
      }
      let columns = first..<first + part.weight.rows
      return MatrixProduct(
        terms: terms, leftTransposed: false, alpha: 1, bias: bias, addend: addend?.columns(columns),
        out: y.columns(columns), outTransposed: false)
    }
  }
}
