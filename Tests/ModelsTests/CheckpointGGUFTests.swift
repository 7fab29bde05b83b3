import Basics
import Compute
import Testing

@testable import Models

struct CheckpointGGUFTests {
  @Test func readsMetadata() throws {
    let metadata = try GGUFFile(path: Fixture.path("small.gguf")).metadata
    #expect(metadata["general.architecture"]?.string == "llama")
    let integers = [
      "u8": 200, "i8": -100, "u16": 60000, "i16": -30000, "u32": 4_000_000_000, "i32": -2_000_000_000,
    ]
    for (key, value) in integers { #expect(metadata["test.\(key)"]?.int == value) }
    #expect(metadata["test.u64"]?.int == nil)
    #expect(metadata["test.u64"]?.double == 0x1p64)
    #expect(metadata["test.i64"]?.int == .min)
    #expect(metadata["test.f32"]?.double == 0.5)
    #expect(metadata["test.f64"]?.double == 0.1)
    #expect(metadata["test.bool"]?.bool == true)
    #expect(metadata["test.string"]?.string == "grüße")
    #expect(try metadata["test.ints"]?.array?.values().map(\.int) == [1, -2, 3])
    #expect(try metadata["test.floats"]?.array?.values().map(\.double) == [0.5, 1.5])
    #expect(try metadata["test.ints"]?.array?.strings() == nil)
  }

  @Test func readsTensors() throws {
    let file = try GGUFFile(path: Fixture.path("small.gguf"))
    #expect(file.names == ["matrix", "vector", "q4_1", "q4_1.values", "q8_0", "q8_0.values"])
    #expect(try file.required("matrix").shape == [2, 3])
    #expect(try file.required("matrix").floats() == [0, 1, 2, 3, 4, 5])
    #expect(try file.required("vector").floats() == [0.25, -1, 8])
    for name in ["q4_1", "q8_0"] {
      let tensor = try file.required(name)
      #expect(tensor.shape == [3, 64])
      #expect(try tensor.weight().floats() == file.required("\(name).values").floats())
    }
    #expect(try file.required("matrix").weight(interleavedHead: 2).floats() == [0, 1, 2, 3, 4, 5])
  }

  @Test func readsTokenizer() throws {
    let tokenizer = try GGUFTokenizerMetadata(GGUFFile(path: Fixture.path("small.gguf")))
    #expect(tokenizer.model == "gpt2")
    #expect(tokenizer.pre == "smollm")
    #expect(tokenizer.tokens == ["<|end|>", "a", "Ġb"])
    #expect(tokenizer.scores == [0, -1, -2.5])
    #expect(tokenizer.tokenTypes == [3, 1, 1])
    #expect(tokenizer.merges == ["Ġ b", "a a"])
    #expect(
      tokenizer.bosID == 0 && tokenizer.eosID == 1 && tokenizer.eotID == nil && tokenizer.paddingID == nil)
    #expect(tokenizer.addBOS == false && tokenizer.addEOS == nil)
    #expect(tokenizer.chatTemplate == "{{ messages }}")
  }

  @Test func readsNestedArrays() throws {
    var gguf = GGUFBytes(values: 1, tensors: 0)
    gguf.add("nested")
    for integer: UInt32 in [9, 9] { gguf.add(integer) }
    gguf.add(UInt64(2))
    for row in [["a", "bc"], []] {
      gguf.add(UInt32(8))
      gguf.add(UInt64(row.count))
      for text in row { gguf.add(text) }
    }
    let folder = try TemporaryFolder()
    let rows = try GGUFFile(path: folder.write(gguf.bytes)).metadata["nested"]?.array?.values()
    #expect(try rows?.map { try $0.array?.strings() } == [["a", "bc"], []])
  }

  /// A vocabulary of 150,000 tokens is walked once, and made into strings only when asked for.
  @Test func readsLargeVocabulary() throws {
    var gguf = GGUFBytes(values: 1, tensors: 0)
    gguf.add("tokenizer.ggml.tokens")
    for integer: UInt32 in [9, 8] { gguf.add(integer) }
    gguf.add(UInt64(150_000))
    for id in 0..<150_000 { gguf.add("token \(id)") }
    let folder = try TemporaryFolder()
    let path = try folder.write(gguf.bytes)
    let clock = ContinuousClock()
    var tokens: [String] = []
    let time = try clock.measure { tokens = try GGUFTokenizerMetadata(GGUFFile(path: path)).tokens }
    #expect(tokens.count == 150_000)
    #expect(tokens.last == "token 149999")
    #expect(time < .seconds(2), "0.02 s when optimised")
  }
}

/// The start of a GGUF file, to which metadata and tensors are added.
@dynamicMemberLookup
struct GGUFBytes {
  private var raw = Bytes()
  var bytes: [UInt8] { raw.bytes }

  init(magic: String = "GGUF", version: UInt32 = 3, values: UInt64, tensors: UInt64) {
    raw.bytes = Array(magic.utf8)
    raw.add(version)
    raw.add(tensors)
    raw.add(values)
  }

  subscript<T>(dynamicMember path: WritableKeyPath<Bytes, T>) -> T {
    get { raw[keyPath: path] }
    set { raw[keyPath: path] = newValue }
  }

  mutating func add(_ integer: some FixedWidthInteger) { raw.add(integer) }
  mutating func add(_ text: String) { raw.add(text) }

  mutating func addTensor(_ name: String, dimensions: [UInt64], type: UInt32 = 0, offset: UInt64 = 0) {
    add(name)
    add(UInt32(dimensions.count))
    for size in dimensions { add(size) }
    add(type)
    add(offset)
  }

  /// Pads to the alignment and adds `count` bytes of data.
  mutating func addData(_ count: Int) {
    raw.bytes += Array(repeating: 0, count: -raw.bytes.count & 31)
    raw.bytes += Array(repeating: 1, count: count)
  }
}
