import Basics
import CKernels

#if canImport(Glibc)
  import Glibc
#else
  import Darwin
#endif

extension CPU {
  public func allocateGrowing(most: Int) throws(SwiftletError) -> any GrowingMemory { try LazyMemory(most) }

  public func selectAdapters(_ h: Tensor, _ selection: AdapterSelection) {
    guard let owners: UnsafeMutablePointer<Int32> = selection.owners.pointer(),
      let adapters: UnsafeMutablePointer<Int32> = selection.adapters.pointer()
    else { return }
    rows(of: h) { begin, end in
      for row in Int(begin)..<Int(end) {
        for column in 0..<h.columns where owners[column] != adapters[row] {
          let size = h.dtype.size
          memset(h.raw! + (row * h.stride + column) * size, 0, size)
        }
      }
    }
  }

  // MARK: Pages

  public func run(_ write: PageWrite) {
    let kernel = sw_page_write(
      q: write.q.matrix, k: write.k.matrix, v: write.v.matrix, k_pages: write.pages.k.matrix,
      v_pages: write.pages.v.matrix, positions: write.positions.pointer(), slots: write.slots.pointer(),
      cosine: write.rotary.cosine.pointer(), sine: write.rotary.sine.pointer(),
      head_size: Int64(write.rotary.headSize), rotary: Int64(write.rotary.cosine.columns * 2),
      page_size: Int64(write.pages.pageSize))
    withUnsafePointer(to: kernel) { kernel in
      ranges(write.q.rows, elementsEach: write.q.columns + 2 * write.k.columns) {
        sw_write_pages(kernel, $0, $1)
      }
    }
  }

  public func workspaceBytes(_ attention: PagedAttention) -> Int {
    let memory = PagedMemory(attention)
    return memory.parts + memory.scratchEach * threads
  }

  public func run(_ attention: PagedAttention, workspace: Tensor?) {
    let memory = PagedMemory(attention)
    let start = workspace?.address ?? 0
    let parts = UnsafeMutableRawPointer(bitPattern: start)
    let (longest, queries) = (Int64(attention.sequences.longest), Int64(attention.sequences.queries))
    withUnsafePointer(to: attention.kernel) { kernel in
      tasks(Int(sw_paged_attention_tasks(kernel))) { task, thread in
        let scratch = UnsafeMutableRawPointer(
          bitPattern: start + UInt(memory.parts + thread * memory.scratchEach))
        sw_paged_attention_task(kernel, longest, queries, Int64(task), parts, scratch)
      }
      guard memory.parts > 0 else { return }
      tasks(attention.sequences.table.rows) { segment, _ in
        sw_paged_attention_join(kernel, longest, queries, Int64(segment), parts)
      }
    }
  }

  // MARK: Sampling

  public func editLogits(_ logits: Tensor, _ edits: Tensor) {
    guard let edit: UnsafeMutablePointer<Int32> = edits.pointer() else { return }
    let width = LogitEditColumn.count
    for index in 0..<edits.rows {
      func value(_ column: LogitEditColumn) -> Int32 { edit[index * width + column.rawValue] }
      func number(_ column: LogitEditColumn) -> Float { Float(bitPattern: UInt32(bitPattern: value(column))) }
      guard value(.row) >= 0 else { continue }
      let row: UnsafeMutablePointer<Float> = logits.rows(Int(value(.row))..<Int(value(.row)) + 1).pointer()!
      let logit = row[Int(value(.token))]
      row[Int(value(.token))] =
        (logit < 0 ? logit * number(.penalty) : logit / number(.penalty)) + number(.bias)
    }
  }

  public func maskLogits(_ logits: Tensor, _ masks: Tensor) {
    guard let words: UnsafeMutablePointer<UInt32> = masks.pointer() else { return }
    rows(of: logits) { begin, end in
      for index in Int(begin)..<Int(end) {
        let row: UnsafeMutablePointer<Float> = logits.rows(index..<index + 1).pointer()!
        let mask = words + index * masks.columns
        for token in 0..<logits.columns where mask[token / 32] >> (token % 32) & 1 == 0 {
          row[token] = -.infinity
        }
      }
    }
  }

  public func workspaceBytes(_ sampling: Sampling) -> Int {
    sampling.logits.rows * sampling.logits.columns * DType.f32.size
  }

  public func run(_ sampling: Sampling, workspace: Tensor?) {
    guard let workspace else { return }
    let columns = sampling.logits.columns
    tasks(sampling.logits.rows) { row, _ in
      let room = UnsafeMutablePointer<Float>(bitPattern: workspace.address)! + row * columns
      sampling.sample(row: row, probabilities: UnsafeMutableBufferPointer(start: room, count: columns))
    }
  }
}

extension PagedAttention {
  /// The operation as kernels take it.
  fileprivate var kernel: sw_attention {
    var a = sw_attention()
    a.q = q.matrix
    a.k = pages.k.matrix
    a.v = pages.v.matrix
    a.o = out.matrix
    a.segments = UnsafePointer(bitPattern: sequences.table.address)
    a.segment_count = Int64(sequences.table.rows)
    a.head_size = Int64(shape.headSize)
    a.heads = Int32(shape.heads)
    a.kv_heads = Int32(shape.keyValueHeads)
    a.scale = Double(shape.scale)
    a.window = Int64(shape.window ?? 0)
    a.pages = UnsafePointer(sequences.pages.pointer(Int32.self))
    a.pages_each = Int64(sequences.pages.columns)
    a.page_size = Int64(pages.pageSize)
    return a
  }
}

/// Bytes of an attention's workspace: the parts of its ranges of keys, then each thread's scratch.
private struct PagedMemory {
  let parts, scratchEach: Int

  init(_ attention: PagedAttention) {
    func padded(_ bytes: Int64) -> Int { (Int(bytes) + 63) / 64 * 64 }
    let sequences = attention.sequences
    var kernel = attention.kernel
    parts = padded(
      sw_paged_attention_parts_bytes(&kernel, Int64(sequences.longest), Int64(sequences.queries)))
    scratchEach = padded(sw_attention_scratch_bytes(&kernel))
  }
}

/// Memory that the system makes real when it is first touched.
private final class LazyMemory: GrowingMemory {
  let buffer: Buffer
  private(set) var count = 0

  init(_ most: Int) throws(SwiftletError) {
    let start = mmap(
      nil, max(most, 1), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    guard let start, start != MAP_FAILED else {
      throw SwiftletError(.outOfMemory, "the system has no \(most >> 20) MB of addresses left")
    }
    buffer = Buffer(base: start, count: most) { munmap($0, max(most, 1)) }
  }

  func grow(to count: Int) throws(SwiftletError) {
    precondition(count <= buffer.count)
    self.count = max(self.count, count)
  }
}
