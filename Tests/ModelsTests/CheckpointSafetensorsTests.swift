import Basics
import Compute
import Testing

@testable import Models

struct CheckpointSafetensorsTests {
  typealias Entry = SafetensorsWriter.Entry

  // MARK: - Reading what Python wrote

  @Test func readsEveryType() throws {
    let file = try SafetensorsFile(path: Fixture.path("types.safetensors"))
    #expect(file.metadata == ["format": "pt"])
    #expect(file.names.count == 18)
    for name in ["f64", "f32", "f16", "bf16"] {
      let tensor = try file.required(name)
      #expect(tensor.shape == [2, 3])
      #expect(try tensor.floats() == [0, 1, 2, 3, 4, 5])
    }
    for name in ["u64", "i64", "u32", "i32", "u16", "i16", "i8", "u8"] {
      let tensor = try file.required(name)
      #expect(tensor.element.name == name.uppercased())
      let size = tensor.range.count / 6
      tensor.withBytes { bytes in #expect((0..<6).map { bytes[$0 * size] } == [0, 1, 2, 3, 4, 5]) }
      #expect(throws: SwiftletError.self) { try tensor.floats() }
    }
    #expect(try file.required("f8_e4m3").element == .f8E4M3)
    #expect(try file.required("scalar").floats() == [7])
    #expect(try file.required("scalar").shape.isEmpty)
    #expect(try file.required("empty").floats().isEmpty)
    #expect(try file.required("bf16").weight().floats() == [0, 1, 2, 3, 4, 5])
    #expect(throws: SwiftletError.self) { try file.required("scalar").weight() }
    #expect(throws: SwiftletError.self) { try file.required("missing") }
  }

  @Test func readsShards() throws {
    let folder = try SafetensorsFolder(path: Fixture.path("sharded"))
    #expect(folder.names == ["layers.0.weight", "layers.1.weight", "layers.2.weight"])
    for number in 0..<3 {
      #expect(
        try folder.required("layers.\(number).weight").floats() == Array(repeating: Float(number), count: 4))
    }
  }

  @Test func readsSingleFileFolder() throws {
    let folder = try SafetensorsFolder(path: Fixture.path("bitsandbytes"))
    #expect(folder.tensor("nested.weight")?.shape == [640, 1])
  }

  @Test func namesWhatAFolderLacks() throws {
    let folder = try TemporaryFolder()
    #expect(message { try SafetensorsFolder(path: folder.path) }.contains("neither model.safetensors nor"))
    let index = "model.safetensors.index.json"
    try folder.write(Fixture.bytes("sharded/\(index)"), index)
    try folder.write(
      Fixture.bytes("sharded/model-00001-of-00003.safetensors"), "model-00001-of-00003.safetensors")
    #expect(
      message { try SafetensorsFolder(path: folder.path) }
        .contains("the shard model-00002-of-00003.safetensors, which holds \"layers.1.weight\", is missing"))
    try folder.write(Array(#"{"weight_map":{"b":"model-00001-of-00003.safetensors"}}"#.utf8), index)
    #expect(message { try SafetensorsFolder(path: folder.path) }.contains("\"b\" lies in model-00001"))
    for map in [#"{"b":"../x"}"#, #"{"b":3}"#, #"{"b":""}"#, "[]"] {
      try folder.write(Array(#"{"weight_map":\#(map)}"#.utf8), index)
      #expect(throws: SwiftletError.self) { try SafetensorsFolder(path: folder.path) }
    }
  }

  // MARK: - Writing

  /// The same tensors as Python's writer gives the same bytes, in whatever order they come.
  @Test func writesPythonsBytes() throws {
    let folder = try TemporaryFolder()
    let original = try SafetensorsFile(path: Fixture.path("types.safetensors"))
    let tensors = original.names.compactMap(original.tensor).sorted { $0.name < $1.name }
    let writer = try SafetensorsWriter(
      path: "\(folder.path)/out", tensors: tensors.map { Entry($0.name, $0.shape, $0.element) })
    for tensor in tensors {
      try tensor.withBytes { bytes in
        // In two pieces.
        try writer.append(bytes.bytes.extracting(first: bytes.count / 3), to: tensor.name)
        try writer.append(bytes.bytes.extracting(droppingFirst: bytes.count / 3), to: tensor.name)
      }
    }
    #expect(try folder.files.count == 1 && folder.files[0] != "out")
    try writer.finish()
    #expect(try folder.bytes("out") == Fixture.bytes("types.safetensors"))
    #expect(try folder.files == ["out"])
  }

  @Test func writesShards() throws {
    let folder = try TemporaryFolder()
    let entries = (0..<5).map { Entry("t\(4 - $0)", [3, 100], $0 == 2 ? .weight(.f32) : .weight(.bf16)) }
    let writer = try SafetensorsFolderWriter(folder: folder.path, tensors: entries, maximumShard: 1300)
    let values = (0..<300).map { Float($0 % 64) / 4 }
    for entry in entries { try writer.writer(of: entry.name).append(values.span, to: entry.name) }
    try writer.finish()
    #expect(
      try folder.files == (1...3).map { "model-0000\($0)-of-00003.safetensors" } + [
        "model.safetensors.index.json"
      ])
    let index = try JSON(parsing: folder.bytes("model.safetensors.index.json"))
    #expect(index["metadata"]?["total_size"] == 3600)
    let read = try SafetensorsFolder(path: folder.path)
    #expect(read.names == ["t0", "t1", "t2", "t3", "t4"])
    for name in read.names { #expect(try read.required(name).floats() == values) }
  }

  @Test func writesSingleFileUnderTheLimit() throws {
    let folder = try TemporaryFolder()
    let writer = try SafetensorsFolderWriter(folder: folder.path, tensors: [Entry("x", [2], .weight(.f16))])
    try writer.writer(of: "x").append(([1, 65504] as [Float]).span, to: "x")
    try writer.finish()
    #expect(try folder.files == ["model.safetensors"])
    #expect(try SafetensorsFolder(path: folder.path).required("x").floats() == [1, 65504])
  }

  @Test func leavesNothingUnfinished() throws {
    let folder = try TemporaryFolder()
    do { _ = try SafetensorsWriter(path: "\(folder.path)/out", tensors: [Entry("x", [2], .i8)]) }
    #expect(try folder.files.isEmpty)
    #expect(throws: SwiftletError.self) { try SafetensorsWriter(path: "\(folder.path)/no/out", tensors: []) }
  }

  // MARK: - bitsandbytes

  @Test(arguments: ["nested", "plain", "stored_as_bf16", "int8"])
  func readsBitsAndBytes(name: String) throws {
    let folder = try SafetensorsFolder(path: Fixture.path("bitsandbytes"))
    let weight = try #require(try folder.bitsAndBytesWeight(name))
    let values = try folder.required("\(name).values")
    #expect([weight.rows, weight.columns] == values.shape)
    #expect(try weight.floats() == values.floats())
    #expect(try folder.bitsAndBytesWeight("none") == nil)
  }

  /// Each part of an NF4 layer left out, and each cut by one element.
  @Test(arguments: [
    "weight", "weight.absmax", "weight.quant_map", "weight.nested_quant_map", "weight.nested_absmax",
  ])
  func refusesIncompleteNF4(part: String) throws {
    let original = try SafetensorsFolder(path: Fixture.path("bitsandbytes"))
    for shape in [nil, [3]] {
      let store = Altered(original, "nested.\(part)", shape)
      // Without nested_absmax the scales count as plain, and their type is wrong.
      let text = message { try store.bitsAndBytesWeight("nested") }
      #expect(text.contains("nested.weight") || text.contains("\"nested\""))
    }
  }

  @Test(arguments: [
    (#""nf4""#, #""fp4""#), ("64", "32"), ("[10, 128]", "[1280]"), ("[10, 128]", "[10, 127]"),
    ("[10, 128]", "[0, 128]"),
    ("[10, 128]", "[9223372036854775807, 128]"), ("blocksize\": 256", "blocksize\": 128"),
    ("nested_offset", "offset"), ("{", "["),
  ])
  func refusesOddNF4State(old: String, new: String) throws {
    let original = try SafetensorsFolder(path: Fixture.path("bitsandbytes"))
    let name = "nested.weight.quant_state.bitsandbytes__nf4"
    let state = try original.required(name).withBytes { String(decoding: $0, as: UTF8.self) }
    let folder = try TemporaryFolder()
    let bytes = Array(state.replacing(old, with: new).utf8)
    try folder.write(bytes)
    let altered = StoredTensor(
      name: name, shape: [bytes.count], element: .u8, file: try MappedFile(path: "\(folder.path)/file"),
      range: 0..<bytes.count)
    let store = Altered(original, name, replacement: altered)
    #expect(message { try store.bitsAndBytesWeight("nested") }.contains("\"nested\""))
  }
}

/// A store in which one tensor is replaced, cut to a shape of single elements, or missing.
struct Altered: TensorStore {
  let original: SafetensorsFolder
  let name: String
  let replacement: StoredTensor?

  init(_ original: SafetensorsFolder, _ name: String, replacement: StoredTensor?) {
    (self.original, self.name, self.replacement) = (original, name, replacement)
  }

  init(_ original: SafetensorsFolder, _ name: String, _ shape: [Int]?) {
    let tensor = original.tensor(name)
    let cut = shape.flatMap { shape in
      tensor.map { tensor in
        let size = tensor.range.count / tensor.count * shape.reduce(1, *)
        return StoredTensor(
          name: name, shape: shape, element: tensor.element, file: tensor.file,
          range: tensor.range.lowerBound..<tensor.range.lowerBound + size)
      }
    }
    self.init(original, name, replacement: cut)
  }

  var path: String { original.path }
  var names: [String] { original.names }
  func tensor(_ name: String) -> StoredTensor? { name == self.name ? replacement : original.tensor(name) }
}

/// The message of the `SwiftletError` that `body` throws; empty when it throws none.
func message<T>(_ body: () throws -> T) -> String {
  do { _ = try body() } catch { return (error as? SwiftletError)?.description ?? "" }
  return ""
}
