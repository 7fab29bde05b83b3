import Basics
import Foundation

/// One of NVIDIA's libraries.
public enum CUDALibrary: String, Sendable, CaseIterable {
  case driver
  case nvrtc
  case blas = "cublaslt"
  case dnn = "cudnn"

  /// File names, the best first.
  ///
  /// - Parameter generation: of CUDA that the driver serves, 12 or 13; what was made for a later one does not run.
  func names(for generation: Int) -> [String] {
    let generations = [13, 12].filter { $0 <= generation }
    return switch self {
    case .driver: ["libcuda.so.1"]
    case .nvrtc: generations.map { "libnvrtc.so.\($0)" }
    case .blas: generations.map { "libcublasLt.so.\($0)" }
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
  public var remedy: String { remedy(for: Self.newest) }

  /// The same for a driver that serves this generation of CUDA.
  func remedy(for generation: Int) -> String {
    let isOld = generation < Self.newest
    return switch self {
    case .driver: "Install NVIDIA's driver, 525 or later (Ubuntu: sudo ubuntu-drivers install)."
    case .nvrtc: "pip install nvidia-cuda-nvrtc" + (isOld ? "-cu12" : "")
    case .blas: "pip install nvidia-cublas" + (isOld ? "-cu12" : "")
    case .dnn: "pip install nvidia-cudnn-cu" + (isOld ? "12" : "13")
    }
  }

  /// The newest generation of CUDA that is known.
  static let newest = 13
}

/// Finds libraries: in the folders given, in the active Python environment's packages, in those of the `python3` on
/// PATH, in the toolkit, and at last by bare name, where the system's loader looks.
struct LibrarySearch {
  private let folders: [String]
  private let sitePackages: [String]
  /// Of CUDA that the driver serves.
  private let generation: Int

  init(folders: [String], generation: Int = CUDALibrary.newest) {
    self.folders = folders
    self.generation = generation
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
    let names = library.names(for: generation)
    return names.flatMap { name in
      places.map { "\($0)/\(name)" }.filter { access($0, R_OK) == 0 }
    } + names + (library == .driver ? driver.map { "\($0)/libcuda.so.1" } : [])
  }

  /// Opens the first candidate that can be.
  func open(_ library: CUDALibrary) throws(SwiftletError) -> (handle: UnsafeMutableRawPointer, path: String) {
    var reason: String?
    for path in candidates(library) {
      if library == .nvrtc { preloadBuiltins(beside: path) }
      if let handle = dlopen(path, RTLD_NOW | RTLD_LOCAL) { return (handle, path) }
      // The loader's words where there is such a file, but not where there is none.
      let words = String(cString: dlerror())
      if !(words.hasPrefix("\(path):") && words.contains("No such file")) { reason = reason ?? words }
    }
    let name = library.names(for: generation).first ?? library.rawValue
    let served = generation < CUDALibrary.newest ? " (the driver serves CUDA \(generation))" : ""
    throw SwiftletError(
      .unavailable, "\(name)\(served) " + (reason.map { "cannot be opened: \($0)" } ?? "was not found"),
      remedy: library.remedy(for: generation))
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
