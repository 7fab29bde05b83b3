import Basics
import CKernels

/// One GPU: its context, what it can do, and its errors in words.
///
/// `Sendable` because nothing changes after `init`; the driver may be called from any thread that has made the context
/// current.
final class CUDADevice: @unchecked Sendable {
  let libraries: CUDALibraries
  let ordinal: Int
  let name: String
  /// Major and minor: (9, 0) for Hopper.
  let computeCapability: (major: Int, minor: Int)
  let multiprocessors: Int
  /// Shared memory that one block may ask for.
  let sharedBytes: Int
  /// CUDA's version that the driver serves: 13.0 is 13000.
  let driverVersion: Int
  private let handle: Int32
  private let context: UnsafeMutableRawPointer

  var driver: sw_cuda_driver { libraries.driver }

  init(_ ordinal: Int, _ libraries: CUDALibraries) throws(SwiftletError) {
    let driver = libraries.driver
    func check(_ status: Int32, _ what: String) throws(SwiftletError) {
      if status != 0 { throw Self.error(status, what, driver) }
    }
    try check(driver.cuInit(0), "starting CUDA")
    var version: Int32 = 0
    try check(driver.cuDriverGetVersion(&version), "asking for the driver's version")
    guard version >= 12000 else {
      throw SwiftletError(
        .unavailable,
        "the NVIDIA driver serves CUDA \(version / 1000).\(version % 1000 / 10); 12.0 is needed",
        remedy: CUDALibrary.driver.remedy)
    }
    var count: Int32 = 0
    try check(driver.cuDeviceGetCount(&count), "counting GPUs")
    guard (0..<Int(count)).contains(ordinal) else {
      throw SwiftletError(
        .unavailable, "there is no GPU \(ordinal): this machine has \(count)",
        remedy: count > 0 ? "Choose cuda:0 to cuda:\(count - 1)." : "Choose the device cpu.")
    }
    var handle: Int32 = 0
    try check(driver.cuDeviceGet(&handle, Int32(ordinal)), "opening GPU \(ordinal)")
    func attribute(_ number: Int32) throws(SwiftletError) -> Int {
      var value: Int32 = 0
      try check(driver.cuDeviceGetAttribute(&value, number, handle), "asking for attribute \(number)")
      return Int(value)
    }
    // Numbers of CUdevice_attribute.
    computeCapability = (try attribute(75), try attribute(76))
    multiprocessors = try attribute(16)
    sharedBytes = try attribute(97)
    guard computeCapability.major >= 7 else {
      throw SwiftletError(
        .unsupported,
        "GPU \(ordinal) has compute capability \(computeCapability.major).\(computeCapability.minor); "
          + "7.0 (Volta) is needed", remedy: "Choose the device cpu.")
    }
    var text = [CChar](repeating: 0, count: 256)
    try check(driver.cuDeviceGetName(&text, 255, handle), "asking for the GPU's name")
    name = text.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
    var context: UnsafeMutableRawPointer?
    try check(driver.cuDevicePrimaryCtxRetain(&context, handle), "taking GPU \(ordinal) into use")
    guard let context else { preconditionFailure("the driver gave no context") }
    self.context = context
    self.handle = handle
    self.ordinal = ordinal
    self.libraries = libraries
    driverVersion = Int(version)
    makeCurrent()
  }

  /// GPUs of this machine; 0 without a driver.
  static var count: Int {
    var paths: [CUDALibrary: String] = [:]
    let driver = try? LibrarySearch(folders: []).table(.driver, &paths, sw_cuda_driver_load)
    return driver?.deviceCount ?? 0
  }

  deinit { _ = driver.cuDevicePrimaryCtxRelease_v2(handle) }

  /// NVRTC's name of the architecture. With an "a": instructions that only this generation has.
  var architecture: String {
    let (major, minor) = computeCapability
    return "sm_\(major)\(minor)" + (major >= 9 ? "a" : "")
  }

  /// Makes the calling thread use this GPU.
  func makeCurrent() { _ = driver.cuCtxSetCurrent(context) }

  /// Bytes free and in all, other processes' use counted.
  var memory: (free: Int, total: Int) {
    makeCurrent()
    var (free, total) = (0, 0)
    _ = driver.cuMemGetInfo_v2(&free, &total)
    return (free, total)
  }

  func error(_ status: Int32, _ what: String) -> SwiftletError { Self.error(status, what, driver) }

  private static func error(_ status: Int32, _ what: String, _ driver: sw_cuda_driver) -> SwiftletError {
    var text: UnsafePointer<CChar>?
    _ = driver.cuGetErrorString(status, &text)
    return .cuda(status, what, reason: text.map { String(cString: $0) } ?? "unknown error")
  }
}
