import Compute
import Testing

/// What no single result shows: that masks are random, that an optimiser gets there.
@Suite struct OpStatisticsTests {
  /// The kept elements' indices of a dropout on ones.
  private func kept(_ dropout: Dropout, rows: Int, columns: Int) throws -> Set<Int> {
    let buffer = try Buffer(count: rows * columns * 4)
    let values = buffer.pointer(to: Float.self)
    for index in 0..<rows * columns { values[index] = 1 }
    let x = Tensor(buffer, rows: rows, columns: columns, dtype: .f32)
    try Step.runOnce(on: CPU(threads: 2)) { _ = $0.dropout(x, dropout, into: x) }
    return Set((0..<rows * columns).filter { values[$0] != 0 })
  }

  @Test(arguments: [0.05, 0.1, 0.5, 0.9] as [Float])
  func dropoutKeepsItsShare(probability: Float) throws {
    let (rows, columns) = (300, 333)
    let count = Double(rows * columns)
    let p = Double(probability)
    let counter = try Buffer(count: 2 * MemoryLayout<UInt64>.size)
    (counter.pointer()[0], counter.pointer()[1]) = (UInt64.random(in: 0...(.max)), UInt64(3))
    let dropout = Dropout(
      probability: probability, layer: 1, counter: Tensor(counter, rows: 1, columns: 2, dtype: .f64))
    let mask = try kept(dropout, rows: rows, columns: columns)
    // Six standard deviations of a binomial distribution; a common seed is no correlation.
    func isWithin(_ observed: Int, _ share: Double, of count: Double) -> Bool {
      abs(Double(observed) - share * count) < 6 * (count * share * (1 - share)).squareRoot()
    }
    #expect(isWithin(mask.count, 1 - p, of: count))
    var other = dropout
    other.layer += 1
    let second = try kept(other, rows: rows, columns: columns)
    #expect(isWithin(mask.intersection(second).count, (1 - p) * (1 - p), of: count))
    // Neighbours in a row and in a column.
    let right = mask.filter { mask.contains($0 + 1) }.count
    let below = mask.filter { mask.contains($0 + columns) }.count
    #expect(isWithin(right, (1 - p) * (1 - p), of: count - 1))
    #expect(isWithin(below, (1 - p) * (1 - p), of: count - Double(columns)))
  }

  /// Both optimisers bring |p - target|² down, the 8-bit one about as far.
  @Test func optimisersConverge() throws {
    let count = 1000
    let backend = try CPU(threads: 2)
    func floats(_ value: (Int) -> Float) throws -> (
      tensor: Tensor, pointer: UnsafeMutablePointer<Float>, Buffer
    ) {
      let buffer = try Buffer(count: count * 4)
      let pointer = buffer.pointer(to: Float.self)
      for i in 0..<count { pointer[i] = value(i) }
      return (Tensor(buffer, rows: 1, columns: count, dtype: .f32), pointer, buffer)
    }
    let target = (0..<count).map { _ in Float.random(in: -1...1) }
    let memory = try Buffer(count: 4 * MemoryLayout<Double>.size)
    let numbers = Tensor(memory, rows: 1, columns: 4, dtype: .f64)
    let adamW = AdamW()
    func distance(after steps: Int, _ update: (Step, _ p: Tensor, _ g: Tensor) -> Void) throws -> Float {
      let (p, g) = (try floats { _ in 0 }, try floats { _ in 0 })
      for step in 1...steps {
        for i in 0..<count { g.pointer[i] = 2 * (p.pointer[i] - target[i]) }
        try numbers.columns(0..<3).write(adamW.numbers(learningRate: 0.02, step: step), on: backend)
        try Step.runOnce(on: backend) { update($0, p.tensor, g.tensor) }
      }
      return (0..<count).reduce(0) { $0 + (p.pointer[$1] - target[$1]) * (p.pointer[$1] - target[$1]) }
        / Float(count)
    }
    let (m, v) = (try floats { _ in 0 }, try floats { _ in 0 })
    let full = try distance(after: 200) {
      $0.adamW(adamW, numbers: numbers, parameters: $1, gradients: $2, m: m.tensor, v: v.tensor)
    }
    // The code of 0 is the map's entry 0: not the first of the signed one.
    let zero = try #require(DynamicMap.signed.firstIndex(of: 0))
    let codes = try Buffer(count: 2 * count)
    let (mCodes, vCodes) = (codes.pointer(to: UInt8.self), codes.pointer(to: UInt8.self, at: count))
    mCodes.update(repeating: UInt8(zero), count: count)
    vCodes.update(repeating: 0, count: count)
    let (mMap, vMap) = (
      try floats { DynamicMap.signed[min($0, 255)] }, try floats { DynamicMap.unsigned[min($0, 255)] }
    )
    let (mScale, vScale) = (try floats { _ in 0 }, try floats { _ in 0 })
    let blocks = 0..<(count + AdamW8bitState.block - 1) / AdamW8bitState.block
    let state = AdamW8bitState(
      m: Tensor(codes, rows: 1, columns: count, dtype: .u8),
      v: Tensor(codes, offset: count, rows: 1, columns: count, dtype: .u8),
      mScale: mScale.tensor.columns(blocks), vScale: vScale.tensor.columns(blocks),
      mMap: mMap.tensor.columns(0..<256), vMap: vMap.tensor.columns(0..<256))
    let compressed = try distance(after: 200) {
      $0.adamW8bit(adamW, numbers: numbers, parameters: $1, gradients: $2, state: state)
    }
    #expect(full < 1e-3)
    #expect(compressed < 2e-3)
  }
}
