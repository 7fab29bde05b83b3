import Basics
import Compute
import Foundation
import Models
import TestSupport
import Testing

@testable import Generation

/// Rows of several adapters in one batch get what each adapter gives alone.
@Suite struct AdapterBatchTests {
  let cpu: CPU

  init() throws { cpu = try CPU(threads: 2) }

  /// An adapter with noise in it, saved to `folder`; returns the model that has it alone.
  func adapter(_ base: Decoder, _ configuration: LoRAConfiguration, seed: UInt64, to folder: String) throws
    -> Decoder
  {
    var model = base
    let parameters = try model.addLoRA(configuration, seed: seed, on: cpu)
    var noise = Noise(state: seed)
    for index in parameters.allValues.hostFloats.indices {
      parameters.allValues.hostFloats[index] = noise.next() / 4
    }
    try AdapterFolder.save(parameters, configuration, baseModel: "base", to: folder)
    return model
  }

  func tokens(_ generation: Generation) throws -> [Int32] {
    var ids: [Int32] = []
    while let token = try generation.next() { ids.append(token.id) }
    return ids
  }

  @Test(arguments: [DType.f32, .bf16], [TestModel.Kind.llama, .qwen3])
  func mixes(compute: DType, kind: TestModel.Kind) throws {
    let base = try TestModel.random(kind, on: cpu)
    let folder = try TemporaryFolder()
    var configurations = [LoRAConfiguration(), LoRAConfiguration(), LoRAConfiguration()]
    configurations[0].r = 4
    configurations[1].r = 3
    configurations[1].targets = .names(["q_proj", "v_proj", "down_proj"])
    configurations[2].r = 8
    configurations[2].usesRankStabilisedScale = true
    let generator = try Generator(base, on: cpu, compute: compute)
    var models: [(name: String?, model: Decoder)] = [(nil, base)]
    for (index, configuration) in configurations.enumerated() {
      let path = "\(folder.path)/\(index)"
      let model = try adapter(base, configuration, seed: UInt64(index + 1), to: path)
      models.append(("adapter\(index)", model))
      try generator.loadAdapter(path, name: "adapter\(index)")
    }
    #expect(generator.adapterNames == ["adapter0", "adapter1", "adapter2"])

    let prompt = KeyValueCacheTests.tokens(25)
    let options = GenerationOptions(maxNewTokens: 12)
    let together = try models.map {
      try generator.generate(GenerationRequest(prompt, options, adapter: $0.name))
    }
    let answers = try together.map(tokens)
    let alone = try models.map {
      try tokens(Generator($0.model, on: cpu, compute: compute).generate(prompt, options))
    }
    // In bfloat16, a product of all adapters adds up in another order than that of one.
    if compute == .f32 { #expect(answers == alone) }
    #expect(answers[0] == alone[0])
    #expect(Set(answers).count == 4)
    // Sequences of different adapters share nothing, those of one do.
    #expect(generator.totals.reusedTokens == 0)
    #expect(
      try tokens(generator.generate(GenerationRequest(prompt, options, adapter: "adapter1"))) == answers[2])
    #expect(generator.totals.reusedTokens == 16)

    try generator.unloadAdapter("adapter0")
    #expect(
      try tokens(generator.generate(GenerationRequest(prompt, options, adapter: "adapter2"))) == answers[3])
    let error = #expect(throws: SwiftletError.self) {
      try generator.generate(GenerationRequest(prompt, options, adapter: "adapter0"))
    }
    #expect(error?.code == .notFound)
    #expect(error?.remedy == "Loaded are: adapter1, adapter2.")
  }

  /// Rows of the only adapter need not be told from others', but there are those of none.
  @Test func servesOneAdapterBesideNone() throws {
    let base = try TestModel.random(.llama, on: cpu)
    let folder = try TemporaryFolder()
    let model = try adapter(base, LoRAConfiguration(), seed: 1, to: folder.path)
    let generator = try Generator(base, on: cpu)
    try generator.loadAdapter(folder.path, name: "only")
    let prompt = KeyValueCacheTests.tokens(25)
    for (name, alone) in [("only", model), (nil, base)] as [(String?, Decoder)] {
      let answer = try tokens(generator.generate(GenerationRequest(prompt, adapter: name)))
      #expect(try answer == tokens(Generator(alone, on: cpu).generate(prompt)))
    }
    #expect(generator.model.onlyAdapter == 1)
    try generator.loadAdapter(folder.path, name: "other")
    #expect(generator.model.onlyAdapter == nil)
  }

  @Test func refusesWhatDoesNotFit() throws {
    let folder = try TemporaryFolder()
    let small = try TestModel.random(.llama, on: cpu)
    _ = try adapter(small, LoRAConfiguration(), seed: 1, to: folder.path)
    let generator = try Generator(TestModel.random(.qwen3, layers: 1, on: cpu), on: cpu)
    let error = #expect(throws: SwiftletError.self) { try generator.loadAdapter(folder.path, name: "a") }
    #expect(error?.code == .mismatch)
    let fitting = try Generator(small, on: cpu)
    try fitting.loadAdapter(folder.path, name: "a")
    #expect(throws: SwiftletError.self) { try fitting.loadAdapter(folder.path, name: "a") }
    let answer = try fitting.generate(GenerationRequest([1], adapter: "a"))
    let busy = #expect(throws: SwiftletError.self) { try fitting.unloadAdapter("a") }
    #expect(busy?.code == .invalidConfiguration)
    withExtendedLifetime(answer) {}
  }
}
