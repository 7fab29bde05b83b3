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
  private static let packedBytes = 640 << 10

  private func tiling(_ product: MatrixProduct, _ g: inout sw_gemm) -> Tiling {
    let left = product.terms[0].left
    let isa = sw_gemm_isa(left.dtype.kernel)
    let (m, n) = (product.m, product.n)
    let k = product.terms.reduce(0) { $0 + product.k($1) }
    let packedRows = min(k, Int(sw_gemm_k_block(left.dtype.kernel, isa)))
    // Two panels feed one register tile. Quantised columns are decoded by whole blocks.
    let unit = product.terms.contains(where: \.decodesLongBlocks) ? 256 : 32
    let units = (n + unit - 1) / unit
    let most = max(1, Self.packedBytes / (packedRows * left.dtype.size * unit))
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
    return tiling(product, &g).bytesEach * threads
  }

  public func run(_ product: MatrixProduct, workspace: Tensor?) {
    var g = product.kernel
    let tiling = tiling(product, &g)
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
    precondition(terms.count <= Int(SW_MAX_TERMS))
    var g = sw_gemm()
    g.m = Int64(m)
    g.n = Int64(n)
    withUnsafeMutableBytes(of: &g.terms) { bytes in
      let out = bytes.bindMemory(to: sw_term.self)
      for (index, term) in terms.enumerated() { out[index] = kernel(term) }
    }
    g.term_count = Int32(terms.count)
    g.alpha = alpha
    g.bias = UnsafePointer(bias?.pointer(Float.self))
    if let addend { g.addend = addend.matrix }
    g.c = out.matrix
    g.c_transposed = outTransposed ? 1 : 0
    return g
  }

  private func kernel(_ term: Term) -> sw_term {
    var t = sw_term()
    t.k = Int64(k(term))
    t.a = term.left.matrix
    t.a_transposed = leftTransposed ? 1 : 0
    t.scale = term.scale
    switch term.right {
    case .rowsOf(let weight):
      t.b_kind = SW_B_WEIGHT_ROWS
      t.weight = weight.layout
    case .weight(let weight):
      t.b_kind = SW_B_WEIGHT
      t.weight = weight.layout
    case .matrix(let tensor):
      t.b_kind = SW_B_MATRIX
      t.b = tensor.matrix
    case .rowsOfMatrix(let tensor):
      t.b_kind = SW_B_MATRIX_ROWS
      t.b = tensor.matrix
    }
    return t
  }
}

extension MatrixProduct.Term {
  /// Whether columns are cut out of blocks of 256.
  fileprivate var decodesLongBlocks: Bool {
    if case .weight(let weight) = right { weight.format.blockSize == 256 } else { false }
  }
}

extension CPU {
  public func expand(_ layer: LinearExpansion, into out: Tensor) {
    let (inputs, ranks) = (layer.inputs, layer.ranks)
    var firstRow = 0
    for part in layer.parts {
      let rows = out.rows(firstRow..<firstRow + part.weight.rows)
      decode(part.weight, scale: 1, into: rows.columns(0..<inputs))
      firstRow += part.weight.rows
    }
    guard let down = layer.down else { return }
    expandUps(layer, into: out.rows(0..<firstRow).columns(inputs..<inputs + ranks))
    let below = out.rows(firstRow..<firstRow + ranks)
    decode(down, scale: 1, into: below.columns(0..<inputs))
    zero(below.columns(inputs..<inputs + ranks))
  }

  public func expandUps(_ layer: LinearExpansion, into out: Tensor) {
    zero(out)
    var firstRow = 0
    for part in layer.parts {
      let rows = out.rows(firstRow..<firstRow + part.weight.rows)
      if let up = part.up { decode(up.weight, scale: up.scale, into: rows.columns(up.columns)) }
      firstRow += part.weight.rows
    }
  }

  /// out = scale * weight, rounded to out's dtype.
  private func decode(_ weight: Weight, scale: Float, into out: Tensor) {
    let columns = weight.columns
    rows(of: out) { begin, end in
      withUnsafeTemporaryAllocation(of: Float.self, capacity: columns) { row in
        withUnsafePointer(to: weight.layout) { layout in
          let decoded = sw_matrix(
            data: row.baseAddress, rows: 1, columns: Int64(columns), stride: Int64(columns), dtype: SW_F32)
          for index in begin..<end {
            sw_weight_decode(layout, index, 0, Int64(columns), row.baseAddress)
            if scale != 1 { for column in row.indices { row[column] *= scale } }
            sw_copy(decoded, out.rows(Int(index)..<Int(index) + 1).matrix, 0, 1)
          }
        }
      }
    }
  }
}
