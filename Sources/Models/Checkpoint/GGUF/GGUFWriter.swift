import Basics
import Compute

/// Writes a GGUF file, version 3, as its tensors become available; only the piece at hand is in memory.
///
/// Each tensor's bytes are appended in order, the tensors in any order. The file appears under its name with `finish`,
/// complete; a writer that is dropped before leaves nothing behind.
///
/// Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
public final class GGUFWriter {
  /// A tensor to be written.
  public struct Entry: Sendable {
    public let name: String
    /// Row-major: a matrix is (out, in).
    public let shape: [Int]
    public let format: StorageFormat

    /// - Precondition: the last dimension is a whole number of blocks.
    public init(_ name: String, _ shape: [Int], _ format: StorageFormat) {
      precondition(StoredTensor.Element.weight(format).byteCount(shape) != nil)
      (self.name, self.shape, self.format) = (name, shape, format)
    }

    var byteCount: Int { StoredTensor.Element.weight(format).byteCount(shape) ?? 0 }
  }

  /// How far a tensor is written.
  private struct Slot {
    let entry: Entry
    /// Of its first byte in the file.
    let start: Int
    var filled = 0
  }

  /// The format's default.
  private static let alignment = 32

  private let file: AtomicFile
  private var slots: [String: Slot] = [:]

  /// - Parameters:
  ///   - metadata: distinct keys, `general.architecture` among them.
  ///   - tensors: distinct names, laid out in this order.
  /// - Throws: `.unwritable`.
  public init(path: String, metadata: [GGUFEntry], tensors: [Entry]) throws(SwiftletError) {
    file = try AtomicFile(path: path)
    let header = Self.header(metadata, tensors)
    try file.write(header.span.bytes, at: 0)
    var start = header.count
    for entry in tensors {
      precondition(slots.updateValue(Slot(entry: entry, start: start), forKey: entry.name) == nil)
      start += Self.padded(entry.byteCount)
    }
    // What lies between tensors, and behind the last, reads as zeros.
    try file.extend(to: start)
  }

  private static func header(_ metadata: [GGUFEntry], _ tensors: [Entry]) -> [UInt8] {
    var header = GGUFHeader()
    header.add(UInt32(0x4655_4747))
    header.add(UInt32(3))
    header.add(UInt64(tensors.count))
    header.add(UInt64(metadata.count))
    for entry in metadata { entry.write(to: &header) }
    var offset = 0
    for tensor in tensors {
      header.add(tensor.name)
      header.add(UInt32(tensor.shape.count))
      for size in tensor.shape.reversed() { header.add(UInt64(size)) }
      guard let number = StoredTensor.Element.weight(tensor.format).ggufNumber else {
        preconditionFailure("GGUF has no \(tensor.format)")
      }
      header.add(number)
      header.add(UInt64(offset))
      offset += padded(tensor.byteCount)
    }
    header.pad(to: alignment)
    return header.bytes
  }

  private static func padded(_ count: Int) -> Int { (count + alignment - 1) & -alignment }

  /// Appends floats to the tensor `name`, in its format: whole blocks.
  public func append(_ floats: Span<Float>, to name: String) throws(SwiftletError) {
    guard var slot = slots[name] else { preconditionFailure("no tensor \"\(name)\" was announced") }
    let bytes = slot.entry.format.encoded(floats)
    precondition(bytes.count <= slot.entry.byteCount - slot.filled, "too many bytes for \"\(name)\"")
    try file.write(bytes.span.bytes, at: slot.start + slot.filled)
    slot.filled += bytes.count
    slots[name] = slot
  }

  /// Puts the file in place. Every tensor must be complete.
  public func finish() throws(SwiftletError) {
    for slot in slots.values {
      precondition(slot.filled == slot.entry.byteCount, "\"\(slot.entry.name)\" is incomplete")
    }
    try file.commit()
  }
}
