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
  /// Why a GPU cannot be used; nil where all can, and where there is no driver.
  public let problem: SwiftletError?

  /// - Parameter folders: looked in for libraries before all other places.
  public init(folders: [String] = []) {
    var paths: [CUDALibrary: String] = [:]
    let driver = try? LibrarySearch(folders: folders).table(.driver, &paths, sw_cuda_driver_load)
    let search = LibrarySearch(folders: folders, generation: driver?.generation ?? CUDALibrary.newest)
    libraries = CUDALibrary.allCases.map { Self.library($0, search) }
    guard driver != nil else {
      (devices, problem) = ([], nil)
      return
    }
    var devices: [Device] = []
    do throws(SwiftletError) {
      let opened = try CUDALibraries(folders: folders)
      // The first also where there is none: it says why.
      for ordinal in 0..<max(1, opened.driver.deviceCount) {
        devices.append(Device(try CUDADevice(ordinal, opened)))
      }
      problem = nil
    } catch { problem = error }
    self.devices = devices
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

extension CUDAReport.Device {
  fileprivate init(_ device: CUDADevice) {
    let (major, minor) = device.computeCapability
    ordinal = device.ordinal
    name = device.name
    computeCapability = "\(major).\(minor)"
    (freeBytes, memoryBytes) = device.memory
    let isFused = device.libraries.dnn != nil && major >= 8
    enabled = ["kernels for \(device.architecture)", isFused ? "cuDNN attention" : "own attention"]
  }
}
