import Basics
import Compute
import Testing

@testable import Models

/// What we write as GGUF, read by our own reader. tests/Interop has llama.cpp read it too.
struct GGUFWriterTests {
  private let cpu: CPU
  private let folder: TemporaryFolder

  init() throws {
    cpu = try CPU(threads: 2)
    folder = try TemporaryFolder()
  }

  @Test func writesMetadataAndTensors() throws {
    let path = folder.path + "/file.gguf"
    let writer = try GGUFWriter(
      path: path,
      metadata: [
        GGUFEntry("general.architecture", .string("llama")), GGUFEntry("a.count", 7),
        GGUFEntry("a.number", .f32(0.5)), GGUFEntry("a.flag", .bool(true)),
        GGUFEntry("a.texts", .strings(["grüße", ""])), GGUFEntry("a.ids", .integers([-1, 2])),
        GGUFEntry("a.scores", .floats([0.25, -1])),
      ],
      tensors: [
        GGUFWriter.Entry("vector", [3], .f32), GGUFWriter.Entry("matrix", [2, 4], .f16),
        GGUFWriter.Entry("blocks", [2, 32], .q8_0),
      ])
    let blocks = (0..<64).map { Float($0 - 32) }
    for row in 0..<2 { try writer.append(Array(blocks[row * 32..<row * 32 + 32]).span, to: "blocks") }
    try writer.append([1, 2, 3].span, to: "vector")
    try writer.append([0, 1, 2, 3, 4, 5, 6, 7].span, to: "matrix")
    #expect(try folder.files.allSatisfy { $0.hasSuffix(".tmp") })
    try writer.finish()
    #expect(try folder.files == ["file.gguf"])

    let file = try GGUFFile(path: path)
    #expect(file.metadata["a.count"]?.int == 7 && file.metadata["a.number"]?.double == 0.5)
    #expect(file.metadata["a.flag"]?.bool == true)
    #expect(try file.metadata["a.texts"]?.array?.strings() == ["grüße", ""])
    #expect(try file.metadata["a.ids"]?.array?.values().map(\.int) == [-1, 2])
    #expect(try file.metadata["a.scores"]?.array?.values().map(\.double) == [0.25, -1])
    #expect(file.names == ["vector", "matrix", "blocks"])
    #expect(try file.required("vector").floats() == [1, 2, 3])
    #expect(try file.required("matrix").weight().floats() == [0, 1, 2, 3, 4, 5, 6, 7])
    #expect(try zip(file.required("blocks").weight().floats(), blocks).allSatisfy { abs($0 - $1) < 0.2 })
  }

  @Test func leavesNothingWhenItIsGivenUp() throws {
    _ = try GGUFWriter(
      path: folder.path + "/file.gguf", metadata: [], tensors: [GGUFWriter.Entry("a", [2], .f32)])
    #expect(try folder.files.isEmpty)
  }

  /// Every family with its adapter: order of rows, biases, norms, rotary scaling, tied or trained heads.
  @Test(arguments: FamilyTests.families)
  func keepsTheLogits(name: String) throws {
    let family = try FamilyTests.Case(name)
    var model = try family.model()
    _ = try model.addLoRA(AdapterFolder(path: family.path + "/adapter"), on: cpu)
    let path = folder.path + "/\(name).gguf"
    if name == "qwen2_window" {
      // Only some of its layers have a window, which GGUF cannot say.
      #expect(throws: SwiftletError.self) {
        try model.saveGGUF(to: path, as: .f32, name: name, tokenizer: [])
      }
      return
    }
    try model.saveGGUF(to: path, as: .f32, name: name, tokenizer: [])
    let written = try Decoder(ModelFile(path: path), on: cpu)
    #expect(try relativeError(family.run(written).logits(), family.floats("adapter.logits")) < 1e-5)
    #expect(written.spec.windows == model.spec.windows)
  }

  /// Each adapter is W's difference, in the file's order of rows.
  @Test(arguments: ["llama3_rope", "qwen2", "qwen3"])
  func writesAdaptersAlone(name: String) throws {
    let family = try FamilyTests.Case(name)
    var model = try family.model()
    let base = folder.path + "/base.gguf"
    try model.saveGGUF(to: base, as: .f32, name: name, tokenizer: [])
    var configuration = LoRAConfiguration()
    configuration.r = 4
    configuration.usesRankStabilisedScale = true
    configuration.rankPattern = ["v_proj": 3]
    configuration.alphaPattern = ["down_proj": 5]
    let parameters = try model.addLoRA(configuration, seed: 3, on: cpu)
    var random = SplitMix(state: 9)
    for index in parameters.entries.indices {
      parameters.withValues(index) { for i in $0.indices { $0[i] += 0.1 * random.next() } }
    }
    let (merged, lora) = (folder.path + "/merged.gguf", folder.path + "/lora.gguf")
    try model.saveGGUF(to: merged, as: .f32, name: name, tokenizer: [])
    try model.saveLoRAGGUF(to: lora, as: .f32, name: name, configuration: configuration)
    let files = try (GGUFFile(path: base), GGUFFile(path: merged), GGUFFile(path: lora))
    #expect(files.2.metadata["general.type"]?.string == "adapter")
    #expect(files.2.metadata["adapter.type"]?.string == "lora")
    let alpha = try #require(files.2.metadata["adapter.lora.alpha"]?.double)
    var compared = 0
    for key in files.2.names where key.hasSuffix(".lora_a") {
      let matrix = String(key.dropLast(7))
      let (a, b) = try (files.2.required(key), files.2.required(matrix + ".lora_b"))
      let rank = a.shape[0]
      var expected = try files.0.required(matrix).weight().floats()
      let update = try LowRankUpdate(up: b.weight(), down: a.floats(), scale: Float(alpha) / Float(rank))
      try update.add(rows: 0..<b.shape[0], to: &expected, on: cpu)
      #expect(try relativeError(files.1.required(matrix).weight().floats(), expected) < 1e-6, "\(matrix)")
      compared += 1
    }
    #expect(compared > 0 && files.2.names.count == 2 * compared)
  }

  @Test func refusesAdaptersThatGGUFCannotHold() throws {
    let family = try FamilyTests.Case("llama_bias")
    let adapter = try AdapterFolder(path: family.path + "/adapter")
    var model = try family.model()
    _ = try model.addLoRA(adapter, on: cpu)
    #expect {
      try model.saveLoRAGGUF(
        to: folder.path + "/lora.gguf", as: .f32, name: "", configuration: adapter.configuration)
    } throws: { ($0 as? SwiftletError)?.code == .unsupported }
    #expect(try folder.files.isEmpty)
  }

  /// llama.cpp's mixture for Llama 3.1 8B and for rows that K-blocks do not fill.
  @Test func mixesAsLlamaCppDoes() throws {
    var spec = try FamilyTests.Case("llama").model().spec
    spec.layers = 32
    func format(_ type: GGUFType, _ name: TensorName, isHead: Bool = false, _ columns: Int = 4096)
      -> StorageFormat
    {
      type.format(of: name, isHead: isHead, columns: columns, in: spec)
    }
    let more = (0..<32).filter { format(.q4_K_M, .weight(.down, layer: $0)) == .q6_K }
    #expect(more == [0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31])
    #expect((0..<32).filter { format(.q5_K_M, .weight(.v, layer: $0)) == .q6_K } == more)
    #expect(format(.q4_K_M, .weight(.q, layer: 0)) == .q4_K)
    #expect(format(.q4_K_M, .embedding) == .q4_K && format(.q4_K_M, .embedding, isHead: true) == .q6_K)
    #expect(format(.q4_0, .head, isHead: true) == .q6_K && format(.q8_0, .head, isHead: true) == .q8_0)
    #expect(format(.q4_0, .embedding) == .q4_0 && format(.f16, .head, isHead: true) == .f16)
    // SmolLM2's rows of 576.
    #expect(format(.q4_K_M, .weight(.q, layer: 5), 576) == .q5_0)
    #expect(format(.q5_K_M, .weight(.q, layer: 5), 576) == .q5_1)
    #expect(format(.q4_K_M, .weight(.v, layer: 0), 576) == .q8_0)
    #expect(format(.q4_K_M, .embedding, isHead: true, 576) == .q8_0)
    #expect(format(.q4_0, .weight(.q, layer: 5), 48) == .f16)
  }

  // MARK: Folders

  /// What is out of a type's range is no infinity in a file.
  @Test func refusesNumbersOutOfRange() throws {
    let family = try FamilyTests.Case("llama")
    var model = try family.model()
    let parameters = try model.trainAll(on: cpu)
    for value in [Float(1e6), .nan, .infinity] {
      parameters.withValues(3) { $0[5] = value }
      for path in ["folder", "file.gguf"] {
        let path = folder.path + "/" + path
        #expect {
          if path.hasSuffix("gguf") {
            try model.saveGGUF(to: path, as: .f16, name: "", tokenizer: [])
          } else {
            try model.save(to: path, as: .float16, source: ModelFile(path: family.path))
          }
        } throws: { error in
          (error as? SwiftletError)?.code == (value.isFinite ? .unsupported : .malformedFile)
        }
      }
    }
  }

  /// Our NF4 folders, read back as other programs' are.
  @Test func writesBitsAndBytes() throws {
    let family = try FamilyTests.Case("qwen2")
    var model = try family.model()
    _ = try model.addLoRA(AdapterFolder(path: family.path + "/adapter"), on: cpu)
    let source = try ModelFile(path: family.path)
    try model.saveBitsAndBytes(to: folder.path + "/nf4", source: source, maximumShard: 2000)
    let file = try ModelFile(path: folder.path + "/nf4")
    let written = try Decoder(file, on: cpu)
    #expect(written.blocks[0].down.parts[0].weight.format == .nf4)
    try model.save(to: folder.path + "/merged", as: .float32, source: source)
    let expected = try Decoder(ModelFile(path: folder.path + "/merged"), weights: .nf4, on: cpu)
    for (one, other) in zip(written.linears, expected.linears).dropLast() {
      for (a, b) in zip(written[keyPath: one.path].parts, expected[keyPath: other.path].parts) {
        #expect(a.weight.floats() == b.weight.floats(), "\(a.name)")
      }
    }
  }
}
