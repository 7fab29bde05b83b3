import CKernels

extension CUDA {
  /// cuBLASLt multiplies rows with a scale each on Hopper alone, from version 12.9 on.
  public var float8Refusal: String? {
    let (major, minor) = device.computeCapability
    guard (major, minor) == (9, 0) else {
      return
        "float8 rows with a scale each need compute capability 9.0 (H100, H200); this GPU has \(major).\(minor)"
    }
    let version = gemms.version
    guard version >= 120_900 else {
      return
        "float8 rows with a scale each need cuBLASLt 12.9; this one is \(version / 10_000).\(version / 100 % 100)"
    }
    return nil
  }

  public func float8(_ x: Tensor, times factors: Tensor?, into rows: Float8Rows) {
    let eights = x.columns / 8
    // HELD eights a thread, whose registers allow HELD_THREADS.
    let threads = max(128, ((eights + 9) / 10 + 31) / 32 * 32)
    if x.dtype == .bf16, Tensor.areAligned([x] + (factors.map { [$0] } ?? [])), threads <= 512 {
      return launch(
        .float8, "float8_rows_held", grid: Grid(x: x.rows), threads: threads, x.matrix, factors?.address ?? 0,
        rows.codes.address, rows.scales.address)
    }
    let isAligned = x.address % UInt(4 * x.dtype.size) == 0 && x.stride % 4 == 0
    launch(
      .float8, "float8_rows_\(x.dtype)_x\(isAligned ? 4 : 1)", grid: Grid(x: x.rows), threads: 256, x.matrix,
      factors?.address ?? 0, rows.codes.address, rows.scales.address)
  }

  public func float8Scales(_ weight: Weight, into scales: Tensor) {
    launch(
      .float8, "float8_weight_scales", grid: Grid(x: weight.rows), threads: 256, weight.layout,
      scales.address)
  }

  public func float8(_ weight: Weight, scales: Tensor, transposed: Bool, into codes: Tensor) {
    let suffix = weight.isNF4InWords ? "_nf4" : ""
    guard !transposed else {
      let (rows, columns) = (64, 128)  // TILE_ROWS, TILE_COLUMNS
      return launch(
        .float8, "float8_weight_transposed" + suffix,
        grid: Grid(x: (weight.columns + columns - 1) / columns, y: (weight.rows + rows - 1) / rows),
        threads: 256, weight.layout, scales.address, codes.address, Int64(codes.stride))
    }
    let units = weight.columns / 8
    let perBlock = weight.isNF4InWords ? 256 * 4 : 256  // THREADS * WORDS
    launch(
      .float8, "float8_weight" + suffix, grid: Grid(x: (weight.rows * units + perBlock - 1) / perBlock),
      threads: 256, weight.layout, scales.address, codes.address, Int64(codes.stride), UInt32(units))
  }

  public func workspaceBytes(_ product: Float8Product) -> Int {
    Gemm.workspaceBytes(m: product.out.rows, n: product.out.columns)
  }

  public func run(_ product: Float8Product, workspace: Tensor?) {
    guard let workspace else { preconditionFailure("a product without workspace") }
    let (left, right) = (product.left, product.right)
    run(
      Gemm(
        a: left.codes, b: right.codes, bTransposed: true,
        scales: (a: left.scales.address, b: right.scales.address), addend: product.addend, out: product.out),
      workspace: workspace.address)
  }
}
