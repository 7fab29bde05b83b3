import Basics
import CKernels

/// Measures what the GPU does between two points of a stream.
struct StreamTimer: ~Copyable {
  private let device: CUDADevice
  private let stream: UnsafeMutableRawPointer
  private let begin: UnsafeMutableRawPointer?
  private let end: UnsafeMutableRawPointer?

  init(_ device: CUDADevice, _ stream: UnsafeMutableRawPointer) throws(SwiftletError) {
    func event() throws(SwiftletError) -> UnsafeMutableRawPointer? {
      var event: UnsafeMutableRawPointer?
      let status = device.driver.cuEventCreate(&event, 0)  // CU_EVENT_DEFAULT
      guard status == 0 else { throw device.error(status, "making an event") }
      return event
    }
    let (begin, end) = (try event(), try event())
    self.device = device
    self.stream = stream
    self.begin = begin
    self.end = end
  }

  deinit {
    _ = device.driver.cuEventDestroy_v2(begin)
    _ = device.driver.cuEventDestroy_v2(end)
  }

  /// Waits for what `body` starts on the stream.
  func milliseconds(_ body: () -> Void) throws(SwiftletError) -> Float {
    let driver = device.driver
    func check(_ status: Int32) throws(SwiftletError) {
      if status != 0 { throw device.error(status, "timing") }
    }
    try check(driver.cuEventRecord(begin, stream))
    body()
    try check(driver.cuEventRecord(end, stream))
    try check(driver.cuEventSynchronize(end))
    var milliseconds: Float = 0
    try check(driver.cuEventElapsedTime(&milliseconds, begin, end))
    return milliseconds
  }
}
