import Basics
import CKernels

/// cuBLASLt's descriptors and algorithm for every kind of product met so far, chosen once for each.
final class GemmCache {
  enum Outcome {
    case started
    /// cuBLASLt has no algorithm for these operands.
    case notServed
    /// With a cublasStatus_t.
    case failed(Int32)
  }

  var isTuning = false
  private let device: CUDADevice
  private let handle: UnsafeMutableRawPointer
  private var plans: [GemmKey: GemmPlan] = [:]

  private var blas: sw_cublaslt { device.libraries.blas }

  /// - Throws: `.unavailable` when cuBLASLt does not start.
  init(_ device: CUDADevice) throws(SwiftletError) {
    self.device = device
    device.makeCurrent()
    var handle: UnsafeMutableRawPointer?
    let status = device.libraries.blas.cublasLtCreate(&handle)
    guard status == 0, let handle else {
      throw SwiftletError(
        .unavailable, "cuBLASLt does not start (error \(status))", remedy: CUDALibrary.blas.remedy)
    }
    self.handle = handle
  }

  deinit {
    device.makeCurrent()
    plans = [:]
    _ = device.libraries.blas.cublasLtDestroy(handle)
  }

  /// cuBLASLt's: 12.9 is 120900.
  var version: Int { blas.cublasLtGetVersion() }

  /// Whether the algorithm for such a product is chosen.
  func knows(_ gemm: Gemm) -> Bool { plans[GemmKey(gemm)] != nil }

  /// Starts the product with the first algorithm that takes it.
  func start(_ gemm: Gemm, workspace: UInt, on stream: UnsafeMutableRawPointer) -> Outcome {
    let plan = plan(gemm)
    while let algorithm = plan.algorithms.first {
      let status = plan.start(gemm, algorithm, workspace: workspace, on: stream, handle)
      switch status {
      case 0: return .started
      // CUBLAS_STATUS_INVALID_VALUE, _ARCH_MISMATCH, _NOT_SUPPORTED: refused before anything was started.
      case 7, 8, 15: plan.algorithms.removeFirst()
      default: return .failed(status)
      }
    }
    return .notServed
  }

  /// Runs each algorithm and puts the fastest first. Overwrites the product's output.
  ///
  /// - Throws: `.unavailable` when the GPU fails.
  func tune(
    _ gemm: Gemm, workspace: UInt, on stream: UnsafeMutableRawPointer
  ) throws(SwiftletError) {
    let plan = plan(gemm)
    let timer = try StreamTimer(device, stream)
    var timed: [(algorithm: GemmPlan.Algorithm, milliseconds: Float)] = []
    for algorithm in plan.algorithms {
      // The first run loads the kernel.
      guard plan.start(gemm, algorithm, workspace: workspace, on: stream, handle) == 0 else { continue }
      let milliseconds = try timer.milliseconds {
        for _ in 0..<3 { _ = plan.start(gemm, algorithm, workspace: workspace, on: stream, handle) }
      }
      timed.append((algorithm, milliseconds))
    }
    plan.algorithms = timed.sorted { $0.milliseconds < $1.milliseconds }.map(\.algorithm)
  }

  private func plan(_ gemm: Gemm) -> GemmPlan {
    let key = GemmKey(gemm)
    if let plan = plans[key] { return plan }
    let plan = GemmPlan(key, blas, handle)
    plans[key] = plan
    return plan
  }
}

/// Everything that the choice of an algorithm depends on.
struct GemmKey: Hashable {
  /// A matrix as far as that goes.
  struct Operand: Hashable {
    let dtype: DType
    let stride: Int
    /// The largest power of two, up to 256, that divides the address.
    let alignment: UInt32

    init(_ tensor: Tensor) {
      dtype = tensor.dtype
      stride = tensor.stride
      alignment = UInt32(1 << min(8, tensor.address.trailingZeroBitCount))
    }
  }

  let m, n, k: Int
  let aTransposed, bTransposed: Bool
  let a, b, out: Operand
  let addend, bias: Operand?

  init(_ gemm: Gemm) {
    (m, n, k) = (gemm.m, gemm.n, gemm.k)
    (aTransposed, bTransposed) = (gemm.aTransposed, gemm.bTransposed)
    (a, b, out) = (Operand(gemm.a), Operand(gemm.b), Operand(gemm.out))
    addend = gemm.addend.map(Operand.init)
    bias = gemm.bias.map(Operand.init)
  }
}
