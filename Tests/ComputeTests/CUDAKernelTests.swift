import Basics
import CKernels
import Foundation
import Testing

@testable import Compute

/// What can be known of the CUDA side without a GPU: that every kernel compiles for every generation, that compiled
/// kernels are kept, and that what is missing is named.
@Suite struct CUDAKernelTests {
  private static let nvrtc: sw_nvrtc? = {
    var paths: [CUDALibrary: String] = [:]
    return try? LibrarySearch(folders: []).table(.nvrtc, &paths, sw_nvrtc_load)
  }()

  /// From Turing to consumer Blackwell.
  static let architectures = ["sm_75", "sm_80", "sm_86", "sm_89", "sm_90a", "sm_100a", "sm_120a"]

  @Test(
    .enabled(if: nvrtc != nil, "SKIPPED: NVRTC cannot be opened (pip install nvidia-cuda-nvrtc)"),
    arguments: architectures)
  func compile(for architecture: String) throws {
    let nvrtc = try #require(Self.nvrtc)
    let compiler = KernelCompiler(nvrtc: nvrtc, architecture: architecture, cacheFolder: nil)
    for source in KernelSource.allCases { #expect(try !compiler.cubin(source).isEmpty, "\(source)") }
  }

  @Test(.enabled(if: nvrtc != nil, "SKIPPED: NVRTC cannot be opened"))
  func errorsNameTheLine() throws {
    let compiler = KernelCompiler(nvrtc: try #require(Self.nvrtc), architecture: "sm_80", cacheFolder: nil)
    let error = #expect(throws: SwiftletError.self) {
      try compiler.cubin("broken", "#include \"common.cuh\"\nKERNEL broken() { undeclared = 1; }\n")
    }
    #expect(error?.message.contains("broken.cu(2)") == true)
    #expect(error?.message.contains("undeclared") == true)
  }

  @Test(.enabled(if: nvrtc != nil, "SKIPPED: NVRTC cannot be opened"))
  func keepsWhatWasCompiled() throws {
    let folder = FileManager.default.temporaryDirectory.path + "/swiftlet-kernels-\(UUID().uuidString)"
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let compiler = KernelCompiler(nvrtc: try #require(Self.nvrtc), architecture: "sm_80", cacheFolder: folder)
    let source = "extern \"C\" __global__ void nothing() {}"
    let first = try compiler.cubin("nothing", source)
    let files = try FileManager.default.contentsOfDirectory(atPath: folder)
    #expect(files.count == 1)
    // What lies there is taken, not made again.
    try Data([1, 2, 3]).write(to: URL(filePath: folder + "/" + files[0]))
    #expect(try compiler.cubin("nothing", source) == [1, 2, 3])
    // Other text is another kernel.
    #expect(try compiler.cubin("nothing", source + " ") != [1, 2, 3])
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder).count == 2)
    #expect(!first.isEmpty)
  }

  @Test(arguments: ["auto", "cpu", "cuda", "cuda:0", "cuda:3"]) func devicesAreNamed(_ text: String) {
    #expect(DeviceChoice(text)?.text == (text == "cuda" ? "cuda:0" : text))
  }

  @Test(arguments: ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "CPU"])
  func otherNamesAreNone(_ text: String) { #expect(DeviceChoice(text) == nil) }

  @Test(.enabled(if: !CUDA.isPresent, "SKIPPED: this machine has a GPU"))
  func whatIsMissingIsNamed() throws {
    let error = #expect(throws: SwiftletError.self) { try DeviceChoice.cuda(0).open() }
    #expect(error?.code == .unavailable)
    #expect(error?.remedy != nil)
    #expect(try DeviceChoice.auto.open() is CPU)
  }
}
