import Basics
import Compute
import Models
import Text

/// The device's copy of a micro-batch: always the same memory, so that a step always reads the same addresses.
final class DeviceBatch {
  /// B * T rows.
  let rows: Int
  /// (1, rows) of the arithmetic type: each row's loss, written by a step.
  let loss: Tensor
  /// The masks of this micro-batch.
  let dropouts: Dropouts
  private let ids: Tensor
  private let labels: Tensor
  private let positions: Tensor
  private let weights: Tensor
  /// (capacity, 4)
  private let segments: Tensor
  /// Everything that `load` writes: counter, ids, labels, positions, weights and segments, one after the other.
  private let inputs: Tensor
  private let layout: SequenceLayout
  /// Rows of one line of the batch, T: no sequence is longer.
  private let longest: Int
  private let rotary: RotaryTable
  private let memory: Buffer
  private let backend: any Backend
  private var segmentCount = 1

  /// How the sequences of a batch may lie.
  enum SequenceLayout: Equatable {
    /// Anyhow; only for backends that do not record steps.
    case any
    /// At most so many of any lengths.
    case packed(most: Int)
    /// One in each line, which counts as filled: behind its end nothing is trained, and before it nothing sees what
    /// stands there.
    case lines
  }

  /// - Parameters:
  ///   - lines: B.
  ///   - length: T.
  ///   - rotary: for T positions.
  init(
    lines: Int, length: Int, compute: DType, layout: SequenceLayout, rotary: RotaryTable,
    on backend: any Backend
  ) throws(SwiftletError) {
    rows = lines * length
    longest = length
    self.layout = layout
    self.rotary = rotary
    self.backend = backend
    let capacity =
      switch layout {
      case .any: lines * length  // at most as many sequences as rows
      case .packed(let most): most
      case .lines: lines
      }
    let word = MemoryLayout<Int32>.size
    let lossBytes = Self.aligned(rows * compute.arithmetic.size)
    let count = Self.counterWords + 4 * rows + 4 * capacity
    let memory = try backend.allocate(bytes: lossBytes + count * word)
    var next = lossBytes
    func take(_ rows: Int, _ columns: Int, _ dtype: DType) -> Tensor {
      defer { next += rows * columns * dtype.size }
      return Tensor(memory, offset: next, rows: rows, columns: columns, dtype: dtype)
    }
    self.memory = memory
    loss = Tensor(memory, rows: 1, columns: rows, dtype: compute.arithmetic)
    inputs = Tensor(memory, offset: lossBytes, rows: 1, columns: count, dtype: .i32)
    dropouts = Dropouts(counter: take(1, 2, .f64), owner: memory)
    ids = take(1, rows, .i32)
    labels = take(1, rows, .i32)
    positions = take(1, rows, .i32)
    weights = take(1, rows, .f32)
    segments = take(capacity, 4, .i32)
  }

  private static let counterWords = 4

  private static func aligned(_ bytes: Int) -> Int { (bytes + 255) / 256 * 256 }

  /// Bytes of everything here but the rotary table.
  var bytes: Int { memory.count }

  /// What a step is recorded with and run on.
  ///
  /// - Parameter trains: whether dropout is applied.
  func batch(trains: Bool) -> TrainingBatch {
    let count = layout == .any ? segmentCount : segments.rows
    let sequences = Segments(
      table: segments.rows(0..<count), longest: longest, isUniform: layout == .lines)
    return TrainingBatch(
      ids: ids, labels: labels, rowWeights: weights,
      rows: Rows(
        positions: positions, segments: sequences, rotary: rotary, dropouts: trains ? dropouts : nil))
  }

  /// Takes in a batch of `rows` tokens whose labels count `labelWeight` each.
  ///
  /// - Parameters:
  ///   - seed: of dropout.
  ///   - microBatch: counts over the whole run: other masks for each.
  func load(
    _ batch: PackedBatch, labelWeight: Float, seed: UInt64 = 0, microBatch: Int = 0
  ) throws(SwiftletError) {
    precondition(batch.inputIDs.count == rows)
    var words: [Int32] = []
    words.reserveCapacity(inputs.columns)
    for number in [seed, UInt64(microBatch)] {
      words.append(Int32(truncatingIfNeeded: number))
      words.append(Int32(truncatingIfNeeded: number >> 32))
    }
    words += batch.inputIDs
    words += batch.labels
    words += batch.positions
    words += repeatElement(Int32(bitPattern: labelWeight.bitPattern), count: rows)
    words += table(of: batch)
    // Sequences of no rows.
    words += repeatElement(0, count: inputs.columns - words.count)
    try inputs.write(words, on: backend)
  }

  /// First query, queries, first key and keys of each sequence.
  private func table(of batch: PackedBatch) -> [Int32] {
    let starts =
      layout == .lines ? (0...rows / longest).map { Int32($0 * longest) } : batch.sequenceStarts
    segmentCount = starts.count - 1
    precondition(segmentCount <= segments.rows)
    return zip(starts, starts.dropFirst()).flatMap { start, end in [start, end - start, start, end - start] }
  }

  /// Sets what each row's loss counts for.
  func setWeights(_ values: [Float]) throws(SwiftletError) { try weights.write(values, on: backend) }

  /// Each row's loss, once the step's head has computed it.
  func losses() throws(SwiftletError) -> [Double] {
    switch loss.dtype {
    case .f64: try loss.read(as: Double.self, on: backend)
    default: try loss.read(as: Float.self, on: backend).map(Double.init)
    }
  }

  /// The sum of all rows' losses after a step, added up in order.
  func lossSum() throws(SwiftletError) -> Double { try losses().reduce(0, +) }
}
