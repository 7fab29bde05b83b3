import Basics
import CKernels

/// What this machine has for CUDA, for `swiftlet doctor`.
public struct CUDAReport: Sendable {
  /// One of the libraries.
  public struct Library: Sendable {
    public let library: CUDALibrary
    /// Where it was found; nil when it cannot be used.
    public let path: String?
    /// As the library says; nil when it does not.
    public let version: String?
    /// Why it cannot be used.
    public let problem: SwiftletError?
  }

  /// One GPU.
  public struct Device: Sendable {
    public let ordinal: Int
    public let name: String
    public let computeCapability: String
    public let memoryBytes: Int
    public let freeBytes: Int
    /// What is used on it: fused attention needs cuDNN and compute capability 8.0, FP8 products 8.9.
    public let enabled: [String]
  }

  public let libraries: [Library]
  public let devices: [Device]

  public init() {
    let search = LibrarySearch(folders: [])
    libraries = CUDALibrary.allCases.map { Self.library($0, search) }
    guard let opened = try? CUDALibraries() else {
      devices = []
      return
    }
    devices = (0..<CUDADevice.count).compactMap { try? CUDADevice($0, opened) }.map { device in
      let capability = 10 * device.computeCapability.major + device.computeCapability.minor
      let (free, total) = device.memory
      return Device(
        ordinal: device.ordinal, name: device.name,
        computeCapability: "\(device.computeCapability.major).\(device.computeCapability.minor)",
        memoryBytes: total, freeBytes: free,
        enabled: ["kernels for \(device.architecture)"]
          + (opened.dnn != nil && capability >= 80 ? ["cuDNN attention"] : ["own attention"]))
    }
  }

  private static func library(_ library: CUDALibrary, _ search: LibrarySearch) -> Library {
    do throws(SwiftletError) {
      var paths: [CUDALibrary: String] = [:]
      let version: String?
      switch library {
      case .driver:
        let table = try search.table(library, &paths, sw_cuda_driver_load)
        var number: Int32 = 0
        version =
          table.cuInit(0) == 0 && table.cuDriverGetVersion(&number) == 0
          ? "CUDA \(number / 1000).\(number % 1000 / 10)" : nil
      case .nvrtc:
        let table = try search.table(library, &paths, sw_nvrtc_load)
        var (major, minor): (Int32, Int32) = (0, 0)
        version = table.nvrtcVersion(&major, &minor) == 0 ? "\(major).\(minor)" : nil
      case .blas:
        let number = try search.table(library, &paths, sw_cublaslt_load).cublasLtGetVersion()
        version = "\(number / 10000).\(number / 100 % 100).\(number % 100)"
      case .dnn:
        let number = try search.table(library, &paths, sw_cudnn_load).cudnnGetVersion()
        version = "\(number / 10000).\(number / 100 % 100).\(number % 100)"
      }
      return Library(library: library, path: paths[library], version: version, problem: nil)
    } catch {
      return Library(library: library, path: nil, version: nil, problem: error)
    }
  }
}
