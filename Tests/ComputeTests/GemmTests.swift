import CKernels
import Testing

@testable import Compute
@testable import SelfTest

/// The matrix product's micro-kernels, each instruction set for itself.
@Suite struct GemmTests {
  struct Size: CustomTestStringConvertible, Sendable {
    var m, n, k: Int
    var testDescription: String { "(\(m), \(k)) by (\(k), \(n))" }
  }

  static let sizes = [
    (1, 1, 1), (5, 16, 2), (6, 17, 3), (14, 32, 64), (15, 33, 65), (33, 50, 300), (40, 95, 31),
    (35, 40, 4100),
  ]
  .map { Size(m: $0.0, n: $0.1, k: $0.2) }

  /// Every instruction set that this machine has for `dtype`, the portable one first.
  static func instructionSets(_ dtype: sw_dtype) -> [sw_isa] {
    switch sw_gemm_isa(dtype) {
    case SW_ISA_AMX: [SW_ISA_PORTABLE, SW_ISA_AVX512_BF16, SW_ISA_AMX]
    case let best: best == SW_ISA_PORTABLE ? [best] : [SW_ISA_PORTABLE, best]
    }
  }

  /// How the operands lie.
  enum Layout: CaseIterable, Sendable {
    /// A (m, k) and B (n, k), as in attention's scores.
    case rows
    /// A (k, m) and B (k, n), as in a weight's gradient.
    case columns
  }

  /// C = 0.5 A B, by tiles of the given bounds.
  private func product(
    _ isa: sw_isa, _ size: Size, _ dtype: DType, _ layout: Layout, _ a: Matrix<Double>, _ b: Matrix<Double>,
    rowBounds: [Int], columnBounds: [Int]
  ) throws -> [Double] {
    let (left, right) = (try encoded(a, dtype), try encoded(b, dtype))
    let out = try Buffer(count: size.m * size.n * dtype.size)
    out.base.initializeMemory(as: UInt8.self, repeating: 0xFF, count: out.count)
    var g = sw_gemm()
    (g.m, g.n, g.term_count) = (Int64(size.m), Int64(size.n), 1)
    g.terms.0.k = Int64(size.k)
    g.terms.0.a = Tensor(left, rows: a.rows, columns: a.columns, dtype: dtype).matrix
    g.terms.0.a_transposed = layout == .columns ? 1 : 0
    g.terms.0.b_kind = layout == .columns ? SW_B_MATRIX : SW_B_MATRIX_ROWS
    g.terms.0.b = Tensor(right, rows: b.rows, columns: b.columns, dtype: dtype).matrix
    g.terms.0.scale = 1
    g.alpha = 0.5
    g.c = Tensor(out, rows: size.m, columns: size.n, dtype: dtype).matrix
    let scratch = try Buffer(count: Int(sw_gemm_scratch_bytes(&g, Int64(size.m), Int64(size.n), isa)))
    scratch.base.initializeMemory(as: UInt8.self, repeating: 0xFF, count: scratch.count)
    for (n0, n1) in zip(columnBounds, columnBounds.dropFirst()) {
      for (m0, m1) in zip(rowBounds, rowBounds.dropFirst()) {
        sw_gemm_tile(&g, isa, Int64(m0), Int64(m1), Int64(n0), Int64(n1), scratch.base)
      }
    }
    return (0..<size.m * size.n).map { dtype.decode(out.base + $0 * dtype.size) }
  }

  private func encoded(_ matrix: Matrix<Double>, _ dtype: DType) throws -> Buffer {
    let buffer = try Buffer(count: matrix.elements.count * dtype.size)
    for (index, value) in matrix.elements.enumerated() {
      dtype.encode(value, to: buffer.base + index * dtype.size)
    }
    return buffer
  }

  @Test(arguments: Layout.allCases, sizes)
  func everyInstructionSetAndSplit(layout: Layout, size: Size) throws {
    for dtype in [DType.f32, .bf16, .f64] {
      var random = RandomStream(seed: .random(in: 0...(.max)), "gemm")
      func matrix(_ rows: Int, _ columns: Int) -> Matrix<Double> {
        Matrix(rows, columns) { _, _ in dtype.round(random.uniform()) }
      }
      let isTransposed = layout == .columns
      let a = isTransposed ? matrix(size.k, size.m) : matrix(size.m, size.k)
      let b = isTransposed ? matrix(size.k, size.n) : matrix(size.n, size.k)
      let expected = Matrix(size.m, size.n) { i, j in
        (0.5
          * .sum(size.k) {
            isTransposed
              ? Uncertain(a[$0, i]) * Uncertain(b[$0, j]) : Uncertain(a[i, $0]) * Uncertain(b[j, $0])
          }).stored
      }
      for isa in Self.instructionSets(dtype.kernel) {
        let whole = try product(
          isa, size, dtype, layout, a, b, rowBounds: [0, size.m], columnBounds: [0, size.n])
        #expect(
          zip(whole, expected.elements).allSatisfy { abs($0 - $1.value) <= $1.tolerance(dtype) },
          "\(dtype), instruction set \(isa.rawValue)")
        let rows = [0, size.m / 3, size.m - 1, size.m]
        let columns = [0] + Array(stride(from: 16, to: size.n, by: 16)) + [size.n]
        let split = try product(isa, size, dtype, layout, a, b, rowBounds: rows, columnBounds: columns)
        #expect(whole == split, "\(dtype), instruction set \(isa.rawValue)")
      }
    }
  }
}
