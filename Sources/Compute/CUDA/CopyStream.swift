import Basics
import CKernels

/// A stream of its own for copies beside the operations, with the events that tie it to theirs. Copies of one stream are
/// made one after the other.
///
/// Events work the same way while a graph is captured: `start` forks the capture, `finish` joins it.
final class CopyStream {
  private let device: CUDADevice
  private let stream: UnsafeMutableRawPointer
  /// Recorded on the operations' stream when copies are started.
  private let begun: UnsafeMutableRawPointer
  /// By number: recorded behind the copies.
  private var ended: [Int: UnsafeMutableRawPointer] = [:]

  init(_ device: CUDADevice) throws(SwiftletError) {
    device.makeCurrent()
    var stream: UnsafeMutableRawPointer?
    let status = device.driver.cuStreamCreate(&stream, 1)  // CU_STREAM_NON_BLOCKING
    guard status == 0, let stream else { throw device.error(status, "making a stream for copies") }
    var begun: UnsafeMutableRawPointer?
    let eventStatus = Self.makeEvent(&begun, device)
    guard eventStatus == 0, let begun else {
      _ = device.driver.cuStreamDestroy_v2(stream)
      throw device.error(eventStatus, "making an event")
    }
    self.device = device
    self.stream = stream
    self.begun = begun
  }

  deinit {
    device.makeCurrent()
    _ = device.driver.cuStreamSynchronize(stream)
    for event in ended.values { _ = device.driver.cuEventDestroy_v2(event) }
    _ = device.driver.cuEventDestroy_v2(begun)
    _ = device.driver.cuStreamDestroy_v2(stream)
  }

  /// Starts copies behind what was started on `main`.
  ///
  /// - Returns: a CUresult, as `finish` does.
  func start(_ copies: [MemoryCopy], number: Int, behind main: UnsafeMutableRawPointer) -> Int32 {
    let driver = device.driver
    var status: Int32 = 0
    func call(_ function: @autoclosure () -> Int32) { if status == 0 { status = function() } }
    if ended[number] == nil { call(Self.makeEvent(&ended[number], device)) }
    call(driver.cuEventRecord(begun, main))
    call(driver.cuStreamWaitEvent(stream, begun, 0))
    for copy in copies { call(driver.cuMemcpyAsync(UInt64(copy.to), UInt64(copy.from), copy.bytes, stream)) }
    call(driver.cuEventRecord(ended[number], stream))
    return status
  }

  /// Has what is started on `main` from here on wait for the copies.
  func finish(number: Int, before main: UnsafeMutableRawPointer) -> Int32 {
    device.driver.cuStreamWaitEvent(main, ended[number], 0)
  }

  private static func makeEvent(_ event: inout UnsafeMutableRawPointer?, _ device: CUDADevice) -> Int32 {
    device.driver.cuEventCreate(&event, 2)  // CU_EVENT_DISABLE_TIMING
  }
}

extension CUDA {
  public func allocateOnHost(bytes: Int) throws(SwiftletError) -> Buffer { try pinnedMemory(bytes: bytes) }

  public func startCopies(_ copies: [MemoryCopy], number: Int) {
    guard let copyStream else { preconditionFailure("copies to memory that is not the backend's") }
    start("copying to or from the host's memory") { _ in
      copyStream.start(copies, number: number, behind: stream)
    }
  }

  public func finishCopies(number: Int) {
    guard let copyStream else { preconditionFailure("copies that were not started") }
    start("waiting for a copy") { _ in copyStream.finish(number: number, before: stream) }
  }
}
