import Basics
import CKernels
import Foundation

/// Compiles CUDA sources for one architecture, and keeps the results on disk.
///
/// `Sendable` because NVRTC compiles programs of several threads at once, and its table of functions does not change.
struct KernelCompiler: @unchecked Sendable {
  let nvrtc: sw_nvrtc
  /// As NVRTC names it: sm_90a.
  let architecture: String
  /// Where compiled kernels are kept; nil to keep none.
  let cacheFolder: String?

  /// `~/.cache/swiftlet/kernels`, or where XDG_CACHE_HOME says.
  static var defaultCacheFolder: String {
    let environment = ProcessInfo.processInfo.environment
    let base = environment["XDG_CACHE_HOME"] ?? (environment["HOME"] ?? "/tmp") + "/.cache"
    return base + "/swiftlet/kernels"
  }

  /// The file's machine code, from the cache if it is there.
  ///
  /// - Throws: `.unavailable` with the compiler's message, which names the line.
  func cubin(_ source: KernelSource) throws(SwiftletError) -> [UInt8] {
    try cubin(source.rawValue, source.text)
  }

  func cubin(_ name: String, _ text: String) throws(SwiftletError) -> [UInt8] {
    let path = cacheFolder.map { "\($0)/\(key(name, text)).cubin" }
    if let path, let cached = FileManager.default.contents(atPath: path), !cached.isEmpty {
      return Array(cached)
    }
    let cubin = try compile(name, text)
    if let path, let cacheFolder {
      // A cache that cannot be written costs time, nothing else.
      try? FileManager.default.createDirectory(atPath: cacheFolder, withIntermediateDirectories: true)
      try? Data(cubin).write(to: URL(filePath: path), options: .atomic)
    }
    return cubin
  }

  /// A hash of everything the machine code follows from.
  private func key(_ name: String, _ source: String) -> String {
    var (major, minor): (Int32, Int32) = (0, 0)
    _ = nvrtc.nvrtcVersion(&major, &minor)
    let headers = KernelHeader.allCases.map(\.text)
    let text = (headers + [source, "\(options)", "\(major).\(minor)"]).joined(separator: "\0")
    let hash = SHA256.hash(text.utf8).prefix(12).map {
      String($0 >> 4, radix: 16) + String($0 & 15, radix: 16)
    }
    return "\(name)-\(architecture)-\(hash.joined())"
  }

  private var options: [String] {
    ["--gpu-architecture=\(architecture)", "--std=c++17", "--extra-device-vectorization", "-default-device"]
  }

  private func compile(_ name: String, _ source: String) throws(SwiftletError) -> [UInt8] {
    var program: UnsafeMutableRawPointer?
    let headers = KernelHeader.allCases.map { strdup($0.text) }
    let names = KernelHeader.allCases.map { strdup($0.fileName) }
    defer { for text in headers + names { free(text) } }
    let status = nvrtc.nvrtcCreateProgram(
      &program, source, "\(name).cu", Int32(headers.count),
      headers.map { UnsafePointer($0) }, names.map { UnsafePointer($0) })
    guard status == 0, let program else {
      throw SwiftletError(
        .unavailable, "NVRTC makes no program of \(name).cu (error \(status))",
        remedy: "Install it anew: \(CUDALibrary.nvrtc.remedy) --force-reinstall")
    }
    defer {
      var program: UnsafeMutableRawPointer? = program
      _ = nvrtc.nvrtcDestroyProgram(&program)
    }
    let arguments = options.map { strdup($0) }
    defer { for argument in arguments { free(argument) } }
    let result = nvrtc.nvrtcCompileProgram(
      program, Int32(arguments.count), arguments.map { UnsafePointer($0) })
    guard result == 0 else {
      throw SwiftletError(
        .unavailable,
        "\(name).cu does not compile for \(architecture) (NVRTC error \(result)):\n\(log(of: program))",
        remedy: "This is a defect, or NVRTC is older than the GPU: \(CUDALibrary.nvrtc.remedy) --upgrade")
    }
    return try code(of: program, name)
  }

  private func code(of program: UnsafeMutableRawPointer, _ name: String) throws(SwiftletError) -> [UInt8] {
    var size = 0
    var status = nvrtc.nvrtcGetCUBINSize(program, &size)
    let code = [UInt8](unsafeUninitializedCapacity: size) { bytes, count in
      if status == 0 {
        status = bytes.withMemoryRebound(to: CChar.self) { nvrtc.nvrtcGetCUBIN(program, $0.baseAddress) }
      }
      count = status == 0 ? size : 0
    }
    guard !code.isEmpty else {
      throw SwiftletError(
        .unavailable, "NVRTC has no machine code of \(name).cu for \(architecture) (error \(status))",
        remedy: "\(CUDALibrary.nvrtc.remedy) --upgrade")
    }
    return code
  }

  private func log(of program: UnsafeMutableRawPointer) -> String {
    var size = 0
    _ = nvrtc.nvrtcGetProgramLogSize(program, &size)
    var log = [CChar](repeating: 0, count: size + 1)
    _ = nvrtc.nvrtcGetProgramLog(program, &log)
    return log.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
  }
}
