/// Keys and values of one layer in pages of some tokens each, so that sequences of any length share one memory (Kwon et
/// al., arXiv:2309.06180, section 4.1).
public struct KeyValuePages: Sendable {
  /// (pages, pageSize * keyValueHeads * headSize) each: rotated keys, and values, token by token. A page's rows may lie
  /// far apart.
  public let k, v: Tensor
  /// Tokens of a page.
  public let pageSize: Int

  public init(k: Tensor, v: Tensor, pageSize: Int) {
    precondition(k.shape == v.shape && k.stride == v.stride && k.dtype == v.dtype)
    precondition(k.columns % pageSize == 0)
    self.k = k
    self.v = v
    self.pageSize = pageSize
  }

  /// keyValueHeads * headSize
  public var width: Int { k.columns / pageSize }
}

/// The sequences of a step, on the device. Written before the step: operations may read it while those before them end.
public struct PagedSequences: Sendable {
  /// (count, 4), i32: first query row, queries, 0, keys. The last query stands at the last key. Those without queries are
  /// empty.
  public let table: Tensor
  /// (count, pages of the longest), i32: where each sequence's keys are, in order. What lies behind its last key is not
  /// read.
  public let pages: Tensor
  /// No sequence has more keys, nor more queries.
  public let longest, queries: Int

  public init(table: Tensor, pages: Tensor, longest: Int, queries: Int) {
    precondition(table.columns == 4 && table.dtype == .i32 && table.isContiguous)
    precondition(pages.rows == table.rows && pages.dtype == .i32 && pages.isContiguous)
    self.table = table
    self.pages = pages
    self.longest = longest
    self.queries = queries
  }
}

/// `Attention`, forward, of queries to keys and values in pages.
public struct PagedAttention {
  public let shape: Attention.Shape
  /// (T, heads * headSize)
  public let q: Tensor
  public let pages: KeyValuePages
  public let sequences: PagedSequences
  /// (T, heads * headSize): rows of no sequence are not written.
  public let out: Tensor
}

/// Takes new rows into pages: q is rotated where it lies; k, rotated, and v go to their slots.
public struct PageWrite {
  /// (T, heads * headSize)
  public let q: Tensor
  /// (T, keyValueHeads * headSize) each; not changed.
  public let k, v: Tensor
  /// (1, T), i32; as `slots` written before the step, as `PagedSequences` is.
  public let positions: Tensor
  public let rotary: RotaryTable
  /// (1, T), i32: page * pageSize + the token's place in it; negative for rows that go nowhere.
  public let slots: Tensor
  public let pages: KeyValuePages
}

extension Step {
  /// The operation of `PageWrite`: see `rotate` for the rotation.
  public func rotateIntoPages(
    q: Tensor, k: Tensor, v: Tensor, positions: Tensor, _ rotary: RotaryTable, slots: Tensor,
    _ pages: KeyValuePages
  ) {
    precondition(q.columns % rotary.headSize == 0 && k.columns == pages.width && v.shape == k.shape)
    precondition(q.rows == k.rows && q.dtype == k.dtype && k.dtype == v.dtype && k.dtype == pages.k.dtype)
    precondition(positions.columns == q.rows && positions.dtype == .i32)
    precondition(slots.columns == q.rows && slots.dtype == .i32)
    let write = PageWrite(
      q: q, k: k, v: v, positions: positions, rotary: rotary, slots: slots, pages: pages)
    perform([q, k, v, positions, slots]) { _ in backend.run(write) }
  }

  /// The operation of `PagedAttention`.
  public func attention(
    _ q: Tensor, _ pages: KeyValuePages, _ shape: Attention.Shape, _ sequences: PagedSequences,
    into out: Tensor
  ) {
    precondition(shape.heads % shape.keyValueHeads == 0 && shape.headSize % 2 == 0)
    precondition(q.columns == shape.heads * shape.headSize && q.dtype == pages.k.dtype)
    precondition(pages.width == shape.keyValueHeads * shape.headSize)
    precondition(out.shape == q.shape && out.dtype == q.dtype)
    precondition(sequences.longest <= sequences.pages.columns * pages.pageSize)
    let operation = PagedAttention(shape: shape, q: q, pages: pages, sequences: sequences, out: out)
    perform([q, out], workspace: backend.workspaceBytes(operation)) { backend.run(operation, workspace: $0) }
  }
}
