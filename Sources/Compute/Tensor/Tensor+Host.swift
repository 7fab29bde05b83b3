import Basics

/// The way between the host's arrays and tensors that outlive steps, on whichever device.
extension Tensor {
  /// Replaces the elements of a contiguous tensor, in order with the operations that were started.
  ///
  /// - Parameter values: rows * columns elements of the dtype's size.
  public func write<Element: BitwiseCopyable>(
    _ values: [Element], on backend: any Backend
  ) throws(SwiftletError) {
    precondition(isContiguous && slot == nil && values.count == rows * columns)
    precondition(MemoryLayout<Element>.size == dtype.size)
    let result = values.withUnsafeBytes { bytes in
      Result { () throws(SwiftletError) in try backend.write(bytes, to: base) }
    }
    try result.get()
  }

  /// The elements of a contiguous tensor, after all operations that were started have ended.
  public func read<Element: BitwiseCopyable>(
    as type: Element.Type = Element.self, on backend: any Backend
  ) throws(SwiftletError) -> [Element] {
    precondition(isContiguous && slot == nil && MemoryLayout<Element>.size == dtype.size)
    let count = rows * columns
    let host = try Buffer(count: count * MemoryLayout<Element>.size)
    try backend.read(base, into: UnsafeMutableRawBufferPointer(start: host.base, count: host.count))
    return Array(UnsafeBufferPointer(start: host.pointer(to: type), count: count))
  }

  private var base: UnsafeMutableRawPointer {
    guard let base = UnsafeMutableRawPointer(bitPattern: address) else {
      preconditionFailure("a tensor without memory")
    }
    return base
  }
}
