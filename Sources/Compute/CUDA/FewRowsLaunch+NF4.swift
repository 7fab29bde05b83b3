import CKernels

extension FewRowsLaunch {
  /// few_rows_nf4.cu's.
  init(nf4 layer: FewRows, _ format: String, _ device: CUDADevice) {
    let columns = layer.layer.inputs
    let memory = NF4Memory(layer, device)
    let slot = 2 << 10
    let before = memory.beforeTables / slot
    let mostWarps = min(
      memory.isWide ? 18 : 10, (before + (device.sharedBytes - memory.tablesEnd) / slot) / 2)

    let tiles = NF4Tiles(layer, height: layer.activation == nil ? 16 : 8)
    let count = tiles.perBlock(most: mostWarps, blocks: device.multiprocessors)
    self.tiles = count
    splits = min(mostWarps / count, (columns + 255) / 256)
    warps = count * splits
    blocks = tiles.blocks(count)
    firstBlocks = tiles.firstBlocks(count)

    let eights = layer.x.rows <= 8 ? 1 : 2
    rows = 8 * eights
    let slots = (eights == 2 ? 1 : 2) * warps
    let pitch = columns * DType.bf16.size + 16
    let rowsBeforeTable = (memory.beforeTables - min(slots, before) * slot) / pitch
    let used = memory.tablesEnd + max(0, slots - before) * slot
    let copy = max(0, min(rows, layer.x.rows) - rowsBeforeTable) * pitch
    let copiesX = used + copy <= device.sharedBytes
    rowsBefore = copiesX ? rowsBeforeTable : nil
    sharedBytes = used + (copiesX ? copy : 0)
    (source, kernel) = (.fewRowsNF4, "few_rows_\(format)_n\(eights)")
  }

  /// few_rows_nf4_batch.cu's, in so many ranges of columns as few_rows_nf4.cu has; nil where that is the faster way, and where
  /// shared memory is too small.
  init?(nf4Batch layer: FewRows, _ format: String, splits: Int, _ device: CUDADevice) {
    let count = layer.x.rows
    // Short ranges are not worth the second kernel, unless weights would be read again.
    guard count > 16 || count > 8 && layer.layer.inputs >= 4 * 256 * splits,
      layer.layer.parts.allSatisfy({ $0.weight.bytes < 4 << 30 })  // offsets of 32 bits
    else { return nil }

    // MULTIPLYING, BRINGING, STAGES, WARP_STAGE_BYTES and X_PITCH.
    let memory = NF4Memory(layer, device)
    let (mostWarps, bringing, weights, pitch) = (9, 3, (4 << 10) + 512, 512 + 16)
    /// Where shared memory ends with so many warps that multiply, and rows of x, in eights.
    func end(_ warps: Int, _ eights: Int) -> Int {
      let stages = eights == 2 ? 3 : 2
      let before = memory.beforeTables / (stages * weights)
      return memory.tablesEnd + stages * (max(0, warps - before) * weights + 8 * eights * pitch)
    }
    func most(_ eights: Int) -> Int { (1...mostWarps).last { end($0, eights) <= device.sharedBytes } ?? 0 }
    let needed = count <= 16 ? 2 : count <= 32 ? 4 : 8
    // Fewer warps than 6 leave too much time in which all wait.
    guard memory.isWide, let eights = [8, 4, 2].first(where: { $0 <= needed && most($0) >= 6 })
    else { return nil }

    let tiles = NF4Tiles(layer, height: layer.activation == nil ? 32 : 16)
    self.tiles = tiles.perBlock(most: most(eights), blocks: device.multiprocessors / splits)
    self.splits = splits
    warps = self.tiles + bringing
    blocks = tiles.blocks(self.tiles)
    firstBlocks = tiles.firstBlocks(self.tiles)
    rows = 8 * eights
    sharedBytes = end(self.tiles, eights)

    let results = min(rows, count) * layer.out.columns
    partialBytes = splits * results * (layer.activation == nil ? 1 : 2) * DType.f32.size
    // Threads of many rows read adapters less often; there must be enough of them.
    finishRows = [8, 4].first { results / $0 >= 512 * device.multiprocessors } ?? 2
    (source, kernel) = (.fewRowsNF4Batch, "few_rows_\(format)_batch_n\(eights)")
  }
}

/// Shared memory around the tables of few_rows_table.cuh: TABLE_PITCH, THREADS and what follows from them.
private struct NF4Memory {
  let isWide: Bool
  /// Bytes below the tables, and the address where they end.
  let beforeTables, tablesEnd: Int

  init(_ layer: FewRows, _ device: CUDADevice) {
    isWide = device.sharedBytes > 132 << 10
    let table = isWide ? 64 << 10 : 32 << 10
    let (reserved, maps) = (1 << 10, 2 << 10)
    beforeTables = table - reserved - maps
    tablesEnd = (layer.activation != nil && !isWide ? 3 : 2) * table
  }
}

/// Tiles of so many rows of each part's weight; with an activation, of the gate's and up's in pairs.
private struct NF4Tiles {
  private let counts: [Int]
  private let isPaired: Bool

  init(_ layer: FewRows, height: Int) {
    counts = layer.layer.parts.map { ($0.weight.rows + height - 1) / height }
    isPaired = layer.activation != nil
  }

  /// Thread blocks for all, each of one part.
  func blocks(_ perBlock: Int) -> Int { blocks(of: isPaired ? counts.prefix(1) : counts[...], perBlock) }
  func firstBlocks(_ perBlock: Int) -> [Int] {
    counts.indices.map { blocks(of: counts.prefix($0), perBlock) }
  }

  private func blocks(of counts: ArraySlice<Int>, _ perBlock: Int) -> Int {
    counts.reduce(0) { $0 + ($1 + perBlock - 1) / perBlock }
  }

  /// The fewest tiles of a thread block that leave so many blocks at most: then each multiprocessor has one. With more, they
  /// follow each other.
  func perBlock(most: Int, blocks: Int) -> Int { (1...most).first { self.blocks($0) <= blocks } ?? most }
}
