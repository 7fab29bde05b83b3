import Basics
import CKernels
import Dispatch

/// What a low-rank adapter adds to a matrix: scale * B A (Hu et al., arXiv:2106.09685, eq. 3).
public struct LowRankUpdate {
  /// B, (out, rank)
  private let up: Weight
  /// A, (rank, in)
  private let down: [Float]
  private let scale: Float

  /// - Parameters:
  ///   - down: A, (rank, in), row-major.
  public init(up: Weight, down: [Float], scale: Float) {
    self.up = up
    self.down = down
    self.scale = scale
  }

  /// Adds its rows `range` to `rows`, (range.count, in), in float32, one rank after the other. On all cores.
  public func add(rows range: Range<Int>, to rows: inout [Float], on backend: any Backend)
    throws(SwiftletError)
  {
    let (rank, columns) = (up.columns, rows.count / range.count)
    precondition(down.count == rank * columns)
    let (b, a, scale) = (try up.rows(range, on: backend), down, scale)
    rows.withUnsafeMutableBufferPointer { rows in
      guard let rows = rows.baseAddress else { return }
      // Each iteration has a row of its own.
      nonisolated(unsafe) let target = rows
      DispatchQueue.concurrentPerform(iterations: range.count) { row in
        sw_add_low_rank(
          target + row * columns, 1, Int64(columns), Array(b[row * rank..<(row + 1) * rank]), a,
          Int64(rank), scale)
      }
    }
  }
}
