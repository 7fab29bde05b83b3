import Basics
import Compute

/// A mapped GGUF file, version 2 or 3, little-endian: metadata, tensor directory, the tensors' bytes.
///
/// Shapes are row-major, the reverse of the file's: a matrix is (out, in). Tensors are named as in the file
/// (`blk.0.attn_q.weight`).
///
/// Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
public struct GGUFFile: TensorStore {
  public let path: String
  public let names: [String]
  public let metadata: [String: GGUFValue]
  private let tensors: [String: StoredTensor]

  /// - Throws: `.unreadable`; `.malformedFile`; `.unsupported` for another version or byte order, and for a
  ///   tensor type that we do not read.
  public init(path: String) throws(SwiftletError) {
    var cursor = GGUFCursor(file: try MappedFile(path: path), offset: 0)
    try Self.checkMagic(&cursor)
    let tensorCount = try cursor.integer(UInt64.self)
    let valueCount = try cursor.integer(UInt64.self)
    metadata = try Self.metadata(&cursor, count: valueCount)
    let directory = try Self.directory(&cursor, count: tensorCount)
    let alignment = try Self.alignment(metadata, cursor)
    // The directory ends within the file, so this cannot overflow.
    let dataStart = (cursor.offset + alignment - 1) & -alignment
    var tensors: [StoredTensor] = []
    for entry in directory { tensors.append(try Self.tensor(entry, dataStart, alignment, cursor)) }
    try Self.checkDisjoint(tensors, cursor)
    self.path = path
    names = tensors.map(\.name)
    self.tensors = Dictionary(uniqueKeysWithValues: tensors.map { ($0.name, $0) })
  }

  public func tensor(_ name: String) -> StoredTensor? { tensors[name] }

  private static func checkMagic(_ cursor: inout GGUFCursor) throws(SwiftletError) {
    guard try cursor.integer(UInt32.self) == 0x4655_4747 else {
      throw SwiftletError(
        .malformedFile, "\(cursor.file.path): this is no GGUF file",
        remedy: "A model is a GGUF file, or the folder that holds config.json and safetensors files.")
    }
    let version = try cursor.integer(UInt32.self)
    guard version == 2 || version == 3 else {
      let what = version.byteSwapped < 256 ? "is big-endian" : "has version \(version)"
      throw SwiftletError(
        .unsupported, "\(cursor.file.path): the GGUF file \(what)",
        remedy: "Convert it again with a current llama.cpp, little-endian.")
    }
  }

  private static func metadata(
    _ cursor: inout GGUFCursor, count: UInt64
  ) throws(SwiftletError) -> [String: GGUFValue] {
    var metadata: [String: GGUFValue] = [:]
    var left = count
    while left > 0 {
      let key = try cursor.string()
      let kind = try cursor.kind()
      let value = try cursor.value(kind)
      if metadata.updateValue(value, forKey: key) != nil {
        throw cursor.malformed("the metadata key \"\(key)\" stands twice")
      }
      left -= 1
    }
    return metadata
  }

  /// A tensor as the directory describes it.
  private struct Entry {
    let name: String
    let shape: [Int]
    let type: UInt32
    let offset: UInt64
  }

  private static func directory(
    _ cursor: inout GGUFCursor, count: UInt64
  ) throws(SwiftletError) -> [Entry] {
    var entries: [Entry] = []
    var names: Set<String> = []
    var left = count
    while left > 0 {
      let name = try cursor.string()
      guard names.insert(name).inserted else { throw cursor.malformed("the tensor \"\(name)\" stands twice") }
      let rank = try cursor.integer(UInt32.self)
      guard (1...4).contains(rank) else {
        throw cursor.malformed("tensor \"\(name)\" has \(rank) dimensions")
      }
      var shape: [Int] = []
      for _ in 0..<rank {
        let size = try cursor.integer(UInt64.self)
        guard let size = Int(exactly: size) else {
          throw cursor.malformed("tensor \"\(name)\": dimension \(size)")
        }
        shape.insert(size, at: 0)
      }
      entries.append(
        Entry(name: name, shape: shape, type: try cursor.integer(), offset: try cursor.integer()))
      left -= 1
    }
    return entries
  }

  private static func alignment(
    _ metadata: [String: GGUFValue], _ cursor: GGUFCursor
  ) throws(SwiftletError) -> Int {
    guard let value = metadata["general.alignment"] else { return 32 }
    guard let alignment = value.int, alignment > 0, alignment.nonzeroBitCount == 1, alignment <= 1 << 30
    else {
      throw cursor.malformed("general.alignment is no power of two")
    }
    return alignment
  }

  private static func tensor(
    _ entry: Entry, _ dataStart: Int, _ alignment: Int, _ cursor: GGUFCursor
  ) throws(SwiftletError) -> StoredTensor {
    let element: StoredTensor.Element
    switch StoredTensor.Element.gguf(entry.type) {
    case .known(let known): element = known
    case .unknown(let name):
      throw SwiftletError(
        .unsupported, "\(cursor.file.path): tensor \"\(entry.name)\" has the type \(name), which is not read",
        remedy: "Use a file in F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K or Q6_K.")
    }
    guard let size = element.byteCount(entry.shape) else {
      throw cursor.malformed("tensor \"\(entry.name)\": \(element.name) cannot have the shape \(entry.shape)")
    }
    let dataSize = max(0, cursor.file.count - dataStart)
    guard let offset = Int(exactly: entry.offset), offset % alignment == 0 else {
      throw cursor.malformed(
        "tensor \"\(entry.name)\": its offset \(entry.offset) is not aligned to \(alignment)")
    }
    guard size <= dataSize, offset <= dataSize - size else {
      throw SwiftletError(
        .malformedFile,
        "\(cursor.file.path): tensor \"\(entry.name)\" (\(size) bytes) reaches beyond the end of the file",
        remedy: "The file may be cut short: download or copy it again.")
    }
    let start = dataStart + offset
    return StoredTensor(
      name: entry.name, shape: entry.shape, element: element, file: cursor.file, range: start..<start + size)
  }

  private static func checkDisjoint(
    _ tensors: [StoredTensor], _ cursor: GGUFCursor
  ) throws(SwiftletError) {
    let inOrder = tensors.filter { !$0.range.isEmpty }.sorted { $0.range.lowerBound < $1.range.lowerBound }
    for (tensor, next) in zip(inOrder, inOrder.dropFirst())
    where next.range.lowerBound < tensor.range.upperBound {
      throw cursor.malformed("the tensors \"\(tensor.name)\" and \"\(next.name)\" overlap")
    }
  }
}
