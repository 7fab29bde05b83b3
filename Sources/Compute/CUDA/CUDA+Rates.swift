import Basics
import CKernels

extension CUDA {
  /// Times one product and copies within the device, to the host and back, some milliseconds in all. Takes 224 MB of
  /// the device's memory and 64 MB of the host's meanwhile.
  func measureRates() throws(SwiftletError) -> DeviceRates {
    let size = 4096
    let matrixBytes = size * size * DType.bf16.size
    let (copied, moved) = (2 * matrixBytes, 3 * matrixBytes)
    // Copies within the device that its cache cannot hold.
    let memory = try allocate(bytes: 2 * moved)
    let workspace = try allocate(bytes: Gemm.workspaceBytes(m: size, n: size))
    let host = try allocateOnHost(bytes: copied)
    Self.fill(host)
    let address = UInt(bitPattern: memory.base)
    let hostAddress = UInt(bitPattern: host.base)
    let timer = try StreamTimer(device, stream)
    /// Seconds of `body`, which is run thrice: the first time warms up.
    func seconds(_ body: () -> Void) throws(SwiftletError) -> Double {
      body()
      return try Double(timer.milliseconds { for _ in 0..<2 { body() } }) / 2000
    }
    func copySeconds(_ from: UInt, _ to: UInt, _ bytes: Int) throws(SwiftletError) -> Double {
      try seconds {
        start("timing a copy") { $0.cuMemcpyAsync(UInt64(to), UInt64(from), bytes, stream) }
      }
    }
    func matrix(_ index: Int) -> Tensor {
      Tensor(memory, offset: index * matrixBytes, rows: size, columns: size, dtype: .bf16)
    }
    // First, as it brings the matrices.
    let fromHost = try copySeconds(hostAddress, address, copied)
    let toHost = try copySeconds(address, hostAddress, copied)
    let product = try seconds {
      run(
        Gemm(a: matrix(0), b: matrix(1), bTransposed: true, out: matrix(2)),
        workspace: UInt(bitPattern: workspace.base))
    }
    let within = try copySeconds(address, address + UInt(moved), moved)
    try synchronize()
    return withExtendedLifetime((memory, workspace, host)) {
      DeviceRates(
        operations: 2 * Double(size * size * size) / product, memory: 2 * Double(moved) / within,
        toHost: Double(copied) / toHost, fromHost: Double(copied) / fromHost)
    }
  }

  /// Writes bf16 numbers of magnitude 0.5 to 1 with changing bits: a GPU multiplies zeros faster than what models hold.
  private static func fill(_ buffer: Buffer) {
    let count = min(buffer.count, 1 << 20)
    let numbers = buffer.pointer(to: UInt16.self)
    for index in 0..<count / 2 {
      let bits = UInt16(truncatingIfNeeded: (UInt64(index) &* 0x9E37_79B9_7F4A_7C15) >> 32)
      numbers[index] = 0x3f00 | bits & 0x807f
    }
    for start in stride(from: count, to: buffer.count, by: count) {
      (buffer.base + start).copyMemory(from: buffer.base, byteCount: min(count, buffer.count - start))
    }
  }
}
