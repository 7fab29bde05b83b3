import Compute
import Foundation

extension OpCase {
  static var attentionCases: [OpCase] {
    [
      attention([(1, 1)], heads: 1, keyValueHeads: 1, headSize: 16),
      attention([(63, 63)], heads: 2, keyValueHeads: 2, headSize: 20),
      attention([(64, 64)], heads: 3, keyValueHeads: 1, headSize: 16),
      attention([(65, 65)], heads: 2, keyValueHeads: 1, headSize: 64),
      attention([(200, 200)], heads: 2, keyValueHeads: 2, headSize: 16),
      attention([(5, 5), (1, 1), (70, 70), (3, 3)], heads: 6, keyValueHeads: 2, headSize: 20),
      attention([(140, 140), (20, 20)], heads: 1, keyValueHeads: 1, headSize: 20, window: 37),
      attention([(66, 66)], heads: 3, keyValueHeads: 1, headSize: 20, window: 1),
      attention([(70, 70)], heads: 1, keyValueHeads: 1, headSize: 80),
      attention([(40, 40)], heads: 3, keyValueHeads: 3, headSize: 128),
      // Decoding and chunked prefill: earlier keys come from a cache.
      attention([(1, 131), (2, 64), (1, 1)], heads: 6, keyValueHeads: 2, headSize: 64),
      attention([(66, 150)], heads: 3, keyValueHeads: 1, headSize: 20, window: 70),
      // Scores far apart: probabilities of 0 and 1.
      attention([(70, 70)], heads: 2, keyValueHeads: 1, headSize: 64, scale: 4),
      // What a GPU's fused kernels serve: packed with an empty sequence, with a window, and of one length.
      attention([(100, 100), (1, 1), (130, 130), (0, 0)], heads: 4, keyValueHeads: 2, headSize: 64),
      attention([(100, 100), (130, 130)], heads: 2, keyValueHeads: 2, headSize: 64, window: 37),
      attention([(128, 128), (128, 128)], heads: 4, keyValueHeads: 2, headSize: 64, isUniform: true),
      // Several tiles of keys for each query, whose parts of dQ are added up; room for many more sequences.
      attention([(384, 384)], heads: 2, keyValueHeads: 1, headSize: 64, isUniform: true),
      attention([(300, 300), (70, 70)], heads: 2, keyValueHeads: 1, headSize: 64),
      attention(
        [(150, 150), (64, 64), (90, 90), (5, 5), (11, 11)] + Array(repeating: (0, 0), count: 315), heads: 4,
        keyValueHeads: 2, headSize: 16),
      attention([(160, 160), (150, 150), (10, 10)], heads: 2, keyValueHeads: 1, headSize: 64),
      attention(
        [(160, 160), (150, 150), (10, 10)], heads: 2, keyValueHeads: 1, headSize: 64, isMerged: true),
      attention([(100, 100), (80, 80)], heads: 2, keyValueHeads: 2, headSize: 64, isMerged: true),
      attention(
        [(256, 256), (256, 256)], heads: 2, keyValueHeads: 1, headSize: 64, isUniform: true, isMerged: true),
      attention(behind: 27, 101, heads: 4, keyValueHeads: 2, headSize: 64),
      attention(behind: 56, 200, heads: 7, keyValueHeads: 1, headSize: 128),
    ]
  }

  /// Forward alone, of one sequence of so many rows behind rows of none: a prompt's rows are filled up so.
  static func attention(
    behind fillers: Int, _ length: Int, heads: Int, keyValueHeads: Int, headSize: Int
  ) -> OpCase {
    let shape = Attention.Shape(
      heads: heads, keyValueHeads: keyValueHeads, headSize: headSize,
      scale: Float(1 / Double(headSize).squareRoot()))
    let segment = Segment(firstQuery: fillers, queries: length, firstKey: fillers, keys: length)
    let (rows, width, keyWidth) = (fillers + length, heads * headSize, keyValueHeads * headSize)
    return OpCase(
      name: "attention \(length) behind \(fillers) rows, \(heads) / \(keyValueHeads) heads of \(headSize)",
      operands: [
        .input("q", rows, width), .input("k", rows, keyWidth), .input("v", rows, keyWidth),
        .input("dy", rows, width),
        .values("segments", 1, 4, .i32) { _, column, _ in Double(segment.table[column]) },
      ],
      run: { s, t in
        let (out, _) = s.attention(t.q, t.k, t.v, shape, Segments(table: t.segments, longest: rows))
        return ["y": out.rows(fillers..<rows)]
      },
      reference: { v in
        let y = AttentionReference(shape, [segment], v).results["y"]!
        return ["y": Matrix(length, width) { y[fillers + $0, $1] }]
      })
  }

  /// Attention over packed sequences of (queries, keys), and its gradient.
  static func attention(
    _ lengths: [(queries: Int, keys: Int)], heads: Int, keyValueHeads: Int, headSize: Int, window: Int? = nil,
    scale: Float? = nil, isUniform: Bool = false, isMerged: Bool = false
  ) -> OpCase {
    let shape = Attention.Shape(
      heads: heads, keyValueHeads: keyValueHeads, headSize: headSize,
      scale: scale ?? Float(1 / Double(headSize).squareRoot()), window: window)
    let segments = Segment.packed(lengths)
    let (rows, keys) = (lengths.reduce(0) { $0 + $1.queries }, lengths.reduce(0) { $0 + $1.keys })
    let (width, keyWidth) = (heads * headSize, keyValueHeads * headSize)
    let filled = lengths.reversed().drop { $0.keys == 0 }.count + (lengths.last?.keys == 0 ? 1 : 0)
    let sizes = lengths.prefix(filled).map {
      $0.queries == $0.keys ? "\($0.keys)" : "\($0.queries) of \($0.keys)"
    }
    let suffix =
      (window.map { ", window \($0)" } ?? "") + (scale.map { ", scale \($0)" } ?? "")
      + (isUniform ? ", uniform" : "") + (isMerged ? ", side by side" : "")
    return OpCase(
      name: "attention [\(sizes.joined(separator: ", "))], "
        + "\(heads) / \(keyValueHeads) heads of \(headSize)\(suffix)",
      operands: [
        .input("q", rows, width), .input("k", keys, keyWidth), .input("v", keys, keyWidth),
        .input("dy", rows, width), .output("dq", rows, width), .output("dk", keys, keyWidth),
        .output("dv", keys, keyWidth),
        .values("segments", segments.count, 4, .i32) { row, column, _ in Double(segments[row].table[column])
        },
      ],
      run: { s, t in
        let segments = Segments(
          table: t.segments, longest: lengths.map(\.keys).max() ?? 0, isUniform: isUniform)
        if isMerged {
          // q, k and v as columns of one matrix, and their gradients of a wider one, as merged projections have them.
          let qkv = s.make(rows, width + 2 * keyWidth, t.dtype)
          let dQKV = s.make(rows, width + 2 * keyWidth + 24, t.dtype)
          let columns = [0..<width, width..<width + keyWidth, width + keyWidth..<width + 2 * keyWidth]
          for (range, part) in zip(columns, [t.q, t.k, t.v] as [Tensor]) {
            s.copy(part, into: qkv.columns(range))
          }
          let (q, k, v) = (qkv.columns(columns[0]), qkv.columns(columns[1]), qkv.columns(columns[2]))
          let (out, logsumexp) = s.attention(q, k, v, shape, segments)
          s.attentionBackward(
            t.dy, q: q, k: k, v: v, out: out, logsumexp: logsumexp, shape, segments,
            dQ: dQKV.columns(columns[0]),
            dK: dQKV.columns(columns[1]), dV: dQKV.columns(columns[2]))
          for (range, part) in zip(columns, [t.dq, t.dk, t.dv] as [Tensor]) {
            s.copy(dQKV.columns(range), into: part)
          }
          return ["y": out, "logsumexp": logsumexp]
        }
        let (out, logsumexp) = s.attention(t.q, t.k, t.v, shape, segments)
        s.attentionBackward(
          t.dy, q: t.q, k: t.k, v: t.v, out: out, logsumexp: logsumexp, shape, segments, dQ: t.dq, dK: t.dk,
          dV: t.dv)
        return ["y": out, "logsumexp": logsumexp]
      },
      reference: { AttentionReference(shape, segments, $0).results },
      gradients: ["q": "dq", "k": "dk", "v": "dv"],
      // Two products of a head's width for each pair forward, five backward; half the pairs are masked.
      flops: 7 * Double(width) * lengths.reduce(0) { $0 + Double($1.queries) * Double($1.keys) })
  }
}

private struct Segment {
  var firstQuery, queries, firstKey, keys: Int

  var table: [Int] { [firstQuery, queries, firstKey, keys] }

  static func packed(_ lengths: [(queries: Int, keys: Int)]) -> [Segment] {
    var segments: [Segment] = []
    for (queries, keys) in lengths {
      let last = segments.last ?? Segment(firstQuery: 0, queries: 0, firstKey: 0, keys: 0)
      segments.append(
        Segment(
          firstQuery: last.firstQuery + last.queries, queries: queries, firstKey: last.firstKey + last.keys,
          keys: keys))
    }
    return segments
  }
}

/// Attention as the formula has it, one query and head at a time.
private struct AttentionReference {
  private let shape: Attention.Shape
  private let values: Values
  private var y, logsumexp, dq: Matrix<Uncertain>
  /// Of each query head by itself, (keys, heads * headSize).
  private var dk, dv: Matrix<Uncertain>

  var results: [String: Matrix<Uncertain>] {
    [
      "y": y, "logsumexp": logsumexp, "dq": dq.map(\.stored), "dk": gathered(dk), "dv": gathered(dv),
    ]
  }

  /// The sums over the query heads that share a key-value head; kernels may round each head's part.
  private func gathered(_ heads: Matrix<Uncertain>) -> Matrix<Uncertain> {
    let group = shape.heads / shape.keyValueHeads
    return Matrix(heads.rows, heads.columns / group) { row, column in
      let (head, c) = column.quotientAndRemainder(dividingBy: shape.headSize)
      return Uncertain.sum(group) { heads[row, (head * group + $0) * shape.headSize + c].stored }.stored
    }
  }

  init(_ shape: Attention.Shape, _ segments: [Segment], _ values: Values) {
    self.shape = shape
    self.values = values
    y = values.q
    logsumexp = Matrix(values.q.rows, shape.heads) { _, _ in Uncertain(0) }
    dq = values.q.map { _ in Uncertain(0) }
    dk = Matrix(values.k.rows, values.q.columns) { _, _ in Uncertain(0) }
    dv = dk
    for segment in segments {
      for i in 0..<segment.queries {
        let last = segment.keys - segment.queries + i
        let first = Swift.max(0, shape.window.map { last - $0 + 1 } ?? 0)
        for head in 0..<shape.heads {
          attend(segment.firstQuery + i, head, segment.firstKey + first...segment.firstKey + last)
        }
      }
    }
  }

  /// p = softmax(scale q kᵀ), y = p v; then dp = dy vᵀ, ds = p (dp - y dy) scale, dq = ds k, dk = dsᵀ q,
  /// dv = pᵀ dy.
  private mutating func attend(_ row: Int, _ head: Int, _ keys: ClosedRange<Int>) {
    let (q, k, v, dy) = (values.q, values.k, values.v, values.dy)
    let size = shape.headSize
    let scale = Double(shape.scale)
    let column = head * size
    let keyColumn = head / (shape.heads / shape.keyValueHeads) * size

    let scores = keys.map { key in
      scale * .sum(size) { q[row, column + $0] * k[key, keyColumn + $0] }
    }
    let top = scores.reduce(scores[0], max)
    let exponentials = scores.map { ($0 - top).exponential }
    let total = Uncertain.sum(exponentials.count) { exponentials[$0] }
    logsumexp[row, head] = top + total.logarithm
    // Kernels round probabilities, and their gradient, to the activations' dtype before they multiply.
    let p = exponentials.map { ($0 / total).stored }
    for c in 0..<size {
      y[row, column + c] = Uncertain.sum(keys.count) { p[$0] * v[keys.lowerBound + $0, keyColumn + c] }.stored
    }

    let delta = Uncertain.sum(size) { y[row, column + $0] * dy[row, column + $0] }
    for (index, key) in keys.enumerated() {
      let probability = (scores[index] - logsumexp[row, head]).exponential
      let dp = Uncertain.sum(size) { dy[row, column + $0] * v[key, keyColumn + $0] }
      let ds = (scale * (probability * (dp - delta))).stored
      for c in 0..<size {
        dq[row, column + c] = dq[row, column + c] + ds * k[key, keyColumn + c]
        dk[key, column + c] = dk[key, column + c] + ds * q[row, column + c]
        dv[key, column + c] = dv[key, column + c] + probability.stored * dy[row, column + c]
      }
    }
  }
}
