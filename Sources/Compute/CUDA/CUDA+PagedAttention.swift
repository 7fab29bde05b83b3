import CKernels

extension CUDA {
  public func run(_ write: PageWrite) {
    let (head, half) = (write.rotary.headSize, write.rotary.cosine.columns)
    let wide = 16 / write.q.dtype.size
    let isAligned =
      Tensor.areAligned([
        write.q, write.k, write.v, write.pages.k, write.pages.v, write.rotary.cosine, write.rotary.sine,
      ]) && half % wide == 0 && (head - 2 * half) % wide == 0
    let vector = isAligned ? wide : 1
    let rotated = (write.q.columns + write.k.columns) / head * (head - half)
    let items = (rotated + write.v.columns) / vector
    launch(
      .pageWrite, "page_write_\(write.q.dtype)_x\(vector)",
      grid: Grid(x: (items + 127) / 128, y: min(write.q.rows, 65_535)), threads: 128,
      overlapping: true, PageWriteOperands(write)
    )
  }

  public func workspaceBytes(_ attention: PagedAttention) -> Int {
    guard attention.servesSingleQueries else { return 0 }
    let partials = attention.sequences.table.rows * attention.shape.heads * attention.splits
    return partials * (attention.shape.headSize + 4) * DType.f32.size
  }

  public func run(_ attention: PagedAttention, workspace: Tensor?) {
    let operands = PagedAttentionOperands(
      attention, partials: workspace?.address ?? 0, arrivals: UInt(arrivals))
    let (shape, sequences, dtype) = (attention.shape, attention.sequences, attention.q.dtype)
    precondition(shape.headSize <= 256, "attention heads of \(shape.headSize)")
    let size = shape.headSize <= 64 ? 64 : shape.headSize <= 128 ? 128 : 256
    if attention.servesSingleQueries {
      let grid = Grid(
        x: attention.splits, y: shape.keyValueHeads * attention.headGroups, z: sequences.table.rows)
      if device.computeCapability.major >= 8, attention.suitsTensorCores {
        // 64 keys and values, 8 queries.
        launch(
          .pagedAttentionMMA, "paged_attention_mma_\(size)", grid: grid, threads: 128,
          shared: (64 + 64 + 8) * size * dtype.size, overlapping: true, operands)
      } else {
        launch(
          .pagedAttention, "paged_attention_single_\(dtype)", grid: grid, threads: 256, overlapping: true,
          operands)
      }
      if sequences.queries == 1 { return }
    }
    launch(
      .pagedAttention, "paged_attention_\(dtype)_\(size)",
      grid: Grid(x: attention.q.rows / 64 + sequences.table.rows, y: shape.heads), threads: 256, operands,
      Int32(attention.servesSingleQueries ? 2 : 1))
  }
}

extension PagedAttention {
  /// Whether the kernel for sequences of one query takes them; it reads 16 bytes at a time.
  fileprivate var servesSingleQueries: Bool {
    shape.headSize % 8 == 0 && shape.headSize <= 256 && Tensor.areAligned([pages.k, pages.v])
  }

  /// Whether that kernel may be the one for tensor cores.
  fileprivate var suitsTensorCores: Bool {
    q.dtype == .bf16 && Tensor.areAligned([q]) && pages.pageSize.nonzeroBitCount == 1
  }

  /// Ranges that a sequence's keys are at most cut into (MOST_SPLITS, of at least KEYS keys).
  fileprivate var splits: Int { min(32, (sequences.longest + 63) / 64) }

  /// Groups of at most HEADS query heads that share a key-value head.
  fileprivate var headGroups: Int { (shape.heads / shape.keyValueHeads + 7) / 8 }
}

/// The struct page_write of page_write.cu.
private struct PageWriteOperands: BitwiseCopyable {
  var q, k, v: sw_matrix
  var positions, slots, cosine, sine, kPages, vPages: UInt
  var pageStride: Int64
  var pageSize, headSize, rotary: Int32

  init(_ write: PageWrite) {
    (q, k, v) = (write.q.matrix, write.k.matrix, write.v.matrix)
    (positions, slots) = (write.positions.address, write.slots.address)
    (cosine, sine) = (write.rotary.cosine.address, write.rotary.sine.address)
    (kPages, vPages) = (write.pages.k.address, write.pages.v.address)
    pageStride = Int64(write.pages.k.stride)
    pageSize = Int32(write.pages.pageSize)
    headSize = Int32(write.rotary.headSize)
    rotary = Int32(2 * write.rotary.cosine.columns)
  }
}

/// The struct paged_attention of paged_query.cuh.
private struct PagedAttentionOperands: BitwiseCopyable {
  var tiles = sw_attention()
  var k, v: UInt
  var pageStride: Int64
  var pages: UInt
  var longestPages, pageSize, splits: Int32
  var partials, arrivals: UInt

  init(_ attention: PagedAttention, partials: UInt, arrivals: UInt) {
    let (shape, sequences) = (attention.shape, attention.sequences)
    tiles.q = attention.q.matrix
    tiles.o = attention.out.matrix
    tiles.segments = UnsafePointer(bitPattern: sequences.table.address)
    tiles.segment_count = Int64(sequences.table.rows)
    tiles.head_size = Int64(shape.headSize)
    tiles.heads = Int32(shape.heads)
    tiles.kv_heads = Int32(shape.keyValueHeads)
    tiles.scale = Double(shape.scale)
    tiles.window = Int64(shape.window ?? 0)
    (k, v) = (attention.pages.k.address, attention.pages.v.address)
    pageStride = Int64(attention.pages.k.stride)
    pages = sequences.pages.address
    longestPages = Int32(sequences.pages.columns)
    pageSize = Int32(attention.pages.pageSize)
    splits = Int32(attention.splits)
    self.partials = partials
    self.arrivals = arrivals
  }
}
