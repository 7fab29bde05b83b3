import CKernels

extension CPU {
  // A product is cut into tiles of columns, and into rows where columns alone do not feed all threads. Each tile
  // packs its own columns of the right operand into the thread's part of the workspace.
  private struct Tiling {
    var columnTiles: Int
    var columnsEach: Int
    var rowTiles: Int
    var rowsEach: Int
    /// Bytes of workspace of one thread, a multiple of 64.
    var bytesEach: Int
    var isa: sw_isa
  }

  /// Packed columns of one tile should stay in a core's second-level cache.
  private static let packedBytes = 512 << 10

  private func tiling(_ g: inout sw_gemm) -> Tiling {
    let isa = sw_gemm_isa(g.a.dtype)
    let (m, n, k) = (Int(g.m), Int(g.n), Int(g.k))
    // Two panels feed one register tile. Quantised columns are decoded by whole blocks.
    let unit = g.b_kind == SW_B_WEIGHT && g.weight.format.rawValue >= SW_W_Q4_K.rawValue ? 256 : 32
    let units = (n + unit - 1) / unit
    let most = max(1, Self.packedBytes / (min(k, 2048) * g.a.dtype.bytes * unit))
    let enough = (units + most - 1) / most
    let columnTiles = min(units, (enough + threads - 1) / threads * threads)
    let columnsEach = (units + columnTiles - 1) / columnTiles * unit
    let tiles = (n + columnsEach - 1) / columnsEach
    let rowTiles = min(max(1, m / 64), (threads + tiles - 1) / tiles)
    let rowsEach = ((m + rowTiles - 1) / rowTiles + 31) / 32 * 32
    let bytes = Int(sw_gemm_scratch_bytes(&g, Int64(rowsEach), Int64(columnsEach), isa))
    return Tiling(
      columnTiles: tiles, columnsEach: columnsEach, rowTiles: (m + rowsEach - 1) / rowsEach,
      rowsEach: rowsEach,
      bytesEach: (bytes + 63) / 64 * 64, isa: isa)
  }

  public func workspaceBytes(_ product: MatrixProduct) -> Int {
    var g = product.kernel
    return tiling(&g).bytesEach * threads
  }

  public func run(_ product: MatrixProduct, workspace: Tensor?) {
    var g = product.kernel
    let tiling = tiling(&g)
    let scratch = workspace?.address ?? 0
    withUnsafePointer(to: g) { g in
      tasks(tiling.columnTiles * tiling.rowTiles) { task, thread in
        let column = task / tiling.rowTiles * tiling.columnsEach
        let row = task % tiling.rowTiles * tiling.rowsEach
        sw_gemm_tile(
          g, tiling.isa, Int64(row), min(g.pointee.m, Int64(row + tiling.rowsEach)), Int64(column),
          min(g.pointee.n, Int64(column + tiling.columnsEach)),
          UnsafeMutableRawPointer(bitPattern: scratch + UInt(thread * tiling.bytesEach)))
      }
    }
  }
}

extension MatrixProduct {
  fileprivate var kernel: sw_gemm {
    var g = sw_gemm()
    g.m = Int64(m)
    g.n = Int64(n)
    g.k = Int64(k)
    g.a = left.matrix
    g.a_transposed = leftTransposed ? 1 : 0
    switch right {
    case .rowsOf(let weight):
      g.b_kind = SW_B_WEIGHT_ROWS
      g.weight = weight.layout
    case .weight(let weight):
      g.b_kind = SW_B_WEIGHT
      g.weight = weight.layout
    case .matrix(let tensor):
      g.b_kind = SW_B_MATRIX
      g.b = tensor.matrix
    }
    g.alpha = alpha
    g.bias = UnsafePointer(bias?.pointer(Float.self))
    if let addend { g.addend = addend.matrix }
    g.c = out.matrix
    g.c_transposed = outTransposed ? 1 : 0
    return g
  }
}

extension sw_dtype {
  fileprivate var bytes: Int { self == SW_F64 ? 8 : self == SW_F32 ? 4 : 2 }
}
