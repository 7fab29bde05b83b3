import Basics
import Compute

@testable import Models

/// A model with one packed batch on a CPU: what the tests of this target run and compare.
final class ReferenceRun {
  /// Sequences of token ids, and of labels as transformers takes them: labels[i] is what position i - 1 predicts.
  struct Sequences {
    var ids: [[Int32]]
    var labels: [[Int32]]

    var rows: Int { ids.reduce(0) { $0 + $1.count } }
    /// Positions that predict a label.
    var targets: Int { labels.reduce(0) { $0 + $1.dropFirst().count { $0 != ignoredLabel } } }
  }

  struct Gradients {
    /// The mean over all labels.
    var loss: Double
    /// By entry of the parameters.
    var values: [String: [Float]]
  }

  let backend: CPU
  var model: Decoder
  let sequences: Sequences
  let batch: TrainingBatch
  private let memory: [Buffer]

  init(_ model: Decoder, _ sequences: Sequences, on backend: CPU, dropouts: Dropouts? = nil) throws {
    self.model = model
    self.backend = backend
    self.sequences = sequences
    var memory: [Buffer] = []
    func upload<Element: BitwiseCopyable>(_ values: [Element], columns: Int, _ dtype: DType) throws -> Tensor
    {
      let buffer = try backend.allocate(bytes: values.count * MemoryLayout<Element>.size)
      memory.append(buffer)
      buffer.pointer().update(from: values, count: values.count)
      return Tensor(buffer, rows: values.count / columns, columns: columns, dtype: dtype)
    }
    var (labels, positions, table): ([Int32], [Int32], [Int32]) = ([], [], [])
    for sequence in sequences.labels {
      let (start, count) = (Int32(labels.count), Int32(sequence.count))
      table += [start, count, start, count]
      labels += sequence.dropFirst() + [ignoredLabel]
      positions += 0..<count
    }
    let rows = sequences.rows
    let longest = sequences.ids.map(\.count).max() ?? 0
    batch = TrainingBatch(
      ids: try upload(sequences.ids.flatMap(\.self), columns: rows, .i32),
      labels: try upload(labels, columns: rows, .i32),
      rowWeights: try upload(
        [Float](repeating: 1 / Float(sequences.targets), count: rows), columns: rows, .f32),
      rows: Rows(
        positions: try upload(positions, columns: rows, .i32),
        segments: Segments(table: try upload(table, columns: 4, .i32), longest: longest),
        rotary: try model.spec.rotary.table(
          positions: longest, headSize: model.spec.headSize, on: backend),
        dropouts: dropouts))
    self.memory = memory
  }

  /// (rows, vocabulary)
  func logits(_ dtype: DType = .f32) throws -> [Double] {
    let count = sequences.rows * model.spec.vocabularySize
    let output = try output(count, dtype)
    try runPoisoned { step in
      let hidden = model.hidden(batch.ids, batch.rows, step, compute: dtype)
      step.copy(
        model.logits(hidden, step),
        into: Tensor(
          output, rows: sequences.rows, columns: model.spec.vocabularySize, dtype: dtype.arithmetic))
    }
    return values(output, count, dtype)
  }

  /// Loss and gradients of everything trained.
  func gradients(_ dtype: DType = .f32, _ policy: LayerPolicy = LayerPolicy(.keep)) throws -> Gradients {
    guard let parameters = model.parameters else { return Gradients(loss: 0, values: [:]) }
    backend.zero(parameters.allGradients)
    let loss = try trainingLoss(dtype, policy)
    let pairs = parameters.entries.enumerated().map { index, entry in
      (entry.name, Array(parameters.gradient(index..<index + 1).hostFloats))
    }
    return Gradients(loss: loss, values: Dictionary(uniqueKeysWithValues: pairs))
  }

  /// The mean loss of a training step, dropout included; adds to the gradients.
  func trainingLoss(_ dtype: DType, _ policy: LayerPolicy = LayerPolicy(.keep)) throws -> Double {
    try meanLoss(dtype) { step, loss in train(step, dtype, policy, into: loss) }
  }

  /// The mean loss, without gradients.
  func loss(_ dtype: DType = .f32) throws -> Double {
    try meanLoss(dtype) { step, loss in model.loss(batch, step, compute: dtype, into: loss) }
  }

  /// Operations of a training step.
  var operations: Int {
    get throws {
      let buffer = try output(sequences.rows, .f32)
      let loss = Tensor(buffer, rows: 1, columns: sequences.rows, dtype: .f32)
      return Step.plan(on: backend) { train($0, .f32, LayerPolicy(.keep), into: loss) }.operations
    }
  }

  private func train(_ step: Step, _ dtype: DType, _ policy: LayerPolicy, into loss: Tensor) {
    let policies = Array(repeating: policy, count: model.spec.layers)
    model.lossAndGradients(batch, step, compute: dtype, policies: policies, into: loss)
  }

  private func meanLoss(_ dtype: DType, _ body: (Step, Tensor) -> Void) throws -> Double {
    let output = try output(sequences.rows, dtype)
    let loss = Tensor(output, rows: 1, columns: sequences.rows, dtype: dtype.arithmetic)
    try runPoisoned { body($0, loss) }
    return values(output, sequences.rows, dtype).reduce(0, +) / Double(sequences.targets)
  }

  /// Runs `body` in an arena that holds nothing but NaN: reading what nobody wrote shows.
  private func runPoisoned(_ body: (Step) -> Void) throws {
    let plan = Step.plan(on: backend, body)
    let arena = try backend.allocate(bytes: plan.bytes)
    let host = try backend.allocateOnHost(bytes: plan.hostBytes)
    for memory in [arena, host] {
      memory.base.initializeMemory(as: UInt8.self, repeating: 0xff, count: memory.count)
    }
    Step.run(plan, in: arena, host: host, on: backend, body)
  }

  private func output(_ count: Int, _ dtype: DType) throws -> Buffer {
    try backend.allocate(bytes: count * dtype.arithmetic.size)
  }

  private func values(_ buffer: Buffer, _ count: Int, _ dtype: DType) -> [Double] {
    if dtype == .f64 {
      return Array(UnsafeBufferPointer(start: buffer.pointer(to: Double.self), count: count))
    }
    return UnsafeBufferPointer(start: buffer.pointer(to: Float.self), count: count).map(Double.init)
  }
}

/// |a - b| / |b|, in the Euclidean norm; |a| when b is zero.
func relativeError<A: Sequence, B: Sequence>(_ a: A, _ b: B) -> Double
where A.Element: BinaryFloatingPoint, B.Element: BinaryFloatingPoint {
  var (difference, norm) = (0.0, 0.0)
  for (x, y) in zip(a, b) {
    difference += (Double(x) - Double(y)) * (Double(x) - Double(y))
    norm += Double(y) * Double(y)
  }
  return (norm > 0 ? difference / norm : difference).squareRoot()
}

extension Parameters {
  /// The elements of one entry, in the CPU's memory.
  func withValues<Result>(
    _ index: Int, _ body: (UnsafeMutableBufferPointer<Float>) throws -> Result
  ) rethrows -> Result { try body(value(index..<index + 1).hostFloats) }
}

extension Dropouts {
  init(seed: UInt64, microBatch: UInt64) throws {
    let memory = try Buffer(count: 2 * MemoryLayout<UInt64>.size)
    (memory.pointer()[0], memory.pointer()[1]) = (seed, microBatch)
    self.init(counter: Tensor(memory, rows: 1, columns: 2, dtype: .f64), owner: memory)
  }
}
