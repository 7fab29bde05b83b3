import CKernels

/// One kind of product as cuBLASLt knows it: its description, its matrices' layouts, and the algorithms that serve
/// it, best first.
///
/// cuBLASLt's matrices are column-major: a row-major matrix is its transpose there, so that outᵀ = op(b)ᵀ op(a)ᵀ is
/// computed, with `b` as cuBLASLt's A and `a` as its B. Source for all numbers: cublasLt.h, whose names stand beside
/// them.
final class GemmPlan {
  typealias Algorithm = sw_matmul_heuristic

  var algorithms: [Algorithm] = []
  private let blas: sw_cublaslt
  private var description: UnsafeMutableRawPointer?
  private var a, b, addend, out: UnsafeMutableRawPointer?

  init(_ key: GemmKey, _ blas: sw_cublaslt, _ handle: UnsafeMutableRawPointer) {
    self.blas = blas
    // CUBLAS_COMPUTE_32F: float sums, and of f32 operands full products. CUDA_R_32F: the type of alpha and beta.
    _ = blas.cublasLtMatmulDescCreate(&description, 68, 0)
    set(3, key.bTransposed ? Int32(1) : 0)  // CUBLASLT_MATMUL_DESC_TRANSA: CUBLAS_OP_T or _N
    set(4, key.aTransposed ? Int32(1) : 0)  // CUBLASLT_MATMUL_DESC_TRANSB
    if let bias = key.bias {
      set(7, UInt32(4))  // CUBLASLT_MATMUL_DESC_EPILOGUE: CUBLASLT_EPILOGUE_BIAS
      set(26, bias.dtype.cudaType)  // CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE
      set(8, UInt64(bias.alignment))  // CUBLASLT_MATMUL_DESC_BIAS_POINTER, here for its alignment
    }
    if key.a.dtype == .f8 {
      // CUBLASLT_MATMUL_DESC_A_SCALE_MODE and _B_: CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F, a scale for each row.
      set(31, Int32(3))
      set(32, Int32(3))
      setScales(a: 256, b: 256)  // here for their alignment
    }
    let (m, n, k) = (key.m, key.n, key.k)
    b = layout(key.b, rows: key.bTransposed ? n : k, columns: key.bTransposed ? k : n)
    a = layout(key.a, rows: key.aTransposed ? k : m, columns: key.aTransposed ? m : k)
    out = layout(key.out, rows: m, columns: n)
    addend = key.addend.map { layout($0, rows: m, columns: n) } ?? out
    algorithms = candidates(key, handle)
  }

  deinit {
    if addend != out { _ = blas.cublasLtMatrixLayoutDestroy(addend) }
    for layout in [a, b, out] { _ = blas.cublasLtMatrixLayoutDestroy(layout) }
    _ = blas.cublasLtMatmulDescDestroy(description)
  }

  /// - Returns: a cublasStatus_t, 0 when the product was started.
  func start(
    _ gemm: Gemm, _ algorithm: Algorithm, workspace: UInt, on stream: UnsafeMutableRawPointer,
    _ handle: UnsafeMutableRawPointer
  ) -> Int32 {
    if let bias = gemm.bias { set(8, UInt64(bias.address)) }
    if let scales = gemm.scales { setScales(a: scales.a, b: scales.b) }
    var alpha = gemm.alpha
    var beta: Float = gemm.addend == nil ? 0 : 1
    let c = sw_device_address((gemm.addend ?? gemm.out).address)
    return withUnsafeBytes(of: algorithm.algorithm) {
      blas.cublasLtMatmul(
        handle, description, &alpha, sw_device_address(gemm.b.address), b, sw_device_address(gemm.a.address),
        a,
        &beta, c, addend, sw_device_address(gemm.out.address), out,
        $0.baseAddress?.assumingMemoryBound(to: UInt64.self), sw_device_address(workspace),
        Gemm.workspaceBytes(m: gemm.m, n: gemm.n), stream)
    }
  }

  /// Up to eight algorithms that serve the product, the one that should be fastest first.
  private func candidates(_ key: GemmKey, _ handle: UnsafeMutableRawPointer) -> [Algorithm] {
    var preference: UnsafeMutableRawPointer?
    guard blas.cublasLtMatmulPreferenceCreate(&preference) == 0 else { return [] }
    defer { _ = blas.cublasLtMatmulPreferenceDestroy(preference) }
    func prefer<Value>(_ attribute: Int32, _ value: Value) {
      withUnsafeBytes(of: value) {
        _ = blas.cublasLtMatmulPreferenceSetAttribute(preference, attribute, $0.baseAddress, $0.count)
      }
    }
    prefer(1, UInt64(Gemm.workspaceBytes(m: key.m, n: key.n)))  // CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES
    // CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK: CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE. Parts of a split sum
    // are added in float; the other schemes round them to the output's type.
    prefer(3, UInt32(2))
    prefer(5, key.b.alignment)  // CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES
    prefer(6, key.a.alignment)  // CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES
    prefer(7, (key.addend ?? key.out).alignment)  // CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES
    prefer(8, key.out.alignment)  // CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES
    let wanted = 8
    return [Algorithm](unsafeUninitializedCapacity: wanted) { results, count in
      results.initialize(repeating: Algorithm())
      var found: Int32 = 0
      let status = blas.cublasLtMatmulAlgoGetHeuristic(
        handle, description, b, a, addend, out, preference, Int32(wanted), results.baseAddress, &found)
      count = status == 0 ? Int(found) : 0
    }.filter { $0.state == 0 }  // CUBLAS_STATUS_SUCCESS
  }

  /// The layout of a row-major (rows, columns) matrix: column-major, its transpose.
  private func layout(_ operand: GemmKey.Operand, rows: Int, columns: Int) -> UnsafeMutableRawPointer? {
    var layout: UnsafeMutableRawPointer?
    _ = blas.cublasLtMatrixLayoutCreate(
      &layout, operand.dtype.cudaType, UInt64(columns), UInt64(rows), Int64(operand.stride))
    return layout
  }

  /// Addresses of the scales of the product's a and b.
  private func setScales(a: UInt, b: UInt) {
    set(17, UInt64(b))  // CUBLASLT_MATMUL_DESC_A_SCALE_POINTER
    set(18, UInt64(a))  // CUBLASLT_MATMUL_DESC_B_SCALE_POINTER
  }

  private func set<Value>(_ attribute: Int32, _ value: Value) {
    withUnsafeBytes(of: value) {
      _ = blas.cublasLtMatmulDescSetAttribute(description, attribute, $0.baseAddress, $0.count)
    }
  }
}

extension DType {
  /// As a cudaDataType_t.
  fileprivate var cudaType: Int32 {
    switch self {
    case .f32: 0  // CUDA_R_32F
    case .bf16: 14  // CUDA_R_16BF
    case .f8: 28  // CUDA_R_8F_E4M3
    case .f64, .i32, .u8: preconditionFailure("no products of \(self)")
    }
  }
}
