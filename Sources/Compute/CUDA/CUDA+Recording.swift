import Basics
import CKernels

/// Operations as a CUDA graph: started by one call, without the host's time for each of them.
///
/// `Sendable` because the driver lets any thread start and destroy a graph that no other uses.
final class CUDARecording: Recording, @unchecked Sendable {
  private let backend: CUDA
  private let executable: UnsafeMutableRawPointer

  init(_ backend: CUDA, _ executable: UnsafeMutableRawPointer) {
    self.backend = backend
    self.executable = executable
  }

  deinit {
    backend.device.makeCurrent()
    _ = backend.driver.cuGraphExecDestroy(executable)
  }

  func start() {
    backend.start("starting a recorded step") { $0.cuGraphLaunch(executable, backend.stream) }
  }
}

extension CUDA {
  public func record(_ body: () throws -> Void) throws -> (any Recording)? {
    try synchronize()
    // CU_STREAM_CAPTURE_MODE_RELAXED: libraries may load code while they are captured.
    start("beginning to record a step") { $0.cuStreamBeginCapture_v2(stream, 2) }
    let result = Result { try body() }
    var graph: UnsafeMutableRawPointer?
    let status = driver.cuStreamEndCapture(stream, &graph)
    try result.get()
    if let failure { throw failure }
    guard status == 0, let graph else { throw device.error(status, "recording a step") }
    defer { _ = driver.cuGraphDestroy(graph) }
    var executable: UnsafeMutableRawPointer?
    start("making a graph of a step") { $0.cuGraphInstantiateWithFlags(&executable, graph, 0) }
    if let failure { throw failure }
    guard let executable else { preconditionFailure("the driver gave no graph") }
    start("bringing a graph to the GPU") { $0.cuGraphUpload(executable, stream) }
    return CUDARecording(self, executable)
  }
}
