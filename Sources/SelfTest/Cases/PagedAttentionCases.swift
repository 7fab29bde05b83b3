import Compute
import Foundation

extension OpCase {
  /// Keys and values in pages: writing them and attending to them.
  static var pagedAttentionCases: [OpCase] {
    [
      rotateIntoPages(rows: 1, heads: 1, keyValueHeads: 1, headSize: 2, rotary: 2, pageSize: 1),
      rotateIntoPages(rows: 9, heads: 6, keyValueHeads: 2, headSize: 20, rotary: 20, pageSize: 4),
      rotateIntoPages(rows: 150, heads: 3, keyValueHeads: 1, headSize: 64, rotary: 16, pageSize: 16),
      rotateIntoPages(rows: 5, heads: 4, keyValueHeads: 2, headSize: 128, rotary: 128, pageSize: 32),
      // Decoding.
      pagedAttention([(1, 1)], heads: 1, keyValueHeads: 1, headSize: 16, pageSize: 16),
      pagedAttention([(1, 37)], heads: 6, keyValueHeads: 2, headSize: 64, pageSize: 16),
      pagedAttention([(1, 131), (1, 64), (0, 0), (1, 1), (1, 17)], heads: 9, keyValueHeads: 3, headSize: 64),
      pagedAttention([(1, 100), (0, 0), (1, 33)], heads: 8, keyValueHeads: 8, headSize: 128, pageSize: 32),
      pagedAttention([(1, 90), (1, 20)], heads: 3, keyValueHeads: 1, headSize: 20, pageSize: 8, window: 37),
      pagedAttention([(1, 1100), (1, 513)], heads: 4, keyValueHeads: 2, headSize: 16, pageSize: 16),
      pagedAttention([(1, 1500)], heads: 4, keyValueHeads: 1, headSize: 64, pageSize: 16, window: 1030),
      // Query heads to a key head: as many as a product has columns, fewer, and more.
      pagedAttention([(1, 70)], heads: 20, keyValueHeads: 1, headSize: 64, pageSize: 16),
      pagedAttention(
        [(1, 1), (1, 15), (1, 16), (1, 17), (1, 64), (1, 65)], heads: 7, keyValueHeads: 1, headSize: 80),
      pagedAttention([(1, 100), (1, 540)], heads: 12, keyValueHeads: 1, headSize: 64),
      pagedAttention([(1, 540), (1, 33)], heads: 2, keyValueHeads: 2, headSize: 256),
      pagedAttention([(1, 540)], heads: 8, keyValueHeads: 1, headSize: 256),
      pagedAttention([(1, 540)], heads: 28, keyValueHeads: 4, headSize: 128),
      // Ranges of more keys than a block takes at a time.
      pagedAttention(
        [(1, 2500), (1, 17), (1, 4200)], heads: 4, keyValueHeads: 2, headSize: 24, pageSize: 32),
      pagedAttention([(1, 2500)], heads: 7, keyValueHeads: 1, headSize: 128),
      pagedAttention([(1, 4200)], heads: 1, keyValueHeads: 1, headSize: 256, window: 4100),
      // Windows that begin within a page; pages that are no power of two.
      pagedAttention([(1, 90), (1, 20)], heads: 3, keyValueHeads: 1, headSize: 64, pageSize: 8, window: 37),
      pagedAttention([(1, 90), (1, 20)], heads: 3, keyValueHeads: 1, headSize: 64, pageSize: 12),
      // Scores far apart: probabilities of 0 and 1.
      pagedAttention([(1, 70), (1, 130)], heads: 2, keyValueHeads: 1, headSize: 64, scale: 4),
      // A few queries each, whole prompts, and chunks of prompts beside decoding.
      pagedAttention([(2, 64), (3, 3), (5, 70)], heads: 6, keyValueHeads: 2, headSize: 64),
      pagedAttention([(65, 65)], heads: 2, keyValueHeads: 1, headSize: 64),
      pagedAttention([(130, 130), (1, 40)], heads: 3, keyValueHeads: 3, headSize: 20, pageSize: 8),
      pagedAttention([(66, 150), (1, 99), (0, 0), (40, 40)], heads: 6, keyValueHeads: 2, headSize: 64),
      pagedAttention([(66, 150)], heads: 3, keyValueHeads: 1, headSize: 20, pageSize: 16, window: 70),
      pagedAttention([(70, 200)], heads: 4, keyValueHeads: 2, headSize: 128, pageSize: 128, window: 1),
    ]
  }

  /// k and v are not changed, rows of negative slots go nowhere, pages keep what is not written.
  static func rotateIntoPages(
    rows: Int, heads: Int, keyValueHeads: Int, headSize: Int, rotary: Int, pageSize: Int
  ) -> OpCase {
    let (half, positions, pages) = (rotary / 2, 3 * rows, rows / pageSize + 3)
    let (width, keyWidth) = (heads * headSize, keyValueHeads * headSize)
    // Any that do not meet: 7 is prime to the number of slots, or else their order is reversed.
    let count = pages * pageSize
    let slots = (0..<rows).map { $0 % 5 == 3 ? -1 : count % 7 == 0 ? count - 1 - $0 : $0 * 7 % count }
    @Sendable func angle(_ position: Int, _ i: Int) -> Double {
      Double(position) * pow(100, -Double(i) / Double(half))
    }
    return OpCase(
      name:
        "rotateIntoPages (\(rows), (\(heads) + 2 * \(keyValueHeads)) * \(headSize)), the first \(rotary) of "
        + "a head, pages of \(pageSize)",
      operands: [
        .updated("q", rows, width), .input("k", rows, keyWidth), .input("v", rows, keyWidth),
        .updated("kPages", pages, pageSize * keyWidth), .updated("vPages", pages, pageSize * keyWidth),
        .values("positions", 1, rows, .i32) { Double(Int.random(in: 0..<positions, using: &$2)) },
        .values("slots", 1, rows, .i32) { _, row, _ in Double(slots[row]) },
        .values("cosine", positions, half, .f32) { position, i, _ in cos(angle(position, i)) },
        .values("sine", positions, half, .f32) { position, i, _ in sin(angle(position, i)) },
      ],
      run: { s, t in
        let table = RotaryTable(
          cosine: t.cosine, sine: t.sine, headSize: headSize, owner: t.buffer("cosine"))
        s.rotateIntoPages(
          q: t.q, k: t.k, v: t.v, positions: t.positions, table, slots: t.slots,
          KeyValuePages(k: t.kPages, v: t.vPages, pageSize: pageSize))
        return [:]
      },
      reference: { v in
        func rotated(_ x: Matrix<Uncertain>) -> Matrix<Uncertain> {
          Matrix(x.rows, x.columns) { row, column in
            let i = column % headSize
            guard i < rotary else { return x[row, column] }
            let position = v.positions[0, row].integer
            let (cosine, sine) = (v.cosine[position, i % half], v.sine[position, i % half])
            return i < half
              ? (x[row, column] * cosine - x[row, column + half] * sine).stored
              : (x[row, column] * cosine + x[row, column - half] * sine).stored
          }
        }
        func written(_ x: Matrix<Uncertain>, to pages: Matrix<Uncertain>) -> Matrix<Uncertain> {
          var pages = pages
          for row in 0..<rows where slots[row] >= 0 {
            let (page, place) = slots[row].quotientAndRemainder(dividingBy: pageSize)
            for c in 0..<keyWidth { pages[page, place * keyWidth + c] = x[row, c] }
          }
          return pages
        }
        return [
          "q": rotated(v.q), "kPages": written(rotated(v.k), to: v.kPages),
          "vPages": written(v.v, to: v.vPages),
        ]
      })
  }

  /// Sequences of (queries, keys) whose pages lie in disorder. Rows between theirs keep what they held; what lies in
  /// pages behind the last key is NaN, and pages behind the last do not exist. "apart", where several sequences have a
  /// query each, is what each alone has other than all together: nothing, to the bit.
  static func pagedAttention(
    _ lengths: [(queries: Int, keys: Int)], heads: Int, keyValueHeads: Int, headSize: Int, pageSize: Int = 16,
    window: Int? = nil, scale: Float? = nil
  ) -> OpCase {
    let shape = Attention.Shape(
      heads: heads, keyValueHeads: keyValueHeads, headSize: headSize,
      scale: scale ?? Float(1 / Double(headSize).squareRoot()), window: window)
    let layout = PageLayout(lengths, pageSize: pageSize)
    let (width, keyWidth) = (heads * headSize, keyValueHeads * headSize)
    let sizes = lengths.map { "\($0.queries) of \($0.keys)" }.joined(separator: ", ")
    let suffix = (window.map { ", window \($0)" } ?? "") + (scale.map { ", scale \($0)" } ?? "")
    let isDecoding = lengths.count > 1 && lengths.allSatisfy { $0.queries <= 1 }
    func pages(_ name: String) -> Operand {
      Operand(
        name: name, rows: layout.pageCount, columns: pageSize * keyWidth, element: .activation,
        content: .computed { page, column, random in
          let value = random.uniform()
          return layout.holdsKey(page: page, place: column / keyWidth) ? value : .nan
        }, isStrided: true)
    }
    return OpCase(
      name:
        "pagedAttention [\(sizes)], \(heads) / \(keyValueHeads) heads of \(headSize), pages of \(pageSize)"
        + suffix,
      operands: [
        .input("q", layout.rows, width), pages("k"), pages("v"), .updated("y", layout.rows, width),
        .values("table", lengths.count, 4, .i32) { row, column, _ in Double(layout.table[row][column]) },
        .values("pages", lengths.count, layout.pagesEach, .i32) { sequence, index, _ in
          Double(layout.pages[sequence].indices.contains(index) ? layout.pages[sequence][index] : -1)
        },
        .values("one", width, isDecoding ? width : 1, .f32) { row, column, _ in row == column ? 1 : 0 },
      ],
      run: { s, t in
        let pages = KeyValuePages(k: t.k, v: t.v, pageSize: pageSize)
        func attend(_ range: Range<Int>, into y: Tensor) {
          let sequences = PagedSequences(
            table: t.table.rows(range), pages: t.pages.rows(range),
            longest: lengths[range].map(\.keys).max() ?? 0,
            queries: lengths[range].map(\.queries).max() ?? 0)
          s.attention(t.q, pages, shape, sequences, into: y)
        }
        attend(0..<lengths.count, into: t.y)
        guard isDecoding else { return [:] }
        let apart = s.make(layout.rows, width, t.y.dtype)
        s.zero(apart)
        for index in lengths.indices where lengths[index].queries > 0 {
          attend(index..<index + 1, into: apart)
        }
        // Exact: each element has one product that is not zero.
        return ["apart": s.linear(Factor(apart, t.parameters("one"), scale: -1), adding: t.y)]
      },
      reference: { v in
        var y = v.y
        for (sequence, length) in lengths.enumerated() {
          for query in 0..<length.queries {
            let row = layout.table[sequence][0] + query
            let last = length.keys - length.queries + query
            let first = max(0, window.map { last - $0 + 1 } ?? 0)
            let keys = (first...last).map { layout.place(sequence, $0) }
            for head in 0..<heads { attend(row, head, keys, shape, v, &y) }
          }
        }
        guard isDecoding else { return ["y": y] }
        var apart = v.y
        for (sequence, length) in lengths.enumerated() where length.queries > 0 {
          for c in 0..<width { apart[layout.table[sequence][0], c] = Uncertain(0) }
        }
        return ["y": y, "apart": apart]
      },
      flops: 2 * Double(width) * lengths.reduce(0) { $0 + Double($1.queries) * Double($1.keys) })
  }

  /// y = softmax(scale q kᵀ) v for one query and head, over keys at (page, place).
  private static func attend(
    _ row: Int, _ head: Int, _ keys: [(page: Int, place: Int)], _ shape: Attention.Shape, _ v: Values,
    _ y: inout Matrix<Uncertain>
  ) {
    let size = shape.headSize
    let (q, k, values) = (v.q, v.k, v.v) as (Matrix<Uncertain>, Matrix<Uncertain>, Matrix<Uncertain>)
    let keyWidth = shape.keyValueHeads * size
    let columns = keys.map { $0.place * keyWidth + head / (shape.heads / shape.keyValueHeads) * size }
    let scores = keys.indices.map { index in
      Double(shape.scale)
        * .sum(size) { q[row, head * size + $0] * k[keys[index].page, columns[index] + $0] }
    }
    let top = scores.reduce(scores[0], SelfTest.max)
    let exponentials = scores.map { ($0 - top).exponential }
    let total = Uncertain.sum(exponentials.count) { exponentials[$0] }
    // Kernels round probabilities to the activations' dtype before they multiply.
    let p = exponentials.map { ($0 / total).stored }
    for c in 0..<size {
      y[row, head * size + c] =
        Uncertain.sum(keys.count) { p[$0] * values[keys[$0].page, columns[$0] + c] }.stored
    }
  }
}

/// Where sequences' queries and keys lie.
private struct PageLayout: Sendable {
  /// As `PagedSequences.table`; a row that belongs to nobody stands before every second sequence.
  let table: [[Int]]
  /// Of q.
  let rows: Int
  /// Of each sequence, in order.
  let pages: [[Int]]
  let pageCount: Int
  /// Of the longest sequence, and one more.
  let pagesEach: Int
  private let pageSize: Int
  private let owners: [Int: (sequence: Int, index: Int)]
  private let keys: [Int]

  init(_ lengths: [(queries: Int, keys: Int)], pageSize: Int) {
    self.pageSize = pageSize
    keys = lengths.map(\.keys)
    var row = 0
    table = lengths.enumerated().map { index, length in
      row += index % 2
      defer { row += length.queries }
      return [row, length.queries, 0, length.keys]
    }
    rows = row + 1
    let counts = lengths.map { ($0.keys + pageSize - 1) / pageSize }
    let used = counts.reduce(0, +)
    pageCount = used + 2
    pagesEach = (counts.max() ?? 0) + 1
    // Falling numbers, from sequence to sequence in turn: none's pages follow one another.
    var free = Array((1...used))
    var pages = counts.map { _ in [Int]() }
    while !free.isEmpty {
      for sequence in counts.indices where pages[sequence].count < counts[sequence] {
        pages[sequence].append(free.removeLast())
      }
    }
    self.pages = pages
    owners = pages.enumerated().reduce(into: [:]) { owners, entry in
      for (index, page) in entry.element.enumerated() { owners[page] = (entry.offset, index) }
    }
  }

  func place(_ sequence: Int, _ key: Int) -> (page: Int, place: Int) {
    (pages[sequence][key / pageSize], key % pageSize)
  }

  func holdsKey(page: Int, place: Int) -> Bool {
    guard let (sequence, index) = owners[page] else { return false }
    return index * pageSize + place < keys[sequence]
  }
}
