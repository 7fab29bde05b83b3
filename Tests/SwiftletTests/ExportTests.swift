import Foundation
import TestSupport
import Testing

@testable import Swiftlet

/// Writing models: complete, checked, and whole or not at all.
struct ExportTests {
  private let folder: TemporaryFolder
  private let cpu: CPU

  init() throws {
    folder = try TemporaryFolder()
    cpu = try CPU(threads: 2)
  }

  private func tiny() throws -> LanguageModel {
    try LanguageModel(TinyModel.write(to: folder), backend: cpu)
  }

  private func code(_ body: () throws -> Void) -> SwiftletError.Code? {
    do { try body() } catch { return (error as? SwiftletError)?.code }
    return nil
  }

  private var names: [String] {
    get throws { try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted() }
  }

  static let formats: [ExportFormat] =
    CheckpointPrecision.allCases.map { .safetensors($0) } + [.bitsAndBytes]
    + GGUFType.allCases.map { .gguf($0) }

  /// From a folder, and of the result into each kind again: nothing of what opening a model needs is lost.
  @Test(arguments: formats)
  func writesWhatCanBeOpened(format: ExportFormat) throws {
    let model = try tiny()
    let (first, second) = (folder.path + "/first", folder.path + "/second")
    let report = try model.export(to: first, as: format)
    #expect(report.comparison.positions > 40 && report.bytes > 1000)
    let written = try LanguageModel(first, backend: cpu)
    #expect(written.stopTokens == model.stopTokens)
    #expect(written.chatTemplate?.source == model.chatTemplate?.source)
    #expect(written.decoder.spec.tiesHead && written.contextLength == model.contextLength)
    for (format, path) in [(ExportFormat.safetensors(.float32), second), (.gguf(.f32), second + ".gguf")] {
      let again = try written.export(to: path, as: format)
      #expect(
        again.comparison.largestDifference < 1e-5 && again.comparison.agreeing == again.comparison.positions)
      #expect(try LanguageModelText(path).stopTokens == model.stopTokens)
    }
  }

  @Test func fillsAFolderOfAGGUFFile() throws {
    let (gguf, merged) = (folder.path + "/a.gguf", folder.path + "/merged")
    try tiny().export(to: gguf, as: .gguf(.f32))
    try LanguageModel(gguf, backend: cpu).export(to: merged, as: .safetensors(.bfloat16))
    for name in [
      "config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
      "generation_config.json",
      "model.safetensors",
    ] {
      #expect(folder.has("merged/" + name), "\(name)")
    }
    let generation = try JSON(parsing: folder.text("merged/generation_config.json"))
    #expect(generation["eos_token_id"] == [256, 258])
  }

  /// All weights trained, from a GGUF file: the result needs nothing from elsewhere.
  @Test func savesATokenizerAfterFullTraining() throws {
    let gguf = folder.path + "/a.gguf"
    try tiny().export(to: gguf, as: .gguf(.f32))
    let model = try LanguageModel(gguf, backend: cpu)
    try model.trainAllWeights()
    try model.save(to: folder.path + "/trained")
    let trained = try LanguageModel(folder.path + "/trained", backend: cpu)
    #expect(trained.tokenizer.encode("Hi<|im_end|>") == model.tokenizer.encode("Hi<|im_end|>"))
  }

  // MARK: What is there already

  @Test func replacesOnlyWhenAsked() throws {
    let model = try tiny()
    try folder.write("mine", "file.gguf")
    try folder.write("mine", "other/notes.txt")
    try model.export(to: folder.path + "/merged", as: .safetensors(.float32))
    for path in ["file.gguf", "merged", "other", "tiny"] {
      let path = folder.path + "/" + path
      #expect(code { try model.export(to: path, as: .gguf(.f32)) } == .invalidConfiguration, "\(path)")
    }
    #expect(try folder.text("file.gguf") == "mine")
    try model.export(to: folder.path + "/merged", as: .safetensors(.float16), replacing: true)
    try model.export(to: folder.path + "/file.gguf", as: .gguf(.f32), replacing: true)
    #expect(try LanguageModel(folder.path + "/merged", backend: cpu).decoder.embedding.format == .f16)
    // Neither a folder of other things nor what is being read.
    for path in ["other", "tiny"] {
      #expect(
        code { try model.export(to: folder.path + "/" + path, as: .gguf(.f32), replacing: true) }
          == .invalidConfiguration)
    }
    #expect(try names == ["file.gguf", "merged", "other", "tiny"])
    try FileManager.default.createDirectory(atPath: folder.path + "/empty", withIntermediateDirectories: true)
    try model.export(to: folder.path + "/empty", as: .safetensors(.float32))
  }

  @Test func clearsAwayWhatAnEarlierAttemptLeft() throws {
    try folder.write("half", ".merged.partial/model.safetensors")
    try tiny().export(to: folder.path + "/merged", as: .safetensors(.float32))
    #expect(try names == ["merged", "tiny"])
  }

  /// What is not the model's is not put in place.
  @Test func comparesBeforeItCounts() throws {
    let model = try tiny()
    let other = try LanguageModel(
      TinyModel.write(to: folder, named: "other", settings: ["hidden_size": 32]), backend: cpu)
    try other.export(to: folder.path + "/wrong", as: .safetensors(.float32))
    #expect(code { _ = try model.compare(with: folder.path + "/wrong", .gguf(.q4_0)) } == .mismatch)
    // A broken adapter, of which the merged weights are no numbers.
    try model.addLoRA(LoRAConfiguration())
    let parameters = try #require(model.parameters)
    try parameters.setValues(of: 1, to: Array(repeating: .nan, count: parameters.entries[1].count))
    for format in [ExportFormat.safetensors(.bfloat16), .gguf(.f16), .bitsAndBytes] {
      #expect(code { try model.export(to: folder.path + "/broken", as: format) } == .malformedFile)
    }
    #expect(try names == ["other", "tiny", "wrong"])
  }

  // MARK: Adapters

  @Test func exportsAdaptersAlone() throws {
    let model = try tiny()
    #expect(code { try model.exportAdapter(to: folder.path + "/a.gguf") } == .invalidConfiguration)
    try model.addLoRA(LoRAConfiguration())
    #expect(try model.exportAdapter(to: folder.path + "/a.gguf") > 1000)
    #expect(try GGUFFile(path: folder.path + "/a.gguf").names.count == 14)
  }

  @Test(
    arguments: [
      ("HuggingFaceTB/SmolLM2-135M-Instruct", "/m/SmolLM2-135M-Instruct.Q4_1.gguf", true),
      ("/m/SmolLM2-135M-Instruct.Q4_1.gguf", "/m/smollm2-135m-instruct", true),
      ("/c/models--Qwen--Qwen2.5-0.5B/snapshots/abc", "Qwen2.5-0.5B-bf16", true),
      ("Qwen/Qwen2.5-0.5B", "/m/Qwen2.5-1.5B", false),
      ("Qwen/Qwen2.5-0.5B", "/m/Llama-3.2-1B.Q8_0.gguf", false),
    ])
  func knowsItsBaseByName(named: String, path: String, fits: Bool) throws {
    let config = LoRAConfiguration().adapterConfig(baseModel: named)
    try folder.write(config.text(), "a/adapter_config.json")
    let writer = try SafetensorsWriter(path: folder.path + "/a/adapter_model.safetensors", tensors: [])
    try writer.finish()
    #expect(try AdapterFolder(path: folder.path + "/a").canBelong(to: path) == fits)
  }

  @Test func asksTheRunWhatItTrainedOn() throws {
    let config = LoRAConfiguration().adapterConfig(baseModel: "x")
    for place in ["run", "run/checkpoint-1"] {
      try folder.write(config.text(), "\(place)/adapter_config.json")
      try SafetensorsWriter(path: folder.path + "/\(place)/adapter_model.safetensors", tensors: []).finish()
    }
    let adapter = try AdapterFolder(path: folder.path + "/run/checkpoint-1")
    #expect(code { _ = try adapter.trainedBaseWeights() } == .invalidConfiguration)
    var configuration = TrainingConfiguration()
    configuration.baseWeights = .nf4
    try folder.write(configuration.json.text(), "run/swiftlet_config.json")
    #expect(try adapter.trainedBaseWeights() == .nf4)
  }

  @Test func writesAModelfile() throws {
    let model = try tiny()
    let gguf = folder.path + "/out.gguf"
    try model.export(to: gguf, as: .gguf(.f16))
    _ = try model.writeModelfile(for: gguf)
    #expect(
      try folder.text("Modelfile")
        == "FROM ./out.gguf\nPARAMETER stop \"<|endoftext|>\"\nPARAMETER stop \"<|im_end|>\"\nPARAMETER num_ctx 256\n"
    )
  }
}
