import Basics
import Foundation

/// One of NVIDIA's libraries.
public enum CUDALibrary: String, Sendable, CaseIterable {
  case driver
  case nvrtc
  case blas = "cublaslt"
  case dnn = "cudnn"

  /// File names, the best first.
  var names: [String] {
    switch self {
    case .driver: ["libcuda.so.1"]
    case .nvrtc: ["libnvrtc.so.13", "libnvrtc.so.12"]
    case .blas: ["libcublasLt.so.13", "libcublasLt.so.12"]
    case .dnn: ["libcudnn.so.9"]
    }
  }

  /// Folders of pip's wheels that hold it, below `site-packages/nvidia`.
  fileprivate var wheelFolders: [String] {
    switch self {
    case .driver: []
    case .nvrtc: ["cu13/lib", "cuda_nvrtc/lib"]
    case .blas: ["cu13/lib", "cublas/lib"]
    case .dnn: ["cudnn/lib"]
    }
  }

  /// The one command that installs it.
  public var remedy: String {
    switch self {
    case .driver: "Install NVIDIA's driver, 525 or later (Ubuntu: sudo ubuntu-drivers install)."
    case .nvrtc: "pip install nvidia-cuda-nvrtc"
    case .blas: "pip install nvidia-cublas"
    case .dnn: "pip install nvidia-cudnn-cu13"
    }
  }
}

/// Finds libraries: in the folders given, in the active Python environment's packages, in those of the `python3` on
/// PATH, in the toolkit, and at last by bare name, where the system's loader looks.
struct LibrarySearch {
  private let folders: [String]
  private let sitePackages: [String]

  init(folders: [String]) {
    self.folders = folders
    let environment = ProcessInfo.processInfo.environment
    let active = ["VIRTUAL_ENV", "CONDA_PREFIX"].compactMap { environment[$0] }
    let onPath = (environment["PATH"] ?? "").split(separator: ":")
      .first { FileManager.default.isExecutableFile(atPath: "\($0)/python3") }
      .map { ($0 as NSString).deletingLastPathComponent }
    let user = environment["HOME"].map { "\($0)/.local" }
    sitePackages = (active + [onPath, user, "/usr/local"].compactMap(\.self)).flatMap(Self.packages)
  }

  /// The package folders below an environment's prefix.
  private static func packages(_ prefix: String) -> [String] {
    let versions = (try? FileManager.default.contentsOfDirectory(atPath: "\(prefix)/lib")) ?? []
    return versions.filter { $0.hasPrefix("python3") }.sorted().reversed().flatMap {
      ["\(prefix)/lib/\($0)/site-packages", "\(prefix)/lib/\($0)/dist-packages"]
    }
  }

  /// Every path that is tried for `library`, in order.
  func candidates(_ library: CUDALibrary) -> [String] {
    let wheels = sitePackages.flatMap { site in library.wheelFolders.map { "\(site)/nvidia/\($0)" } }
    let toolkit = ["/usr/local/cuda/lib64", "/usr/local/cuda/targets/x86_64-linux/lib"]
    let driver = ["/usr/local/nvidia/lib64"]
    let places = folders + (library == .driver ? [] : wheels + toolkit)
    return library.names.flatMap { name in
      places.map { "\($0)/\(name)" }.filter { access($0, R_OK) == 0 }
    } + library.names + (library == .driver ? driver.map { "\($0)/libcuda.so.1" } : [])
  }

  /// Opens the first candidate that can be.
  func open(_ library: CUDALibrary) throws(SwiftletError) -> (handle: UnsafeMutableRawPointer, path: String) {
    var reasons: [String] = []
    for path in candidates(library) {
      if library == .nvrtc { preloadBuiltins(beside: path) }
      if let handle = dlopen(path, RTLD_NOW | RTLD_LOCAL) { return (handle, path) }
      reasons.append(String(cString: dlerror()))
    }
    throw SwiftletError(
      .unavailable, "\(library.names[0]) cannot be opened: \(reasons.first ?? "it was not found")",
      remedy: library.remedy)
  }

  /// NVRTC's wheel does not say where its second library lies, so that must be in the process already.
  private func preloadBuiltins(beside path: String) {
    let folder = (path as NSString).deletingLastPathComponent
    let files = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
    for file in files where file.hasPrefix("libnvrtc-builtins.so") {
      dlopen("\(folder)/\(file)", RTLD_NOW | RTLD_GLOBAL)
    }
  }
}
