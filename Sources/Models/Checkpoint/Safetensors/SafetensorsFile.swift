import Basics
import Compute

/// A mapped safetensors file: eight bytes of header length, a JSON header, the tensors' bytes.
///
/// The header is believed only as far as the file bears it out: every tensor lies within the file, is as long
/// as its shape says, and together they fill the data without gap or overlap.
///
/// Source: https://github.com/huggingface/safetensors, "Format".
public struct SafetensorsFile: TensorStore {
  public let path: String
  public let names: [String]
  /// The header's `__metadata__`.
  public let metadata: [String: String]
  let tensors: [String: StoredTensor]

  static let metadataKey = "__metadata__"
  /// The limit of the reference implementation.
  static let maximumHeader = 100_000_000

  /// - Throws: `.unreadable`, `.malformedFile` or, for a tensor type we do not know, `.unsupported`.
  public init(path: String) throws(SwiftletError) {
    let file = try MappedFile(path: path)
    let (header, dataStart) = try Self.header(of: file)
    var metadata: [String: String] = [:]
    var tensors: [StoredTensor] = []
    for (name, entry) in header {
      if name == Self.metadataKey {
        metadata = try Self.metadata(entry, file)
      } else {
        tensors.append(try Self.tensor(name, entry, file, dataStart))
      }
    }
    try Self.checkFilled(tensors, file, dataStart)
    self.path = path
    self.metadata = metadata
    names = tensors.map(\.name)
    self.tensors = Dictionary(tensors.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
    // Keys that differ in their bytes alone, as "é" can, are one name to everything behind this.
    guard self.tensors.count == tensors.count else { throw Self.malformed(file, "two tensors have one name") }
  }

  public func tensor(_ name: String) -> StoredTensor? { tensors[name] }

  private static func header(
    of file: MappedFile
  ) throws(SwiftletError) -> (header: JSON.Object, dataStart: Int) {
    guard let length = file.integer(at: 0, as: UInt64.self) else {
      throw malformed(file, "too short for a safetensors file: \(file.count) bytes")
    }
    guard length <= maximumHeader, let size = Int(exactly: length), let bytes = file.copy(8..<8 + size) else {
      throw malformed(
        file, "the header's length, \(length), exceeds the file or \(maximumHeader) bytes",
        remedy: "It may be cut short, or a Git LFS pointer in the file's place: download it again.")
    }
    let json: JSON
    do { json = try JSON(parsing: bytes) } catch { throw malformed(file, "header: \(error.message)") }
    guard let object = json.object else { throw malformed(file, "the header is no JSON object") }
    return (object, 8 + size)
  }

  private static func metadata(_ json: JSON, _ file: MappedFile) throws(SwiftletError) -> [String: String] {
    var metadata: [String: String] = [:]
    guard let object = json.object else { throw malformed(file, "\(metadataKey) is no object of strings") }
    for (key, value) in object {
      guard let text = value.string else { throw malformed(file, "\(metadataKey): \"\(key)\" is no string") }
      metadata[key] = text
    }
    return metadata
  }

  private static func tensor(
    _ name: String, _ entry: JSON, _ file: MappedFile, _ dataStart: Int
  ) throws(SwiftletError) -> StoredTensor {
    guard let type = entry["dtype"]?.string, let shape = integers(entry["shape"]),
      let offsets = integers(entry["data_offsets"]), offsets.count == 2
    else { throw malformed(file, "tensor \"\(name)\": expected dtype, shape and data_offsets") }
    guard let element = StoredTensor.Element(safetensors: type) else {
      throw SwiftletError(.unsupported, "\(file.path): tensor \"\(name)\" has the unknown type \(type)")
    }
    guard offsets[0] >= 0, offsets[0] <= offsets[1], offsets[1] <= file.count - dataStart else {
      throw malformed(
        file,
        "tensor \"\(name)\": bytes \(offsets) do not lie within the data (\(file.count - dataStart) bytes)",
        remedy: truncated)
    }
    guard element.byteCount(shape) == offsets[1] - offsets[0] else {
      throw malformed(
        file, "tensor \"\(name)\": \(type) \(shape) does not fill its \(offsets[1] - offsets[0]) bytes")
    }
    return StoredTensor(
      name: name, shape: shape, element: element, file: file,
      range: dataStart + offsets[0]..<dataStart + offsets[1])
  }

  private static func integers(_ json: JSON?) -> [Int]? {
    guard let values = json?.array else { return nil }
    let integers = values.compactMap { if case .int(let value) = $0 { value } else { nil } }
    return integers.count == values.count ? integers : nil
  }

  /// Tensors lie end to end, from the first byte of the data to the last.
  private static func checkFilled(
    _ tensors: [StoredTensor], _ file: MappedFile, _ dataStart: Int
  ) throws(SwiftletError) {
    var end = dataStart
    let inOrder = tensors.sorted {
      ($0.range.lowerBound, $0.range.upperBound) < ($1.range.lowerBound, $1.range.upperBound)
    }
    for tensor in inOrder {
      guard tensor.range.lowerBound == end else {
        let fault = tensor.range.lowerBound < end ? "overlaps the tensor before it" : "follows a gap"
        throw malformed(file, "tensor \"\(tensor.name)\" \(fault)")
      }
      end = tensor.range.upperBound
    }
    guard end == file.count else {
      throw malformed(file, "\(file.count - end) bytes at the end belong to no tensor")
    }
  }

  private static let truncated = "The file may be cut short: download or copy it again."

  private static func malformed(
    _ file: MappedFile, _ what: String, remedy: String? = nil
  ) -> SwiftletError {
    SwiftletError(.malformedFile, "\(file.path): \(what)", remedy: remedy)
  }
}
