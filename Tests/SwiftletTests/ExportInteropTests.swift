import Foundation
import TestSupport
import Testing

@testable import Swiftlet

/// What we merge and export, transformers and llama.cpp load, and compute the same.
struct ExportInteropTests {
  private let folder: TemporaryFolder
  private let cpu: CPU

  init() throws {
    folder = try TemporaryFolder()
    cpu = try CPU(threads: 2)
  }

  // MARK: Cases

  static let settings: [(name: String, settings: JSON.Object)] = {
    let shape: JSON.Object = [
      "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
      "num_key_value_heads": 2, "head_dim": 16,
    ]
    let families: [(String, JSON.Object)] = [
      ("llama", ["tie_word_embeddings": false]),
      (
        "llama3",
        [
          "rope_scaling": [
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
          ], "rope_theta": 500000.0,
        ]
      ),
      ("linear", ["rope_scaling": ["rope_type": "linear", "factor": 4.0]]),
      ("mistral", ["model_type": "mistral", "architectures": ["MistralForCausalLM"]]),
      ("qwen2", ["model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]]),
      (
        "qwen3",
        ["model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "tie_word_embeddings": false]
      ),
    ]
    return families.map { name, settings in
      var all = shape
      all.merge(settings)
      return (name, all)
    }
  }()

  private static let texts = [
    "Hello world 12345", "  indented\n\n\tcafé naïve 中文 😀 I'll DON'T 3.14",
    "<|im_start|>user\nHi<|im_end|>\n",
  ]

  /// A random model with a random adapter of every kind of scale.
  private func adapted(_ name: String, _ settings: JSON.Object) throws -> LanguageModel {
    try adapted(LanguageModel(TinyModel.write(to: folder, named: name, settings: settings), backend: cpu))
  }

  private func adapted(_ model: LanguageModel, size: Float = 0.2) throws -> LanguageModel {
    var lora = LoRAConfiguration()
    lora.r = 4
    lora.usesRankStabilisedScale = true
    lora.rankPattern = ["v_proj": 3]
    lora.alphaPattern = ["down_proj": 5]
    try model.addLoRA(lora)
    let parameters = try #require(model.parameters)
    var noise = Noise(state: 3)
    for (index, entry) in parameters.entries.enumerated() where entry.name.contains("lora_B") {
      try parameters.setValues(of: index, to: (0..<entry.count).map { _ in size * noise.next() })
    }
    return model
  }

  /// What `path`, read by us, makes of texts and of a prompt.
  private func expectation(
    _ path: String, lora: String? = nil, tolerance: Double = 1e-4, greedy: Bool = true,
    of other: LanguageModel? = nil
  ) throws -> JSON {
    let model = try other ?? LanguageModel(path, backend: cpu)
    let generator = try Generator(model.decoder, tokenizer: model.tokenizer, on: cpu)
    let ids = { (ids: [Int32]) in JSON.array(ids.map { .int(Int($0)) }) }
    let prompt = model.tokenizer.encode("The capital of France is")
    let generation = try generator.generate(
      prompt, GenerationOptions(maxNewTokens: 32, stopTokens: model.stopTokens))
    var tokens: [Int32] = []
    while let token = try generation.next() { tokens.append(token.id) }
    #expect(!tokens.isEmpty)
    var json: JSON.Object = [
      "path": .string(path), "prompt": ids(prompt), "tolerance": .double(tolerance),
      "logits": .array(try generator.logits(after: prompt).map { .double(Double($0)) }),
      "texts": .array(
        Self.texts.map { [.string($0), ids(model.tokenizer.encode($0, addSpecialTokens: true))] }),
    ]
    if greedy { json["greedy"] = ids(tokens) }
    if let lora { json["lora"] = .string(lora) }
    return .object(json)
  }

  private func run(_ script: String, _ cases: [JSON]) throws {
    let (status, output) = try Python.interop(script, [folder.write(JSON.array(cases).text(), "cases.json")])
    #expect(status == 0, "\(output)")
    print(
      output.split(separator: "\n").filter { $0.contains("relative error") || $0.contains("tokens") }
        .joined(separator: "\n"))
  }

  private static let smollm2 = try? ModelCache.path(of: "SmolLM2-135M-Instruct.Q4_1.gguf")

  // MARK: transformers

  @Test(.enabled(if: Python.has("torch", "transformers"), "SKIPPED: needs transformers (SWIFTLET_PYTHON)"))
  func transformersLoadsWhatWeMerge() throws {
    var cases: [JSON] = []
    for (name, settings) in Self.settings {
      let path = folder.path + "/merged-\(name)"
      try adapted(name, settings).export(to: path, as: .safetensors(.float16), maximumShard: 100_000)
      cases.append(try expectation(path))
      // By way of GGUF, which has neither config.json nor tokenizer.json.
      let gguf = folder.path + "/\(name).gguf"
      try LanguageModel(path, backend: cpu).export(to: gguf, as: .gguf(.f32))
      try LanguageModel(gguf, backend: cpu).export(to: path + "-gguf", as: .safetensors(.float32))
      cases.append(try expectation(path + "-gguf"))
    }
    if let smollm2 = Self.smollm2 {
      let path = folder.path + "/merged-smollm2"
      try adapted(LanguageModel(smollm2, backend: cpu), size: 0.002)
        .export(to: path, as: .safetensors(.bfloat16))
      cases.append(try expectation(path))
    }
    try run("exported_folder.py", cases)
  }

  @Test(
    .enabled(
      if: Python.has("torch", "transformers", "bitsandbytes", "accelerate"),
      "SKIPPED: needs transformers, bitsandbytes and accelerate (SWIFTLET_PYTHON)"))
  func transformersLoadsWhatWeQuantise() throws {
    // bitsandbytes' products on the CPU want rows of whole blocks of 64.
    let settings: JSON.Object = ["hidden_size": 128, "intermediate_size": 256, "head_dim": 64]
    let path = folder.path + "/bnb"
    try adapted("llama", settings).export(to: path, as: .bitsAndBytes)
    // transformers computes in bfloat16.
    try run("exported_folder.py", [expectation(path, tolerance: 0.05, greedy: false)])
  }

  // MARK: llama.cpp

  @Test(.enabled(if: Python.has("llama_cpp"), "SKIPPED: needs llama-cpp-python (SWIFTLET_PYTHON)"))
  func llamaCppLoadsWhatWeExport() throws {
    var cases: [JSON] = []
    for (name, settings) in Self.settings {
      let model = try adapted(name, settings)
      let path = folder.path + "/\(name).F16.gguf"
      try model.export(to: path, as: .gguf(.f16))
      cases.append(try expectation(path))
      let (base, lora) = (folder.path + "/\(name).F32.gguf", folder.path + "/\(name)-lora.gguf")
      try LanguageModel(folder.path + "/" + name, backend: cpu).export(to: base, as: .gguf(.f32))
      try model.exportAdapter(to: lora, as: .f32)
      cases.append(try expectation(base, lora: lora, of: model))
    }
    // Every type is loaded; llama.cpp rounds activations too, so that answers may part.
    let model = try adapted("types", ["hidden_size": 256, "intermediate_size": 512, "head_dim": 64])
    for type in GGUFType.allCases {
      let path = folder.path + "/types.\(type.rawValue).gguf"
      try model.export(to: path, as: .gguf(type))
      cases.append(try expectation(path, greedy: false))
    }
    if let smollm2 = Self.smollm2 {
      let path = folder.path + "/smollm2.F16.gguf"
      try adapted(LanguageModel(smollm2, backend: cpu), size: 0.002).export(to: path, as: .gguf(.f16))
      cases.append(try expectation(path))
    }
    try run("exported_gguf.py", cases)
  }
}
