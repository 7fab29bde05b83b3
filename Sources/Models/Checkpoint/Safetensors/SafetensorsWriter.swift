import Basics
import Compute

/// Writes one safetensors file as its tensors become available; only the piece at hand is in memory.
///
/// Each tensor's bytes are appended in order, the tensors in any order. The file appears under its name with
/// `finish`, complete; a writer that is dropped before leaves nothing behind.
public final class SafetensorsWriter {
  /// A tensor to be written.
  public struct Entry: Sendable {
    public let name: String
    public let shape: [Int]
    public let element: StoredTensor.Element

    /// - Precondition: `element` is a type that safetensors has, `shape` is not negative.
    public init(_ name: String, _ shape: [Int], _ element: StoredTensor.Element) {
      precondition(element.safetensorsRank != nil && element.byteCount(shape) != nil)
      (self.name, self.shape, self.element) = (name, shape, element)
    }

    var byteCount: Int { element.byteCount(shape) ?? 0 }
  }

  /// How far a tensor is written.
  private struct Slot {
    let entry: Entry
    /// Of its first byte in the file.
    let start: Int
    var filled = 0
  }

  private let file: AtomicFile
  private var slots: [String: Slot] = [:]

  /// - Parameters:
  ///   - tensors: distinct names. They are laid out by type, then by name, as the reference implementation
  ///     does: the same tensors give the same bytes.
  ///   - metadata: transformers refuses files whose `format` is not `pt`.
  /// - Throws: `.unwritable`.
  public init(
    path: String, tensors: [Entry], metadata: [String: String] = ["format": "pt"]
  ) throws(SwiftletError) {
    file = try AtomicFile(path: path)
    let sorted = tensors.sorted {
      ($0.element.safetensorsRank ?? 0, $0.name) < ($1.element.safetensorsRank ?? 0, $1.name)
    }
    let header = Self.header(sorted, metadata)
    try file.write(header.span.bytes, at: 0)
    var start = header.count
    for entry in sorted {
      precondition(slots.updateValue(Slot(entry: entry, start: start), forKey: entry.name) == nil)
      start += entry.byteCount
    }
  }

  /// Length and JSON, padded with spaces so that the data starts on an 8-byte boundary.
  private static func header(_ tensors: [Entry], _ metadata: [String: String]) -> [UInt8] {
    var object: JSON.Object = [:]
    if !metadata.isEmpty {
      let sorted = metadata.sorted { $0.key < $1.key }.map { ($0.key, JSON.string($0.value)) }
      object[SafetensorsFile.metadataKey] = .object(JSON.Object(uniqueKeysWithValues: sorted))
    }
    var start = 0
    for tensor in tensors {
      let end = start + tensor.byteCount
      object[tensor.name] = [
        "dtype": .string(tensor.element.name), "shape": .array(tensor.shape.map(JSON.int)),
        "data_offsets": [.int(start), .int(end)],
      ]
      start = end
    }
    var text = Array(JSON.object(object).text().utf8)
    text += Array(repeating: UInt8(ascii: " "), count: -text.count & 7)
    return withUnsafeBytes(of: UInt64(text.count).littleEndian, Array.init) + text
  }

  /// Appends bytes of the tensor `name`, as they are.
  public func append(_ bytes: RawSpan, to name: String) throws(SwiftletError) {
    guard var slot = slots[name] else { preconditionFailure("no tensor \"\(name)\" was announced") }
    precondition(bytes.byteCount <= slot.entry.byteCount - slot.filled, "too many bytes for \"\(name)\"")
    try file.write(bytes, at: slot.start + slot.filled)
    slot.filled += bytes.byteCount
    slots[name] = slot
  }

  /// Appends floats to a tensor of type F32, F16 or BF16, rounded to that.
  public func append(_ floats: Span<Float>, to name: String) throws(SwiftletError) {
    guard let slot = slots[name], case .weight(let format) = slot.entry.element else {
      preconditionFailure("no tensor \"\(name)\" of floats was announced")
    }
    // 64 Ki elements at a time.
    for start in stride(from: 0, to: floats.count, by: 1 << 16) {
      let piece = floats.extracting(start..<min(start + 1 << 16, floats.count))
      try append(format.encoded(piece).span.bytes, to: name)
    }
  }

  /// Puts the file in place. Every tensor must be complete.
  public func finish() throws(SwiftletError) {
    for slot in slots.values {
      precondition(slot.filled == slot.entry.byteCount, "\"\(slot.entry.name)\" is incomplete")
    }
    try file.commit()
  }
}
