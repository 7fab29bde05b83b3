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
  private let ids: Tensor
  private let labels: Tensor
  private let positions: Tensor
  private let weights: Tensor
  /// (rows, 4): a batch has at most as many sequences as rows.
  private let segments: Tensor
  private let rotary: RotaryTable
  /// Rows of one line of the batch, T: no sequence is longer.
  private let longest: Int
  private let memory: Buffer
  private var segmentCount = 1

  /// - Parameters:
  ///   - lines: B.
  ///   - length: T.
  init(lines: Int, length: Int, compute: DType, spec: ModelSpec, on backend: any Backend) throws {
    rows = lines * length
    longest = length
    rotary = try spec.rotary.table(positions: length, headSize: spec.headSize, on: backend)
    let word = MemoryLayout<Int32>.size
    let lossBytes = rows * compute.arithmetic.size
    let memory = try backend.allocate(bytes: 8 * rows * word + lossBytes)
    func vector(_ index: Int, _ dtype: DType) -> Tensor {
      Tensor(
        memory, offset: lossBytes + index * lines * length * word, rows: 1, columns: lines * length,
        dtype: dtype)
    }
    self.memory = memory
    loss = Tensor(memory, rows: 1, columns: rows, dtype: compute.arithmetic)
    ids = vector(0, .i32)
    labels = vector(1, .i32)
    positions = vector(2, .i32)
    weights = vector(3, .f32)
    segments = Tensor(memory, offset: lossBytes + 4 * rows * word, rows: rows, columns: 4, dtype: .i32)
    segments.hostInts.update(repeating: 0)
  }

  /// Bytes of everything here.
  var bytes: Int { memory.count + rotary.cosine.rows * rotary.cosine.columns * 2 * MemoryLayout<Float>.size }

  /// What a step is recorded with and run on.
  func batch(dropouts: Dropouts?) -> TrainingBatch {
    TrainingBatch(
      ids: ids, labels: labels, rowWeights: weights,
      rows: Rows(
        positions: positions, segments: Segments(table: segments.rows(0..<segmentCount), longest: longest),
        rotary: rotary, dropouts: dropouts))
  }

  /// Takes in a batch of `rows` tokens whose labels count `labelWeight` each.
  func load(_ batch: PackedBatch, labelWeight: Float) {
    precondition(batch.inputIDs.count == rows)
    _ = ids.hostInts.update(fromContentsOf: batch.inputIDs)
    _ = labels.hostInts.update(fromContentsOf: batch.labels)
    _ = positions.hostInts.update(fromContentsOf: batch.positions)
    weights.hostFloats.update(repeating: labelWeight)
    segmentCount = batch.sequenceStarts.count - 1
    let table = segments.hostInts
    for (index, start) in batch.sequenceStarts.dropLast().enumerated() {
      let count = batch.sequenceStarts[index + 1] - start
      (table[4 * index], table[4 * index + 1]) = (start, count)
      (table[4 * index + 2], table[4 * index + 3]) = (start, count)
    }
  }

  /// Sets what each row's loss counts for.
  func setWeights(_ values: some Sequence<Float>) { _ = weights.hostFloats.update(from: values) }

  /// Each row's loss, once the step's head has computed it.
  var losses: [Double] {
    switch loss.dtype {
    case .f64: Array(loss.hostDoubles)
    default: loss.hostFloats.map(Double.init)
    }
  }

  /// The sum of all rows' losses after a step, added up in order.
  var lossSum: Double { losses.reduce(0, +) }
}
