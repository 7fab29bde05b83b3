import Basics
import Foundation
import Testing

@testable import Compute

/// What users are told where something of CUDA's is missing, too old or broken: by libraries that only answer so.
struct CUDAErrorTests {
  /// A driver, NVRTC and cuBLASLt in a folder of their own.
  private struct Machine {
    let folder: URL

    /// - Parameter answers: see library_stubs.c.
    init(initial: Int = 0, served: Int = 13000, devices: Int = 1, taking: Int = 100) throws {
      folder = FileManager.default.temporaryDirectory.appending(path: "swiftlet-\(UUID().uuidString)")
      try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
      let sources = URL(filePath: #filePath).deletingLastPathComponent()
      try Self.compile(
        ["INIT=\(initial)", "SERVED=\(served)", "DEVICES=\(devices)", "TAKING=\(taking)"].map { "-D" + $0 }
          + ["-I" + sources.appending(path: "../../Sources/CKernels/include").path]
          + [sources.appending(path: "Fixtures/library_stubs.c").path],
        to: folder.appending(path: "libcuda.so.1"))
      for name in ["libnvrtc.so.12", "libcublasLt.so.12"] {
        try FileManager.default.copyItem(
          at: folder.appending(path: "libcuda.so.1"), to: folder.appending(path: name))
      }
    }

    static func compile(_ arguments: [String], to library: URL) throws {
      let compiler = Process()
      compiler.executableURL = URL(filePath: "/usr/bin/env")
      compiler.arguments = ["cc", "-shared", "-fPIC", "-w", "-o", library.path] + arguments
      try compiler.run()
      compiler.waitUntilExit()
      try #require(compiler.terminationStatus == 0)
    }

    func remove() { try? FileManager.default.removeItem(at: folder) }

    /// Why its GPU cannot be taken into use.
    func error(_ ordinal: Int = 0) -> SwiftletError? {
      do throws(SwiftletError) {
        _ = try CUDADevice(ordinal, CUDALibraries(folders: [folder.path]))
        return nil
      } catch { return error }
    }
  }

  @Test func namesWhatTheDriverLacks() throws {
    func check(_ machine: Machine, ordinal: Int = 0, _ message: String, _ remedy: String) {
      defer { machine.remove() }
      let error = machine.error(ordinal)
      #expect(error?.code == .unavailable)
      #expect(error?.message.contains(message) == true, "\(String(describing: error))")
      #expect(error?.remedy?.contains(remedy) == true, "\(String(describing: error))")
    }
    check(try Machine(served: 11080), "CUDA 11.8; 12.0 is needed", "Install NVIDIA's driver")
    check(try Machine(initial: 803), "as the driver says", "restart the machine")
    check(try Machine(initial: 100), "as the driver says", "device cpu")
    check(try Machine(devices: 0), "there is no GPU 0", "device cpu")
    check(try Machine(devices: 2), ordinal: 2, "there is no GPU 2: this machine has 2", "cuda:0 to cuda:1")
    check(try Machine(taking: 46), "opening GPU 0", "nvidia-smi")
  }

  /// Libraries of a later CUDA than the driver serves do not run.
  @Test func looksForLibrariesThatTheDriverServes() throws {
    let machine = try Machine(served: 12040)
    defer { machine.remove() }
    let libraries = try CUDALibraries(folders: [machine.folder.path])
    #expect(libraries.paths[.nvrtc] == machine.folder.path + "/libnvrtc.so.12")
    #expect(libraries.driver.generation == 12)
    let search = LibrarySearch(folders: [machine.folder.path], generation: 12)
    #expect(search.candidates(.nvrtc).allSatisfy { !$0.hasSuffix(".13") })
    #expect(CUDALibrary.nvrtc.remedy(for: 12).hasSuffix("-cu12"))
    let report = CUDAReport(folders: [machine.folder.path])
    #expect(report.devices.isEmpty && report.problem?.message.contains("opening GPU 0") == true)
    #expect(report.libraries.first { $0.library == .driver }?.version == "CUDA 12.4")
  }

  @Test func namesAFunctionThatALibraryLacks() throws {
    let machine = try Machine()
    defer { machine.remove() }
    // A library, but not the one it is named after.
    try Machine.compile(
      ["-x", "c", "/dev/null"], to: machine.folder.appending(path: "libcuda.so.1"))
    let error = machine.error()
    #expect(error?.message.contains("libcuda.so.1 is too old: it has no cuInit") == true)
    #expect(error?.remedy?.contains("driver") == true)
  }

  /// What the loader says of a file that is there is told; of one that is not, only that.
  @Test func tellsWhatIsBrokenFromWhatIsMissing() throws {
    let folder = FileManager.default.temporaryDirectory.appending(path: "swiftlet-\(UUID().uuidString)")
    defer { try? FileManager.default.removeItem(at: folder) }
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    func error() -> SwiftletError? {
      #expect(throws: SwiftletError.self) {
        try LibrarySearch(folders: [folder.path], generation: 0).open(.blas)
      }
    }
    #expect(error()?.message.contains("was not found") == true)
    // The next place would serve.
    guard (try? LibrarySearch(folders: [], generation: 12).open(.blas)) == nil else { return }
    try Data("not a library".utf8).write(to: folder.appending(path: "libcublasLt.so.12"))
    let broken = #expect(throws: SwiftletError.self) {
      try LibrarySearch(folders: [folder.path], generation: 12).open(.blas)
    }
    #expect(broken?.message.contains("libcublasLt.so.12") == true)
    #expect(broken?.message.contains("CUDA 12") == true)
    #expect(broken?.remedy == "pip install nvidia-cublas-cu12")
  }

  /// CUresults, and a word of what to do.
  @Test(
    arguments: [
      (2, "nvidia-smi"), (34, "stub"), (46, "another cuda:N"), (100, "device cpu"),
      (200, "update the driver"),
      (214, "checkpoint is intact"), (700, "checkpoint is intact"), (719, "Xid"), (802, "fabricmanager"),
      (803, "restart the machine"), (804, "compat"), (999, "checkpoint is intact"), (1, "defect"),
    ] as [(Int32, String)])
  func saysWhatToDo(_ status: Int32, _ word: String) {
    let error = SwiftletError.cuda(status, "waiting for the GPU", reason: "an illegal address")
    #expect(error.code == (status == 2 ? .outOfMemory : .unavailable))
    #expect(error.message.hasPrefix("waiting for the GPU: "))
    #expect(error.remedy?.contains(word) == true, "\(error)")
  }
}
