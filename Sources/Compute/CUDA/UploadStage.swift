import Basics
import CKernels
import Dispatch

/// Page-locked memory through which large copies go to the GPU: while one half is on its way, the other is filled by
/// several threads, which is several times as fast as the driver's own staging of pageable memory.
final class UploadStage {
  private let device: CUDADevice
  private let memory: UnsafeMutableRawPointer
  /// Recorded when a half's content has left it.
  private var left: [UnsafeMutableRawPointer] = []
  private var next = 0

  /// Bytes of a half: some milliseconds of the bus, so that starting copies costs nothing beside them.
  private static let half = 64 << 20
  /// Bytes that one thread copies at a time.
  private static let piece = 4 << 20

  /// - Throws: `.outOfMemory` when the system locks no more pages.
  init(_ device: CUDADevice) throws(SwiftletError) {
    self.device = device
    device.makeCurrent()
    var memory: UnsafeMutableRawPointer?
    let status = device.driver.cuMemHostAlloc(&memory, 2 * Self.half, 0)
    guard status == 0, let memory else { throw device.error(status, "locking memory for copies") }
    self.memory = memory
    for _ in 0..<2 {
      var event: UnsafeMutableRawPointer?
      let status = device.driver.cuEventCreate(&event, 2)  // CU_EVENT_DISABLE_TIMING
      guard status == 0, let event else { throw device.error(status, "making an event") }
      left.append(event)
    }
  }

  deinit {
    device.makeCurrent()
    for event in left {
      _ = device.driver.cuEventSynchronize(event)
      _ = device.driver.cuEventDestroy_v2(event)
    }
    _ = device.driver.cuMemFreeHost(memory)
  }

  /// Copies `source` to `target` on the GPU, in order with `stream`. The source may change when the call returns.
  ///
  /// - Returns: a CUresult.
  func copy(
    _ source: UnsafeRawBufferPointer, to target: UnsafeMutableRawPointer, on stream: UnsafeMutableRawPointer
  ) -> Int32 {
    let driver = device.driver
    for start in stride(from: 0, to: source.count, by: Self.half) {
      let part = UnsafeRawBufferPointer(rebasing: source[start..<min(start + Self.half, source.count)])
      let half = UnsafeMutableRawBufferPointer(start: memory + next * Self.half, count: part.count)
      var status = driver.cuEventSynchronize(left[next])
      if status != 0 { return status }
      Self.fill(half, from: part)
      status = driver.cuMemcpyHtoDAsync_v2(
        sw_device_address(UInt(bitPattern: target + start)), half.baseAddress, part.count, stream)
      if status == 0 { status = driver.cuEventRecord(left[next], stream) }
      if status != 0 { return status }
      next = 1 - next
    }
    return 0
  }

  static func fill(_ target: UnsafeMutableRawBufferPointer, from source: UnsafeRawBufferPointer) {
    // Pieces are disjoint.
    nonisolated(unsafe) let (target, source) = (target, source)
    DispatchQueue.concurrentPerform(iterations: (source.count + piece - 1) / piece) { index in
      let range = index * piece..<min((index + 1) * piece, source.count)
      UnsafeMutableRawBufferPointer(rebasing: target[range]).copyMemory(
        from: UnsafeRawBufferPointer(rebasing: source[range]))
    }
  }
}
