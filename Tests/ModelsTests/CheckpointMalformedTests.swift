import Basics
import Compute
import Testing

@testable import Models

/// Files that lie: an error that names file and tensor, never a crash or a huge allocation.
struct CheckpointMalformedTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  // MARK: - Any damage

  enum Format: CaseIterable {
    case safetensors, gguf

    var fixture: String { self == .gguf ? "small.gguf" : "types.safetensors" }

    /// Opens a file and touches all there is in it.
    func open(_ path: String) throws {
      let store: any TensorStore
      switch self {
      case .safetensors: store = try SafetensorsFile(path: path)
      case .gguf:
        let file = try GGUFFile(path: path)
        _ = try? GGUFTokenizerMetadata(file)
        store = file
      }
      for name in store.names {
        _ = try? store.required(name).floats()
        _ = try? store.required(name).weight().floats()
      }
    }
  }

  /// A file cut at any byte is refused. (The last tensor may end before the file does, in padding.)
  @Test(arguments: Format.allCases)
  func survivesTruncation(format: Format) throws {
    let bytes = try Fixture.bytes(format.fixture)
    for count in 0..<bytes.count - 32 {
      let path = try folder.write(Array(bytes.prefix(count)))
      #expect(message { try format.open(path) }.contains(path), "cut at \(count)")
    }
  }

  /// Any byte changed: an error of ours or a file that can be read.
  @Test(arguments: Format.allCases, [0x01, 0xFF] as [UInt8])
  func survivesChangedBytes(format: Format, mask: UInt8) throws {
    let bytes = try Fixture.bytes(format.fixture)
    for at in bytes.indices {
      var changed = bytes
      changed[at] ^= mask
      let path = try folder.write(changed)
      do { try format.open(path) } catch { #expect(error is SwiftletError, "byte \(at): \(error)") }
    }
  }

  // MARK: - safetensors

  static let headers: [(header: String, data: Int, message: String)] = [
    ("[]", 0, "no JSON object"),
    ("{", 0, "JSON"),
    (#"{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"x":{}}"#, 4, "stands twice"),
    (#"{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, 3, "\"x\""),
    (#"{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, 5, "belong to no tensor"),
    (#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#, 4, "\"x\""),
    (#"{"x":{"dtype":"F32","shape":[-1,-1],"data_offsets":[0,4]}}"#, 4, "\"x\""),
    (#"{"x":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}}"#, 4, "\"x\""),
    (#"{"x":{"dtype":"F32","shape":[4611686018427387905],"data_offsets":[0,4]}}"#, 4, "\"x\""),
    (#"{"x":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}"#, 0, "\"x\""),
    (#"{"x":{"dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,4]}}"#, 4, "\"x\""),
    (#"{"x":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#, 4, "\"x\""),
    (#"{"x":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}}"#, 4, "\"x\""),
    (#"{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,9223372036854775807]}}"#, 4, "\"x\""),
    (#"{"x":{"dtype":"F32","shape":[1],"data_offsets":[0]}}"#, 4, "\"x\""),
    (#"{"x":{"dtype":"F32","shape":[1]}}"#, 4, "\"x\""),
    (#"{"x":{"dtype":7,"shape":[1],"data_offsets":[0,4]}}"#, 4, "\"x\""),
    (#"{"x":{"dtype":"F4","shape":[1],"data_offsets":[0,4]}}"#, 4, "unknown type F4"),
    (#"{"x":3}"#, 0, "\"x\""),
    (#"{"__metadata__":{"a":1}}"#, 0, "__metadata__"),
    (#"{"__metadata__":[]}"#, 0, "__metadata__"),
    (
      #"{"x":{"dtype":"I8","shape":[2],"data_offsets":[0,2]},"y":{"dtype":"I8","shape":[2],"data_offsets":[1,3]}}"#,
      3,
      "\"y\" overlaps"
    ),
    (
      #"{"y":{"dtype":"I8","shape":[2],"data_offsets":[0,2]},"x":{"dtype":"I8","shape":[2],"data_offsets":[0,2]}}"#,
      2,
      "overlaps"
    ),
    (
      #"{"x":{"dtype":"I8","shape":[1],"data_offsets":[0,1]},"y":{"dtype":"I8","shape":[1],"data_offsets":[2,3]}}"#,
      3,
      "\"y\" follows a gap"
    ),
  ]

  @Test(arguments: headers)
  func refusesSafetensors(header: String, data: Int, expected: String) throws {
    var file = Bytes()
    file.add(header)
    file.bytes += Array(repeating: 0, count: data)
    let path = try folder.write(file.bytes)
    let text = message { try SafetensorsFile(path: path) }
    #expect(text.hasPrefix(path) && text.contains(expected))
  }

  @Test(arguments: [0, 3, 100_000_001, UInt64(Int.max), .max])
  func refusesHeaderLength(length: UInt64) throws {
    var file = Bytes()
    file.add(length)
    file.bytes += Array("{}".utf8)
    let path = try folder.write(file.bytes)
    #expect(message { try SafetensorsFile(path: path) }.hasPrefix(path))
  }

  @Test func readsEmptyHeader() throws {
    let path = try folder.write([2, 0, 0, 0, 0, 0, 0, 0] + Array("{}".utf8))
    #expect(try SafetensorsFile(path: path).names.isEmpty)
  }

  // MARK: - GGUF

  /// Files made by `build`, and what the error says.
  static let ggufs: [(name: String, expected: String, build: @Sendable () -> GGUFBytes)] = [
    ("magic", "no GGUF file", { GGUFBytes(magic: "GGML", values: 0, tensors: 0) }),
    ("version 1", "version 1", { GGUFBytes(version: 1, values: 0, tensors: 0) }),
    ("big-endian", "big-endian", { GGUFBytes(version: 3 << 24, values: 0, tensors: 0) }),
    ("values", "asks for more", { GGUFBytes(values: 1 << 63, tensors: 0) }),
    ("tensors", "asks for more", { GGUFBytes(values: 0, tensors: .max) }),
    ("string", "asks for more", { value(8) { $0.add(UInt64(1) << 63) } }),
    ("array of bytes", "asks for more", { value(9, 0) { $0.add(UInt64.max) } }),
    ("array of longs", "asks for more", { value(9, 10) { $0.add(UInt64(1) << 61) } }),
    ("array of strings", "asks for more", { value(9, 8) { $0.add(UInt64(1) << 63) } }),
    (
      "array longer than its file", "asks for more",
      {
        value(9, 8) {
          $0.add(UInt64(4)); $0.addData(20)
        }
      }
    ),
    ("value type", "unknown metadata type 13", { value(13) { _ in } }),
    ("element type", "unknown metadata type 99", { value(9, 99) { $0.add(UInt64(1)) } }),
    (
      "depth", "nested deeper",
      { value(9) { gguf in for _ in 0..<20 { gguf.add(UInt32(9)); gguf.add(UInt64(1)) } } }
    ),
    (
      "key twice", "\"key\" stands twice",
      {
        var gguf = GGUFBytes(values: 2, tensors: 0)
        for _ in 0..<2 { gguf.add("key"); gguf.add(UInt32(0)); gguf.add(UInt8(0)) }
        return gguf
      }
    ),
    ("alignment 0", "general.alignment", { alignment(0) }),
    ("alignment 24", "general.alignment", { alignment(24) }),
    ("alignment 2^31", "general.alignment", { alignment(1 << 31) }),
    ("tensor twice", "\"t\" stands twice", { tensors(.init(), .init()) }),
    ("overlap", "overlap", { tensors(.init(), .init(name: "u")) }),
    ("no dimension", "\"t\" has 0 dimensions", { tensors(.init(dimensions: [])) }),
    ("dimensions", "\"t\" has 5 dimensions", { tensors(.init(dimensions: [1, 1, 1, 1, 1])) }),
    ("dimension 2^63", "\"t\"", { tensors(.init(dimensions: [1 << 63])) }),
    ("product", "\"t\"", { tensors(.init(dimensions: [1 << 32, 1 << 32])) }),
    ("bytes", "\"t\"", { tensors(.init(dimensions: [1 << 61])) }),
    ("beyond", "\"t\" (4096 bytes) reaches beyond", { tensors(.init(dimensions: [1024])) }),
    ("offset beyond", "\"t\"", { tensors(.init(offset: 1 << 20)) }),
    ("offset 2^64", "\"t\"", { tensors(.init(offset: .max - 31)) }),
    ("unaligned", "\"t\": its offset 4", { tensors(.init(offset: 4)) }),
    ("half a block", "\"t\": Q4_0 cannot", { tensors(.init(dimensions: [48], type: 2)) }),
    ("IQ4_XS", "\"t\" has the type IQ4_XS", { tensors(.init(type: 23)) }),
    ("Q2_K", "\"t\" has the type Q2_K", { tensors(.init(type: 10)) }),
    ("type 1000", "\"t\" has the type number 1000", { tensors(.init(type: 1000)) }),
  ]

  @Test(arguments: ggufs.indices)
  func refusesGGUF(index: Int) throws {
    let (name, expected, build) = Self.ggufs[index]
    let path = try folder.write(build().bytes)
    let text = message { try GGUFFile(path: path) }
    #expect(text.hasPrefix(path) && text.contains(expected), "\(name): \(text)")
  }

  /// One metadata value of a type, and of an element type.
  static func value(_ types: UInt32..., body: (inout GGUFBytes) -> Void) -> GGUFBytes {
    var gguf = GGUFBytes(values: 1, tensors: 0)
    gguf.add("key")
    for type in types { gguf.add(type) }
    body(&gguf)
    return gguf
  }

  static func alignment(_ value: UInt32) -> GGUFBytes {
    var gguf = GGUFBytes(values: 1, tensors: 0)
    gguf.add("general.alignment")
    gguf.add(UInt32(4))
    gguf.add(value)
    return gguf
  }

  struct Tensor {
    var name = "t"
    var dimensions: [UInt64] = [16]
    var type: UInt32 = 0
    var offset: UInt64 = 0
  }

  /// Tensors over 256 bytes of data.
  static func tensors(_ tensors: Tensor...) -> GGUFBytes {
    var gguf = GGUFBytes(values: 0, tensors: UInt64(tensors.count))
    for tensor in tensors {
      gguf.addTensor(tensor.name, dimensions: tensor.dimensions, type: tensor.type, offset: tensor.offset)
    }
    gguf.addData(256)
    return gguf
  }

  @Test func refusesWrongTokenizerTypes() throws {
    for key in ["ggml.model", "ggml.tokens", "ggml.scores", "ggml.token_type", "ggml.add_bos_token"] {
      var gguf = GGUFBytes(values: 1, tensors: 0)
      gguf.add("tokenizer.\(key)")
      gguf.add(UInt32(9))
      gguf.add(UInt32(7))
      gguf.add(UInt64(1))
      gguf.add(UInt8(1))
      let file = try GGUFFile(path: folder.write(gguf.bytes))
      #expect(message { try GGUFTokenizerMetadata(file) }.contains("\"tokenizer.\(key)\" has the wrong type"))
    }
  }

  // MARK: - No file at all

  @Test func namesUnreadableFiles() throws {
    let missing = "\(folder.path)/missing"
    #expect(message { try SafetensorsFile(path: missing) }.contains("No such file"))
    #expect(message { try GGUFFile(path: folder.path) }.contains("not a regular file"))
    let empty = try folder.write([])
    #expect(message { try GGUFFile(path: empty) }.contains("empty"))
  }
}
