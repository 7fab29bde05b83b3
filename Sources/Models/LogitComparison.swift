import Basics
import Compute

extension Decoder {
  /// The logits of every position of one sequence, (tokens.count, vocabulary), in float32.
  ///
  /// - Throws: `.outOfMemory`.
  public func logits(of tokens: [Int32]) throws -> [Float] {
    let (count, backend) = (tokens.count, backend)
    let memory = try backend.allocate(bytes: (2 * count + 4) * DType.i32.size)
    let segments = Tensor(memory, rows: 1, columns: 4, dtype: .i32)
    let ids = Tensor(memory, offset: segments.columns * DType.i32.size, rows: 1, columns: count, dtype: .i32)
    let positions = Tensor(
      memory, offset: (segments.columns + count) * DType.i32.size, rows: 1, columns: count, dtype: .i32)
    try segments.write([0, Int32(count), 0, Int32(count)], on: backend)
    try ids.write(tokens, on: backend)
    try positions.write((0..<Int32(count)).map(\.self), on: backend)
    let rows = Rows(
      positions: positions, segments: Segments(table: segments, longest: count),
      rotary: try spec.rotary.table(positions: count, headSize: spec.headSize, on: backend))
    let result = try backend.allocate(bytes: count * spec.vocabularySize * DType.f32.size)
    let out = Tensor(result, rows: count, columns: spec.vocabularySize, dtype: .f32)
    try Step.runOnce(on: backend) { step in
      step.copy(logits(hidden(ids, rows, step, compute: .f32), step), into: out)
    }
    return try out.read(on: backend)
  }
}

/// How far the logits of two models lie apart that should be one: a model and what was written of it.
public struct LogitComparison: Sendable {
  /// |a - b| / |b| of each position, Euclidean over the vocabulary.
  public private(set) var differences: [Double] = []
  /// Positions whose most probable token is the same.
  public private(set) var agreeing = 0

  public init() {}

  public var positions: Int { differences.count }

  /// Infinite where logits are no numbers.
  public var largestDifference: Double { differences.max() ?? 0 }

  /// Half of the positions differ by no more. Rounding weights to few bits leaves some positions, such as a text's first
  /// tokens, far from where they were, but not most.
  public var medianDifference: Double {
    differences.isEmpty ? 0 : differences.sorted()[differences.count / 2]
  }

  /// Takes in the logits of some positions, (positions, vocabulary) each.
  public mutating func add(_ logits: [Float], expected: [Float], vocabulary: Int) {
    precondition(logits.count == expected.count && logits.count % vocabulary == 0)
    for start in stride(from: 0, to: logits.count, by: vocabulary) {
      let (a, b) = (logits[start..<start + vocabulary], expected[start..<start + vocabulary])
      var (difference, norm) = (0.0, 0.0)
      for (x, y) in zip(a, b) {
        difference += Double(x - y) * Double(x - y)
        norm += Double(y) * Double(y)
      }
      let relative = (difference / max(norm, .leastNormalMagnitude)).squareRoot()
      differences.append(relative.isNaN ? .infinity : relative)
      agreeing += Self.indexOfLargest(a) == Self.indexOfLargest(b) ? 1 : 0
    }
  }

  private static func indexOfLargest(_ values: ArraySlice<Float>) -> Int? {
    values.indices.max { values[$0] < values[$1] }.map { $0 - values.startIndex }
  }
}
