import Basics
import CKernels

#if canImport(Glibc)
  import Glibc
#else
  import Darwin
#endif

extension CPU {
  public func allocateGrowing(most: Int) throws(SwiftletError) -> any GrowingMemory { try LazyMemory(most) }

  public func selectAdapters(_ h: Tensor, owners: Tensor, adapters: Tensor) {
    guard let owners: UnsafeMutablePointer<Int32> = owners.pointer(),
      let adapters: UnsafeMutablePointer<Int32> = adapters.pointer()
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
    rotary(write.q, positions: write.positions, table: write.rotary, direction: .forward, y: write.q)
    rows(of: write.k) { begin, end in
      for row in Int(begin)..<Int(end) { write.store(row) }
    }
  }

  public func workspaceBytes(_ attention: PagedAttention) -> Int {
    let gathered = GatheredAttention(attention, workspace: 0)
    return gathered.bytes + workspaceBytes(gathered.attention)
  }

  public func run(_ attention: PagedAttention, workspace: Tensor?) {
    guard let workspace else { return }
    let gathered = GatheredAttention(attention, workspace: workspace.address)
    tasks(attention.sequences.table.rows) { sequence, _ in gathered.gather(sequence) }
    run(gathered.attention, workspace: workspace.columns(gathered.bytes..<workspace.columns))
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

extension PageWrite {
  /// Puts row `row` of k and v into its page.
  fileprivate func store(_ row: Int) {
    guard let slot = slots.pointer(Int32.self)?[row], slot >= 0 else { return }
    let (page, place) = (Int(slot) / pages.pageSize, Int(slot) % pages.pageSize)
    func target(_ tensor: Tensor) -> Tensor {
      tensor.rows(page..<page + 1).columns(place * pages.width..<(place + 1) * pages.width)
    }
    sw_rotary(
      k.rows(row..<row + 1).matrix, positions.pointer(Int32.self)! + row, rotary.cosine.pointer(),
      rotary.sine.pointer(), Int64(rotary.headSize), Int64(rotary.cosine.columns * 2), SW_ROTATE_FORWARD,
      target(pages.k).matrix, 0, 1)
    sw_copy(v.rows(row..<row + 1).matrix, target(pages.v).matrix, 0, 1)
  }
}

/// Attention over copies of the pages, one sequence behind the other.
private struct GatheredAttention {
  let attention: Attention
  let bytes: Int
  private let source: PagedAttention
  private let table: Tensor

  init(_ source: PagedAttention, workspace: UInt) {
    self.source = source
    let (sequences, pages) = (source.sequences, source.pages)
    let rows = sequences.table.rows * sequences.longest
    var offset = 0
    func room(_ rows: Int, _ columns: Int, _ dtype: DType) -> Tensor {
      defer { offset += (rows * columns * dtype.size + 63) / 64 * 64 }
      return Tensor(
        address: workspace + UInt(offset), rows: rows, columns: columns, stride: columns, dtype: dtype,
        slot: nil)
    }
    let (k, v) = (room(rows, pages.width, pages.k.dtype), room(rows, pages.width, pages.v.dtype))
    table = room(sequences.table.rows, 4, .i32)
    attention = Attention(
      shape: source.shape, q: source.q, k: k, v: v,
      segments: Segments(table: table, longest: sequences.longest),
      out: source.out, logsumexp: room(source.q.rows, source.shape.heads, source.q.dtype.arithmetic))
    bytes = offset
  }

  func gather(_ index: Int) {
    let (sequences, pages) = (source.sequences, source.pages)
    guard let entry = sequences.table.pointer(Int32.self).map({ $0 + 4 * index }),
      let numbers = sequences.pages.pointer(Int32.self).map({ $0 + sequences.pages.columns * index }),
      let row = table.pointer(Int32.self).map({ $0 + 4 * index })
    else { return }
    let (queries, keys, first) = (entry[1], Int(entry[3]), index * sequences.longest)
    (row[0], row[1], row[2], row[3]) = (entry[0], queries, Int32(first), queries > 0 ? entry[3] : 0)
    guard queries > 0 else { return }
    let size = pages.width * pages.k.dtype.size
    for key in stride(from: 0, to: keys, by: pages.pageSize) {
      let page = Int(numbers[key / pages.pageSize])
      let count = min(pages.pageSize, keys - key) * size
      for (from, to) in [(pages.k, attention.k), (pages.v, attention.v)] {
        memcpy(to.rows(first + key..<first + key + 1).raw!, from.rows(page..<page + 1).raw!, count)
      }
    }
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
