import Basics
import Testing

@testable import Training

/// Keys and values of configuration files.
struct ConfigurationTests {
  static let minimal: JSON.Object = [
    "model_name_or_path": "m", "train_file": ["t.jsonl"], "output_dir": "out",
  ]

  static func configuration(
    _ changes: JSON.Object = [:], overrides: [(String, JSON)] = []
  ) throws(SwiftletError) -> TrainingConfiguration {
    var values = minimal
    values.merge(changes)
    return try TrainingConfiguration(
      .object(values), overrides: overrides.map { (key: $0.0, value: $0.1) }, source: "run.yaml")
  }

  /// A value other than the default for every key; what `json` has in its place where that is another key.
  static let samples: [(key: String, value: JSON, others: JSON.Object, written: JSON.Object?)] = [
    ("model_name_or_path", "m", [:], nil), ("adapter_name_or_path", "a", [:], nil),
    ("base_weights", "int8", [:], nil), ("load_in_4bit", true, [:], ["base_weights": "nf4"]),
    ("load_in_8bit", true, [:], ["base_weights": "int8"]), ("device", "cpu", [:], nil),
    ("dtype", "float32", [:], nil), ("bf16", true, [:], ["dtype": "bfloat16"]),
    ("train_file", ["a.jsonl", "b.csv"], [:], nil), ("eval_file", ["e.jsonl"], [:], nil),
    ("eval_split", 0.25, [:], nil), ("dataset_format", "alpaca", [:], nil),
    ("dataset_template", "{q} {a}", [:], nil),
    ("response_template", " ", ["dataset_template": "{q} {a}"], nil),
    ("train_on_responses_only", false, [:], nil), ("max_seq_length", 64, [:], nil),
    ("long_sequences", "drop", [:], nil), ("packing", false, [:], nil),
    ("system_prompt", "Be kind.", [:], nil),
    ("append_eos", false, [:], nil), ("chat_template", "c.jinja", [:], nil), ("cache_dir", "cache", [:], nil),
    ("finetuning_type", "full", [:], nil), ("r", 4, [:], nil), ("lora_alpha", 7.5, [:], nil),
    ("lora_dropout", 0.1, [:], nil), ("target_modules", ["q_proj"], [:], nil),
    ("exclude_modules", ["o_proj"], [:], nil), ("bias", "lora_only", [:], nil),
    ("layers_to_transform", [0, 2], [:], nil), ("use_rslora", true, [:], nil),
    ("rank_pattern", ["q_proj": 4], [:], nil), ("alpha_pattern", ["q_proj": 4.5], [:], nil),
    ("modules_to_save", ["lm_head"], [:], nil), ("learning_rate", 3e-5, [:], nil),
    ("lr_scheduler_type", "cosine", [:], nil), ("warmup_steps", 3, [:], nil), ("warmup_ratio", 0.5, [:], nil),
    ("num_train_epochs", 1.5, [:], nil), ("max_steps", 7, [:], nil),
    ("per_device_train_batch_size", 2, [:], nil), ("per_device_eval_batch_size", 3, [:], nil),
    ("gradient_accumulation_steps", 5, [:], nil), ("optim", "adamw_8bit", [:], nil),
    ("weight_decay", 0.01, [:], nil), ("adam_beta1", 0.8, [:], nil), ("adam_beta2", 0.95, [:], nil),
    ("adam_epsilon", 1e-6, [:], nil), ("max_grad_norm", 0.0, [:], nil), ("seed", 7, [:], nil),
    ("gradient_checkpointing", "elementwise", [:], nil), ("memory_budget", 1_000_000, [:], nil),
    ("overwrite_output_dir", true, [:], nil), ("output_dir", "out", [:], nil),
    ("logging_steps", 10, [:], nil),
    ("eval_strategy", "no", [:], nil), ("eval_steps", 20, [:], nil), ("save_strategy", "epoch", [:], nil),
    ("save_steps", 30, [:], nil), ("save_total_limit", 2, [:], nil),
    ("resume_from_checkpoint", "out/checkpoint-5", [:], nil),
  ]

  @Test func samplesCoverEveryKey() {
    #expect(Set(Self.samples.map(\.key)) == Set(ConfigurationKey.all.map(\.name)))
    let names = ConfigurationKey.all.flatMap { [$0.name] + $0.aliases }
    #expect(Set(names).count == names.count)
    #expect(names.allSatisfy { ForeignKey.named($0) == nil })
  }

  /// Every key reaches its property, and what is written is read back as the same.
  @Test(arguments: samples.indices) func keepsEveryKey(_ index: Int) throws {
    let sample = Self.samples[index]
    var changes = sample.others
    changes[sample.key] = sample.value
    let configuration = try Self.configuration(changes)
    var expected = Self.minimal
    expected.merge(sample.others)
    expected.merge(sample.written ?? [sample.key: sample.value])
    let written = try #require(configuration.json.object)
    #expect(Set(written.keys) == Set(expected.keys))
    for (key, value) in expected { #expect(written[key] == value, "\(key)") }
    #expect(try TrainingConfiguration(configuration.json, source: "again").json == configuration.json)
  }

  @Test func namesMayBeOthers() throws {
    for key in ConfigurationKey.all {
      let value = try #require(Self.samples.first { $0.key == key.name }).value
      for alias in key.aliases {
        var values = Self.minimal
        values[key.name] = nil
        values[alias] = value
        let source = "run.yaml"
        let configuration = try TrainingConfiguration(.object(values), source: source)
        #expect(key.read(configuration) == value, "\(alias)")
      }
    }
  }

  /// Values as other programs write them.
  @Test func readsOtherSpellings() throws {
    #expect(try Self.configuration(["learning_rate": "2e-4"]).run.learningRate == 2e-4)
    #expect(try Self.configuration(["max_steps": -1]).run.maximumSteps == nil)
    #expect(try Self.configuration(["max_grad_norm": nil]).run.optimizer.maximumNorm == 1)
    #expect(try Self.configuration(["save_strategy": false]).run.saveStrategy == .no)
    #expect(try Self.configuration(["memory_budget": "1.5GB"]).run.memoryBudget == 3 << 29)
    #expect(try Self.configuration(["gradient_checkpointing": "unsloth"]).run.checkpointing == nil)
    #expect(try Self.configuration(["optim": "paged_adamw_8bit"]).run.optimizer.kind == .adamW8bit)
    #expect(try Self.configuration(["train_file": "one.csv"]).trainFiles == ["one.csv"])
    #expect(try Self.configuration(["r": 8], overrides: [("lora_r", 2)]).lora.r == 2)
    #expect(try Self.configuration(["max_steps": 8], overrides: [("max_steps", nil)]).run.maximumSteps == nil)
    for (key, value) in [("base_weights", "int8"), ("load_in_8bit", true)] as [(String, JSON)] {
      #expect(try Self.configuration(["load_in_4bit": true], overrides: [(key, value)]).baseWeights == .int8)
    }
    #expect(
      try Self.configuration(["load_in_4bit": true], overrides: [("load_in_4bit", false)]).baseWeights
        == .file)
  }

  /// What is wrong, and words that the error must have.
  @Test(
    arguments: [
      (["max_step": 3], ["run.yaml", "'max_step'", "'max_steps'"]),
      (["lora_ranks": 3], ["'lora_rank'"]), (["qqqqqqqq": 3], ["--keys"]),
      (["max_step": 3, "qqqqqqqq": 1], ["keys 'max_step', 'qqqqqqqq'", "'max_steps' by 'max_step'"]),
      (["max_steps": "many"], ["max_steps", "\"many\"", "at least 1"]), (["max_steps": 0], ["at least 1"]),
      (["r": 1.5], ["r is 1.5", "integer"]), (["packing": 1], ["true or false"]),
      (["learning_rate": -1], ["0 to 10"]), (["bias": "some"], ["none, all, lora_only"]),
      (["optim": "sgd"], ["adamw_torch, adamw_8bit"]), (["train_file": []], ["train_file"]),
      (["memory_budget": "lots"], ["12GB"]), (["rank_pattern": ["q": "x"]], ["rank_pattern"]),
      (["layers_to_transform": [1, "x"]], ["integers"]),
      (["eval_strategy": "sometimes"], ["no, steps, epoch"]),
      (["model": "x"], ["'model_name_or_path' and 'model'", "same key"]),
      (["device": "cuda:0"], ["cuda:0", "CPU"]), (["device": "tpu"], ["auto or cpu"]),
      (["fp16": true], ["fp16 is true", "bf16"]), (["use_dora": true], ["use_dora"]),
      (["load_best_model_at_end": true], ["eval_loss"]),
      (["load_in_4bit": true, "load_in_8bit": true], ["load_in_4bit", "int8"]),
      (["load_in_4bit": true, "base_weights": "file"], ["load_in_4bit", "file"]),
      (["response_template": "x"], ["dataset_template"]),
      (["dataset_template": "{x}", "dataset_format": "text"], ["exclude each other"]),
      (["eval_file": "e", "eval_split": 0.1], ["exclude each other"]),
      (["finetuning_type": "full", "adapter_name_or_path": "a"], ["lora"]),
      (["finetuning_type": "full", "load_in_4bit": true], ["nf4"]), (["num_train_epochs": 0], ["max_steps"]),
      (["eval_strategy": "epoch"], ["eval_file or eval_split"]), (["deepspeed": "zero.json"], ["deepspeed"]),
      (["output_dir": nil], []),
    ] as [(JSON.Object, [String])])
  func saysWhatIsWrong(_ changes: JSON.Object, _ words: [String]) throws {
    if words.isEmpty {
      var values = Self.minimal
      values["output_dir"] = nil
      #expect(throws: SwiftletError(.invalidConfiguration, "run.yaml: output_dir is missing")) {
        _ = try TrainingConfiguration(.object(values), source: "run.yaml")
      }
      return
    }
    let error = #expect(throws: SwiftletError.self) { _ = try Self.configuration(changes) }
    for word in words {
      #expect(error?.description.contains(word) == true, "\(word) in \(String(describing: error))")
    }
  }

  @Test func letsHarmlessKeysPass() throws {
    let configuration = try Self.configuration([
      "report_to": "wandb", "fp16": false, "push_to_hub": false, "task_type": "CAUSAL_LM", "logging_dir": nil,
    ])
    #expect(
      configuration.ignoredKeys.map(\.key) == [
        "report_to", "fp16", "push_to_hub", "task_type", "logging_dir",
      ])
    #expect(configuration.json == .object(Self.minimal.sortedLikeKeys))
  }

  @Test func namesSettingsThatAnAdapterBrings() throws {
    let configuration = try Self.configuration(["adapter_name_or_path": "a", "r": 4, "lora_alpha": 16])
    #expect(configuration.ignoredKeys.map(\.key) == ["r"])
  }
}

extension JSON.Object {
  /// In the order of the table of keys.
  fileprivate var sortedLikeKeys: JSON.Object {
    JSON.Object(
      uniqueKeysWithValues: ConfigurationKey.all.compactMap { key in self[key.name].map { (key.name, $0) } })
  }
}
