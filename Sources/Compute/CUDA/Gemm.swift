import Basics
import CKernels

/// out = alpha * op(a) op(b) + addend + bias on row-major matrices, added up in float and rounded once.
///
/// `a` and `b` are both bf16, with a bf16 or f32 result, or both f32 with an f32 result; then in full precision,
/// without TF32. Any strides and addresses that are multiples of an element. Or both are f8, `b` transposed, with a
/// scale for each of a's rows and b's, with a bf16 or f32 result.
struct Gemm {
  /// (m, k), or (k, m) when `aTransposed`.
  var a: Tensor
  var aTransposed = false
  /// (k, n), or (n, k) when `bTransposed`.
  var b: Tensor
  var bTransposed = false
  /// Addresses of (1, m) and (1, n) f32, multiples of 256: of f8 operands.
  var scales: (a: UInt, b: UInt)?
  var alpha: Float = 1
  /// (1, n) of out's dtype.
  var bias: Tensor?
  /// (m, n) of out's dtype; may be `out` itself.
  var addend: Tensor?
  /// (m, n)
  var out: Tensor

  var m: Int { out.rows }
  var n: Int { out.columns }
  var k: Int { aTransposed ? a.rows : a.columns }

  /// For people: m x n x k.
  var shape: String { "\(m) x \(n) x \(k)" }

  /// Bytes of workspace for a result of this shape, whatever the operands: up to 64 parts of a sum that is split
  /// along k, 32 MB at most (what cuBLAS gives itself on Hopper).
  static func workspaceBytes(m: Int, n: Int) -> Int {
    let sums = 64 * m * n * MemoryLayout<Float>.size
    return min(32 << 20, (sums + Plan.alignment - 1) / Plan.alignment * Plan.alignment)
  }

  fileprivate var isValid: Bool {
    (aTransposed ? a.shape == (k, m) : a.shape == (m, k))
      && (bTransposed ? b.shape == (n, k) : b.shape == (k, n))
      && a.dtype == b.dtype && [.bf16, .f32, .f8].contains(a.dtype) && (a.dtype == .f8) == (scales != nil)
      && (out.dtype == .f32 || out.dtype == a.dtype || scales != nil && out.dtype == .bf16)
      && (bias.map { $0.dtype == out.dtype && $0.shape == (1, n) } ?? true)
      && (addend.map { $0.dtype == out.dtype && $0.shape == (m, n) } ?? true)
  }
}

extension CUDA {
  /// Times several of cuBLASLt's algorithms when a product of a new shape is first started and keeps the fastest,
  /// rather than the one that cuBLASLt expects to be. Waits for the GPU and takes memory: not while a graph is
  /// captured. Which algorithm wins may differ from run to run, and with it the results' last bits.
  public var autotunesProducts: Bool {
    get { gemms.isTuning }
    set { gemms.isTuning = newValue }
  }

  /// Starts the product.
  ///
  /// - Parameter workspace: address of `Gemm.workspaceBytes` bytes, a multiple of 256.
  func run(_ gemm: Gemm, workspace: UInt) {
    precondition(gemm.isValid, "\(gemm)")
    guard !hasFailed else { return }
    device.makeCurrent()
    if gemms.isTuning && !gemms.knows(gemm) { tune(gemm, workspace: workspace) }
    switch gemms.start(gemm, workspace: workspace, on: stream) {
    case .started: break
    case .notServed where gemm.scales != nil:
      fail(
        SwiftletError(
          .unsupported, "cuBLASLt does not serve a float8 product of \(gemm.shape)",
          remedy: "Set compute: bfloat16."))
    case .notServed: runOwnKernel(gemm)
    case .failed(let status):
      fail(
        SwiftletError(
          .unavailable, "cuBLASLt: error \(status) at a product of \(gemm.shape)",
          remedy: "Start the program again; the last checkpoint is intact."))
    }
  }

  /// See matrix_product.cu.
  private func runOwnKernel(_ gemm: Gemm) {
    let (a, b) = (gemm.a, gemm.b)
    let name =
      switch (a.dtype, gemm.out.dtype) {
      case (.f32, .f32): "gemm_f32_f32"
      case (.bf16, .f32): "gemm_bf16_f32"
      default: "gemm_bf16_bf16"
      }
    let (m, n) = (gemm.m, gemm.n)
    launch(
      .matrixProduct, name, grid: Grid(x: (n + 63) / 64, y: (m + 63) / 64), threads: 256,
      Int64(m), Int64(n), Int64(gemm.k), gemm.alpha,
      a.address, Int64(gemm.aTransposed ? 1 : a.stride), Int64(gemm.aTransposed ? a.stride : 1),
      b.address, Int64(gemm.bTransposed ? 1 : b.stride), Int64(gemm.bTransposed ? b.stride : 1),
      gemm.bias?.address ?? 0, gemm.addend?.address ?? 0, Int64(gemm.addend?.stride ?? 0),
      gemm.out.address, Int64(gemm.out.stride))
  }

  /// Lets the cache choose by time, on a copy of the output: `out` may be what the product adds to.
  private func tune(_ gemm: Gemm, workspace: UInt) {
    let out = gemm.out
    // At the same distance from a multiple of 256 as `out`, so that the same algorithms serve.
    let shift = out.address % 256
    do throws(SwiftletError) {
      let memory = try allocate(bytes: out.rows * out.stride * out.dtype.size + 256)
      var trial = gemm
      trial.out = Tensor(
        address: UInt(bitPattern: memory.base) + shift, rows: out.rows, columns: out.columns,
        stride: out.stride, dtype: out.dtype, slot: nil)
      if gemm.addend?.address == out.address { trial.addend = trial.out }
      try gemms.tune(trial, workspace: workspace, on: stream)
      try withExtendedLifetime(memory) { () throws(SwiftletError) in try synchronize() }
    } catch {
      fail(error)
    }
  }
}
