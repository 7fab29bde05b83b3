import Compute

extension Backend {
  func upload(_ bytes: [UInt8]) throws -> Buffer {
    let buffer = try allocate(bytes: bytes.count)
    try bytes.withUnsafeBytes { try write($0, to: buffer.base) }
    return buffer
  }

  func download(_ buffer: Buffer) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: buffer.count)
    try bytes.withUnsafeMutableBytes { try read(buffer.base, into: $0) }
    return bytes
  }
}
