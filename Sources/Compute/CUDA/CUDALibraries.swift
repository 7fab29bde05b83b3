import Basics
import CKernels

/// NVIDIA's libraries, opened at run time: nothing of CUDA is needed to build or to start Swiftlet.
///
/// `Sendable` because the tables are not changed once filled; the libraries may be called from any thread.
public final class CUDALibraries: @unchecked Sendable {
  public let driver: sw_cuda_driver
  public let nvrtc: sw_nvrtc
  public let blas: sw_cublaslt
  /// nil where there is none: attention then runs on a kernel of ours.
  public let dnn: sw_cudnn?
  /// Where each was found.
  public let paths: [CUDALibrary: String]

  /// - Parameter folders: looked in before all others.
  /// - Throws: `.unavailable`, naming what is missing and the command that installs it.
  public init(folders: [String] = []) throws(SwiftletError) {
    var paths: [CUDALibrary: String] = [:]
    driver = try LibrarySearch(folders: folders).table(.driver, &paths, sw_cuda_driver_load)
    let search = LibrarySearch(folders: folders, generation: driver.generation)
    nvrtc = try search.table(.nvrtc, &paths, sw_nvrtc_load)
    blas = try search.table(.blas, &paths, sw_cublaslt_load)
    dnn = try? search.table(.dnn, &paths, sw_cudnn_load)
    self.paths = paths
  }
}

extension sw_cuda_driver {
  /// The generation of CUDA that the driver serves, 12 or later; the newest when it does not say.
  var generation: Int {
    var version: Int32 = 0
    guard cuDriverGetVersion(&version) == 0 else { return CUDALibrary.newest }
    return max(12, Int(version) / 1000)
  }

  /// GPUs that the driver lets this process use.
  var deviceCount: Int {
    var count: Int32 = 0
    return cuInit(0) == 0 && cuDeviceGetCount(&count) == 0 ? Int(count) : 0
  }
}

extension LibrarySearch {
  /// A library's functions; notes where it was found.
  func table<Table>(
    _ library: CUDALibrary, _ paths: inout [CUDALibrary: String],
    _ load: (UnsafeMutableRawPointer, UnsafeMutablePointer<UnsafePointer<CChar>?>) -> Table
  ) throws(SwiftletError) -> Table {
    let (handle, path) = try open(library)
    var missing: UnsafePointer<CChar>?
    let table = load(handle, &missing)
    if let missing {
      throw SwiftletError(
        .unavailable, "\(path) is too old: it has no \(String(cString: missing))", remedy: library.remedy)
    }
    paths[library] = path
    return table
  }
}
