import Basics
import Compute

/// A backend, and the way between its memory and the host's.
public struct Device {
  public let backend: any Backend
  let write: (UnsafeRawBufferPointer, _ to: UnsafeMutableRawPointer) -> Void
  let read: (_ from: UnsafeMutableRawPointer, UnsafeMutableRawBufferPointer) -> Void
  let synchronize: () -> Void

  /// - Parameters:
  ///   - write: copies host memory to an address on the device, in order with the backend's operations.
  ///   - read: copies it back, after all operations that were started.
  ///   - synchronize: waits for all operations that were started.
  public init(
    _ backend: any Backend, write: @escaping (UnsafeRawBufferPointer, UnsafeMutableRawPointer) -> Void,
    read: @escaping (UnsafeMutableRawPointer, UnsafeMutableRawBufferPointer) -> Void,
    synchronize: @escaping () -> Void
  ) {
    self.backend = backend
    self.write = write
    self.read = read
    self.synchronize = synchronize
  }

  /// - Parameter threads: nil for one per processor.
  public static func cpu(threads: Int? = nil) throws(SwiftletError) -> Device {
    Device(
      try CPU(threads: threads),
      write: { source, target in
        UnsafeMutableRawBufferPointer(start: target, count: source.count).copyMemory(from: source)
      },
      read: { source, target in
        target.copyMemory(from: UnsafeRawBufferPointer(start: source, count: target.count))
      },
      synchronize: {})
  }

  func upload(_ bytes: [UInt8]) throws -> Buffer {
    let buffer = try backend.allocate(bytes: bytes.count)
    bytes.withUnsafeBytes { write($0, buffer.base) }
    return buffer
  }

  func download(_ buffer: Buffer) -> [UInt8] {
    [UInt8](unsafeUninitializedCapacity: buffer.count) { bytes, count in
      read(buffer.base, UnsafeMutableRawBufferPointer(bytes))
      count = buffer.count
    }
  }
}
