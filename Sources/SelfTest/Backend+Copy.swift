import Basics
import Compute

extension Backend {
  func upload(_ bytes: [UInt8]) throws(SwiftletError) -> Buffer {
    let buffer = try allocate(bytes: bytes.count)
    let result = bytes.withUnsafeBytes { source in
      Result { () throws(SwiftletError) in try write(source, to: buffer.base) }
    }
    try result.get()
    return buffer
  }

  func download(_ buffer: Buffer) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: buffer.count)
    try bytes.withUnsafeMutableBytes { try read(buffer.base, into: $0) }
    return bytes
  }
}
