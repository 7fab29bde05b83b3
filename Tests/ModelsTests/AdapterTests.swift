import Basics
import Compute
import Foundation
import Testing

@testable import Models

/// Adapter folders and saved models: what is written is read again, and what does not fit is named.
struct AdapterTests {
  typealias Case = FamilyTests.Case

  private let cpu: CPU

  init() throws { cpu = try CPU(threads: 2) }

  // MARK: - Adapters

  /// What PEFT saved, loaded and saved again: the same tensors and, but for keys that we do not write, the same
  /// configuration.
  @Test(arguments: FamilyTests.families) func keepsAnAdapter(_ name: String) throws {
    let family = try Case(name)
    let source = try AdapterFolder(path: family.path + "/adapter")
    var model = try family.model()
    let parameters = try model.addLoRA(source, on: cpu)
    let folder = try TemporaryFolder()
    let path = folder.path + "/new/adapter"
    try AdapterFolder.save(parameters, source.configuration, baseModel: "base", to: path)

    let saved = try AdapterFolder(path: path)
    #expect(saved.configuration == source.configuration)
    #expect(saved.baseModel == "base")
    let (old, new) = try (tensors(family.path + "/adapter"), tensors(path))
    #expect(new.metadata == ["format": "pt"])
    for name in new.names {
      #expect(try new.required(name).shape == old.required(name).shape)
      #expect(try new.required(name).floats() == old.required(name).floats())
    }
    // Beside an adapter of the head, PEFT saves the head.
    #expect(Set(old.names).subtracting(new.names).allSatisfy { $0.hasSuffix("lm_head.base_layer.weight") })

    var again = try family.model()
    _ = try again.addLoRA(saved, on: cpu)
    #expect(try family.run(again).logits() == family.run(model).logits())
  }

  /// Names as other versions and programs write them, and 16-bit values.
  @Test(arguments: [StorageFormat.f16, .bf16]) func readsOtherNamesAndTypes(_ format: StorageFormat) throws {
    let family = try Case("llama_bias")
    let original = try tensors(family.path + "/adapter")
    let folder = try TemporaryFolder()
    func renamed(_ name: String) -> String {
      name.replacing(".lora_A.", with: ".lora_A.default.").replacing(".base_layer", with: "")
        .replacing("lm_head.weight", with: "lm_head.modules_to_save.default.weight")
    }
    try write(
      original.names.map { (renamed($0), try original.required($0)) }, as: format, like: family, to: folder)
    var model = try family.model()
    let parameters = try model.addLoRA(AdapterFolder(path: folder.path), on: cpu)
    for (index, entry) in parameters.entries.enumerated() {
      let error = try relativeError(
        parameters.withValues(index) { Array($0) }, original.required(entry.name).floats())
      #expect(error > 0 && error < 0.004)
    }
  }

  /// A new adapter changes nothing yet; A is within Kaiming's bound, and the seed decides.
  @Test func beginsAsTheBaseModel() throws {
    let family = try Case("qwen3")
    let base = try family.model()
    var values: [[Float]] = []
    for seed: UInt64 in [1, 1, 2] {
      var model = base
      let parameters = try model.addLoRA(LoRAConfiguration(), seed: seed, on: cpu)
      #expect(try family.run(model).logits() == family.run(base).logits())
      #expect(parameters.entries.allSatisfy(\.decays) && parameters.trainedCount == parameters.count)
      for (index, entry) in parameters.entries.enumerated() where entry.name.contains("lora_A") {
        let largest = parameters.withValues(index) { $0.reduce(0) { max($0, abs($1)) } }
        let bound = 1 / Float(entry.columns).squareRoot()
        #expect(largest <= bound && largest > 0.8 * bound)
      }
      values.append(Array(parameters.allValues.hostFloats))
    }
    #expect(values[0] == values[1] && values[0] != values[2])
  }

  /// Biases and norms are not decayed; they lie after the rest, at a block of the 8-bit optimiser.
  @Test func weightDecayHasItsRange() throws {
    var model = try Case("qwen2").model()
    let parameters = try model.trainAll(on: cpu)
    let vectors = parameters.entries.filter { !$0.decays }
    #expect(vectors.map(\.count).reduce(0, +) == parameters.runs[1].elements.count)
    #expect(vectors.allSatisfy { $0.name.hasSuffix(".bias") || $0.name.contains("norm") })
    #expect(parameters.runs.map(\.decays) == [true, false])
    #expect(parameters.runs[1].elements.lowerBound % AdamW8bitState.block == 0)
    #expect(parameters.runs[1].elements.upperBound == parameters.count)
    #expect(parameters.entries.map(\.count).reduce(0, +) == parameters.trainedCount)
  }

  // MARK: - What does not fit

  @Test func namesWhatDoesNotFit() throws {
    let family = try Case("llama")
    let original = try tensors(family.path + "/adapter")
    let all = try original.names.map { ($0, try original.required($0)) }
    let first = original.names[0]
    let folder = try TemporaryFolder()
    func load() throws {
      var model = try family.model()
      _ = try model.addLoRA(AdapterFolder(path: folder.path), on: cpu)
    }

    try write(Array(all.dropFirst()), as: .f32, like: family, to: folder)
    expect("there is no tensor \"\(first)\"", .mismatch) { try load() }
    try write(all + [("base_model.model.extra.lora_A.weight", all[0].1)], as: .f32, like: family, to: folder)
    expect("extra.lora_A.weight\" \(all[0].1.shape) has no place", .mismatch) { try load() }
    try write([(first, all[1].1)] + all.dropFirst(), as: .f32, like: family, to: folder)
    expect("\"\(first)\" has the shape \(all[1].1.shape), adapter_config.json", .mismatch) { try load() }

    // Nothing was half done: the model still takes an adapter.
    var model = try family.model()
    #expect(throws: SwiftletError.self) { try model.addLoRA(AdapterFolder(path: folder.path), on: cpu) }
    _ = try model.addLoRA(AdapterFolder(path: family.path + "/adapter"), on: cpu)
  }

  @Test(arguments: [
    (#"{"peft_type":"LOHA"}"#, "of type LOHA"), (#"{"use_dora":true}"#, "use_dora"), ("{", "adapter_config"),
    (#"{"r":0}"#, "\"r\""), (#"{"r":2}"#, "lora_alpha"), (#"{"r":2,"lora_alpha":2}"#, "target_modules"),
    (#"{"r":2,"lora_alpha":2,"bias":"some"}"#, "bias"), (#"{"init_lora_weights":"pissa"}"#, "pissa"),
    (#"{"r":2,"lora_alpha":2,"target_modules":["q_proj"],"rank_pattern":{"q":"x"}}"#, "rank_pattern"),
    (#"{"r":2,"lora_alpha":2,"target_modules":["q_proj"],"lora_dropout":1}"#, "lora_dropout"),
    (#"{"r":2,"lora_alpha":2,"target_modules":["q_proj"]}"#, "adapter_model.safetensors"),
  ]) func refusesConfigurations(_ config: String, _ named: String) throws {
    let folder = try TemporaryFolder()
    try folder.write(Array(config.utf8), "adapter_config.json")
    expect(named) { _ = try AdapterFolder(path: folder.path) }
  }

  @Test func refusesTargets() throws {
    var lora = LoRAConfiguration()
    func add() throws {
      var model = try Case("llama").model()
      _ = try model.addLoRA(lora, seed: 1, on: cpu)
    }
    lora.targets = .names(["q_prj"])
    expect("chooses no layer") { try add() }
    lora.targets = .names(["q_proj", "embed_tokens"])
    expect("embed_tokens") { try add() }
    lora.targets = .pattern("(")
    expect("no regular expression") { try add() }
    lora.targets = .allLinear
    lora.modulesToSave = ["norm"]
    expect("'norm'") { try add() }
    lora.modulesToSave = []
    lora.rankPattern = ["q_proj": 0]
    expect("rank of model.layers.0.self_attn.q_proj") { try add() }
  }

  // MARK: - Saved models

  /// Weights with adapters merged give the adapter's logits; a folder that was saved loads.
  @Test(arguments: FamilyTests.families) func savesMergedModels(_ name: String) throws {
    let family = try Case(name)
    var model = try family.model()
    _ = try model.addLoRA(AdapterFolder(path: family.path + "/adapter"), on: cpu)
    let folder = try TemporaryFolder()
    try model.save(
      to: folder.path + "/merged", as: .float32, source: ModelFile(path: family.path), maximumShard: 16_000)
    let merged = try Decoder(ModelFile(path: folder.path + "/merged"), on: cpu)
    #expect(try relativeError(family.run(merged).logits(), family.floats("adapter.logits")) < 1e-5)
  }

  /// Rotary divisors of GGUF that no scaling of config.json gives are found before anything is trained.
  @Test func knowsBeforehandWhatCannotBeSaved() throws {
    let gguf = try ModelFile(path: Fixture.path("small.gguf"))
    let model = try Case("llama").model()
    try model.checkSave(source: gguf)
    var spec = model.spec
    spec.rotary.scaling = .divisors((0..<spec.rotary.dimensions / 2).map { 2 + Float($0) })
    let stretched = Decoder(
      spec: spec, embedding: model.embedding, blocks: model.blocks, finalNorm: model.finalNorm,
      head: model.head, vectors: [], backend: cpu)
    let error = #expect(throws: SwiftletError.self) { try stretched.checkSave(source: gguf) }
    #expect(error?.code == .unsupported)
  }

  @Test func savesTrainedModels() throws {
    let family = try Case("qwen2_tied")
    var model = try family.model()
    _ = try model.trainAll(on: cpu)
    let folder = try TemporaryFolder()
    let source = try ModelFile(path: family.path)
    try model.save(to: folder.path, as: .float32, source: source)
    #expect(try folder.files == ["config.json", "model.safetensors"])
    #expect(try SafetensorsFolder(path: folder.path).tensor("lm_head.weight") == nil)
    let (old, new) = try (ModelFile(path: family.path), ModelFile(path: folder.path))
    for name in old.store.names {
      #expect(try new.store.required(name).floats() == old.store.required(name).floats())
    }
    try model.save(to: folder.path, as: .bfloat16, source: source)
    let rounded = try Decoder(ModelFile(path: folder.path), on: cpu)
    #expect(rounded.embedding.format == .bf16)
    #expect(try relativeError(family.run(rounded).logits(), family.floats("logits")) < 0.05)
  }

  /// A config.json made from what GGUF metadata say reads as the same model.
  @Test(arguments: FamilyTests.families) func writesConfigurations(_ name: String) throws {
    let spec = try ModelFile(path: Case(name).path).spec()
    let config = try spec.config(tokenizer: [:])
    #expect(try ModelSpec(config: .object(config), path: "config.json") == spec)
  }

  // MARK: - Helpers

  private func tensors(_ folder: String) throws -> SafetensorsFile {
    try SafetensorsFile(path: folder + "/adapter_model.safetensors")
  }

  /// An adapter folder of these tensors, with the family's configuration.
  private func write(
    _ tensors: [(name: String, tensor: StoredTensor)], as format: StorageFormat, like family: Case,
    to folder: TemporaryFolder
  ) throws {
    let config = try Data(contentsOf: URL(filePath: family.path + "/adapter/adapter_config.json"))
    try folder.write(Array(config), "adapter_config.json")
    let writer = try SafetensorsWriter(
      path: folder.path + "/adapter_model.safetensors",
      tensors: tensors.map { .init($0.name, $0.tensor.shape, .weight(format)) })
    for (name, tensor) in tensors {
      let bytes = try tensor.floats().withUnsafeBufferPointer { format.encoded($0.span) }
      try writer.append(bytes.span.bytes, to: name)
    }
    try writer.finish()
  }

  /// Expects an error whose message contains `text`.
  private func expect(
    _ text: String, _ code: SwiftletError.Code? = nil, location: SourceLocation = #_sourceLocation,
    _ body: () throws -> Void
  ) {
    let error = #expect(throws: SwiftletError.self, sourceLocation: location) { try body() }
    #expect(error?.message.contains(text) == true, "\(error?.message ?? "")", sourceLocation: location)
    if let code { #expect(error?.code == code, sourceLocation: location) }
  }
}
