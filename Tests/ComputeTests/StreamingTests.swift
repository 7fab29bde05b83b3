import Compute
import Testing

@testable import SelfTest

/// Weights that come from the host's memory some rows at a time.
@Suite struct StreamingTests {
  /// All rows, each once and in order, in formats with blocks or without; the last slice is shorter, or there is but one.
  @Test(arguments: [StorageFormat.f32, .bf16, .q8_0, .q4_K], [false, true])
  func everyRowComesOnce(_ format: StorageFormat, copiesLate: Bool) throws {
    let cpu = try CPU(threads: 2, copiesLate: copiesLate)
    let (rows, columns) = (13, 256)
    var random = RandomStream(seed: 3, "\(format)")
    let weight = try HostWeight(WeightKind(format: format), rows: rows, columns: columns, using: &random)
      .upload(to: cpu)
    let ids = try cpu.allocate(bytes: rows * DType.i32.size)
    let names = Tensor(ids, rows: 1, columns: rows, dtype: .i32)
    try names.write((0..<rows).map(Int32.init), on: cpu)
    for count in [5, 13, 100] {
      let memory = try cpu.allocate(bytes: rows * columns * DType.f32.size)
      let out = Tensor(memory, rows: rows, columns: columns, dtype: .f32)
      try Step.runOnce(on: cpu) { s in
        s.stream(weight, rows: count) { range, weight in
          #expect(weight.rows == range.count)
          s.copy(s.embedding(names.columns(0..<range.count), weight, dtype: .f32), into: out.rows(range))
        }
      }
      #expect(Array(out.hostFloats) == weight.floats())
    }
  }

  @Test func rowsWithTablesDoNotStandAlone() throws {
    let cpu = try CPU(threads: 1)
    var random = RandomStream(seed: 3, "tables")
    for format in [StorageFormat.nf4, .int8] {
      let weight = try HostWeight(WeightKind(format: format), rows: 4, columns: 64, using: &random).upload(
        to: cpu)
      #expect(weight.rowBytes == nil)
    }
  }
}
