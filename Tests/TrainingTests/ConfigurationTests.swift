import Basics
import Models
import Testing

@testable import Training

/// The keys of configuration files: what they set, what they refuse, and that nothing gets lost on the way back.
@Suite struct ConfigurationTests {
  static let required: JSON.Object = [
    "model_name_or_path": "m", "train_file": "t.jsonl", "output_dir": "out",
  ]

  static func configuration(
    _ members: JSON.Object, overrides: [(String, JSON)] = []
  ) throws(SwiftletError) -> TrainingConfiguration {
    var all = required
    all.merge(members)
    return try TrainingConfiguration(.object(all), overrides: overrides, source: "c.yaml")
  }

  static func error(_ members: JSON.Object, overrides: [(String, JSON)] = []) -> SwiftletError? {
    do throws(SwiftletError) { _ = try configuration(members, overrides: overrides) } catch { return error }
    return nil
  }

  // MARK: Every key

  /// For each key a value that is not its default, and others that a key needs beside it.
  static let samples: [(key: String, value: JSON, with: JSON.Object)] = [
    ("model_name_or_path", "SmolLM2", [:]), ("adapter_name_or_path", "old", [:]),
    ("base_weights", "int8", [:]),
    ("device", "cpu", [:]), ("dtype", "bfloat16", [:]), ("train_file", ["a.jsonl", "b.csv"], [:]),
    ("eval_file", ["e.jsonl"], [:]), ("eval_split", 0.1, [:]), ("dataset_format", "sharegpt", [:]),
    ("dataset_template", "Q: {q}\nA: {a}", [:]),
    ("response_template", "A: ", ["dataset_template": "Q: {q}\nA: {a}"]),
    ("train_on_responses_only", false, [:]), ("max_seq_length", 512, [:]), ("long_sequences", "drop", [:]),
    ("packing", false, [:]), ("system_prompt", "Be brief.", [:]), ("append_eos", false, [:]),
    ("chat_template", "t.jinja", [:]), ("cache_dir", "cache", [:]), ("finetuning_type", "full", [:]),
    ("r", 64, [:]), ("lora_alpha", 32.5, [:]), ("lora_dropout", 0.05, [:]),
    ("target_modules", ["q_proj", "v_proj"], [:]), ("exclude_modules", ["k_proj"], [:]),
    ("bias", "lora_only", [:]),
    ("layers_to_transform", [0, 3], [:]), ("use_rslora", true, [:]),
    ("rank_pattern", ["q_proj": 4, "a": 2], [:]),
    ("alpha_pattern", ["v_proj": 8.5], [:]), ("modules_to_save", ["lm_head"], [:]),
    ("learning_rate", 1e-5, [:]),
    ("lr_scheduler_type", "cosine", [:]), ("warmup_steps", 5, [:]), ("warmup_ratio", 0.03, [:]),
    ("num_train_epochs", 1.5, [:]), ("max_steps", 60, [:]), ("per_device_train_batch_size", 2, [:]),
    ("per_device_eval_batch_size", 8, [:]), ("gradient_accumulation_steps", 16, [:]),
    ("optim", "adamw_8bit", [:]),
    ("weight_decay", 0.1, [:]), ("adam_beta1", 0.8, [:]), ("adam_beta2", 0.95, [:]),
    ("adam_epsilon", 1e-6, [:]),
    ("max_grad_norm", 0.3, [:]), ("seed", 3407, [:]), ("gradient_checkpointing", "elementwise", [:]),
    ("activation_offloading", true, [:]), ("memory_budget", 12_884_901_888, [:]),
    ("output_dir", "elsewhere", [:]),
    ("overwrite_output_dir", true, [:]),
    ("logging_steps", 10, [:]), ("eval_strategy", "no", [:]), ("eval_steps", 20, [:]),
    ("save_strategy", "epoch", [:]), ("save_steps", 100, [:]),
    ("save_total_limit", 2, [:]),
    ("resume_from_checkpoint", "out/checkpoint-3", [:]),
  ]

  @Test func everyKeyHasASample() {
    let properties = ConfigurationKey.all.filter { $0.value(in: TrainingConfiguration()) != nil }.map(\.name)
    #expect(properties == Self.samples.map(\.key))
    let names = ConfigurationKey.all.flatMap { [$0.name] + $0.aliases }
    #expect(Set(names).count == names.count)
  }

  @Test(arguments: samples) func comesBack(key: String, value: JSON, with: JSON.Object) throws {
    var members = with
    members[key] = value
    let read = try Self.configuration(members)
    #expect(read.json[key] == value)
    #expect(try TrainingConfiguration(read.json, source: "again").json == read.json)
    // Nothing else changed.
    members.merge(Self.required)
    members[key] = value
    #expect(Set(read.json.object?.keys ?? []) == Set(members.keys))
  }

  @Test(arguments: ConfigurationKey.all) func refusesNonsense(key: ConfigurationKey) throws {
    // Nested objects are no value of any key.
    let error = try #require(Self.error([key.name: ["x": ["y": [:]]]]))
    #expect(error.code == .invalidConfiguration)
    #expect(error.message == "c.yaml: \(key.name) is {\"x\": {\"y\": {}}}, expected \(key.expected)")
  }

  // MARK: Values

  @Test(
    arguments: [
      (["r": 0], "c.yaml: r is 0, expected an integer of at least 1"),
      (["r": 1.5], "r is 1.5"), (["r": true], "r is true"), (["max_seq_length": 1], "at least 2"),
      (["learning_rate": "fast"], "learning_rate is \"fast\", expected a number from 0 to 10"),
      (["learning_rate": -1e-5], "from 0 to 10"),
      (["lora_alpha": .double(.infinity)], "expected a number of at least 0"),
      (["lora_dropout": 1], "from 0 to 0.99"), (["adam_beta1": "nan"], "expected a number"),
      (["lr_scheduler_type": "cosin"], "expected one of constant, constant_with_warmup, linear, cosine"),
      (["packing": "maybe"], "expected true or false"),
      (["load_in_4bit": 4], "load_in_4bit is 4, expected true or false"),
      (["train_file": []], "missing: train_file"), (["train_file": ["a", 1]], "a path or a list of them"),
      (["rank_pattern": ["q": 0]], "names, each with an integer"),
      (["layers_to_transform": [-1]], "an integer or a list"),
      (["memory_budget": "12 parsecs"], "12GB"), (["memory_budget": "99999999999999999999GB"], "12GB"),
      (["memory_budget": -1], "12GB"), (["max_steps": 0], "at least 1"), (["seed": -1], "at least 0"),
      (["device": "cuda:x"], "expected auto, cpu, cuda or cuda:N"),
      (["gradient_checkpointing": "some"], "full or sliced"),
    ] as [(JSON.Object, String)])
  func refuses(members: JSON.Object, expected: String) throws {
    let error = try #require(Self.error(members))
    #expect(error.code == .invalidConfiguration)
    #expect(error.message.contains(expected), "\(error.message)")
  }

  @Test func readsWhatPeopleWrite() throws {
    let read = try Self.configuration([
      "learning_rate": "2e-4", "num_train_epochs": 2, "max_steps": -1, "memory_budget": "1.5 GiB", "r": 8.0,
      "train_file": "one.jsonl", "layers_to_transform": 5, "modules_to_save": [], "max_grad_norm": 0,
      "gradient_checkpointing": true, "target_modules": "all-linear", "system_prompt": 7, "seed": nil,
    ])
    #expect(read.run.learningRate == 2e-4)
    #expect(read.run.epochs == 2)
    #expect(read.run.maximumSteps == nil)
    #expect(read.run.memoryBudget == 3 << 29)
    #expect(read.lora.r == 8)
    #expect(read.trainFiles == ["one.jsonl"])
    #expect(read.lora.layersToTransform == [5])
    #expect(read.lora.modulesToSave.isEmpty)
    #expect(read.run.optimizer.maximumNorm == nil)
    #expect(read.run.checkpointing == .full)
    #expect(read.lora.targets == .allLinear)
    #expect(read.dataset.systemPrompt == "7")
    #expect(read.run.seed == TrainingConfiguration().run.seed)
  }

  /// The head is loaded into the host's memory when that of the device is short, unless it is trained.
  @Test(
    arguments: [
      ([:], true), (["activation_offloading": "auto"], false), (["gradient_checkpointing": "full"], false),
      (["gradient_checkpointing": "full", "memory_budget": "8GB"], true),
      (["finetuning_type": "full"], false), (["modules_to_save": ["lm_head"]], false),
      (["modules_to_save": ["embed_tokens"]], true), (["target_modules": ["q_proj", "lm_head"]], false),
    ] as [(JSON.Object, Bool)])
  func streamsAFrozenHead(changes: JSON.Object, expected: Bool) throws {
    var members: JSON.Object = ["gradient_checkpointing": "sliced", "activation_offloading": true]
    for (key, value) in changes { members[key] = value }
    #expect(try Self.configuration(members).streamsHead == expected)
  }

  // MARK: Names

  @Test(arguments: [
    ("learning_rte", "Did you mean 'learning_rate'?"), ("lora_rnk", "Did you mean 'lora_rank'?"),
    ("quux", "`swiftlet keys` lists all keys."),
    ("dataset_text_field", "Use dataset_template, such as \"{text}\"."),
  ])
  func suggests(key: String, remedy: String) throws {
    let error = try #require(Self.error([key: 1]))
    #expect(error.message == "c.yaml: unknown key '\(key)'")
    #expect(error.remedy == remedy)
  }

  @Test(
    arguments: [
      ("lora_r", "r", 8), ("batch_size", "per_device_train_batch_size", 8),
      ("max_length", "max_seq_length", 8),
      ("random_state", "seed", 8), ("assistant_only_loss", "train_on_responses_only", false),
      ("torch_dtype", "dtype", "float32"), ("dataset", "train_file", ["x"]),
    ] as [(String, String, JSON)])
  func knowsOtherNames(alias: String, key: String, value: JSON) throws {
    var members = Self.required
    members["train_file"] = alias == "dataset" ? nil : "t.jsonl"
    members[alias] = value
    #expect(try TrainingConfiguration(.object(members), source: "c").json[key] == value)
  }

  @Test(
    arguments: [
      (["load_in_4bit": true], "base_weights", "nf4"), (["load_in_8bit": true], "base_weights", "int8"),
      (["load_in_4bit": true, "load_in_8bit": false], "base_weights", "nf4"),
      (["load_in_4bit": true, "base_weights": "nf4"], "base_weights", "nf4"),
      (["load_in_4bit": false], "base_weights", nil), (["bf16": true], "dtype", "bfloat16"),
      (["bf16": false], "dtype", "float32"),
    ] as [(JSON.Object, String, JSON?)])
  func shorthands(members: JSON.Object, key: String, value: JSON?) throws {
    #expect(try Self.configuration(members).json[key] == value)
  }

  // MARK: Contradictions

  @Test(
    arguments: [
      (["load_in_4bit": true, "load_in_8bit": true], "load_in_4bit and load_in_8bit contradict"),
      (["load_in_4bit": true, "base_weights": "int8"], "load_in_4bit and base_weights contradict"),
      (["base_weights": "int8", "load_in_4bit": true], "base_weights and load_in_4bit contradict"),
      (["max_length": 8, "max_seq_length": 9], "max_length and max_seq_length contradict"),
      (["bf16": true, "dtype": "float32"], "bf16 and dtype contradict"),
      (["response_template": "A:"], "needs a dataset_template"),
      (["dataset_template": "{a}", "dataset_format": "text"], "exclude each other"),
      (["eval_file": "e.jsonl", "eval_split": 0.1], "exclude each other"),
      (["finetuning_type": "full", "base_weights": "nf4"], "cannot be nf4"),
      (["finetuning_type": "full", "adapter_name_or_path": "a"], "needs finetuning_type: lora"),
      (["num_train_epochs": 0], "nothing to do"),
    ] as [(JSON.Object, String)])
  func contradictions(members: JSON.Object, expected: String) throws {
    let error = try #require(Self.error(members))
    #expect(error.code == .invalidConfiguration && error.message.hasPrefix("c.yaml: "))
    #expect(error.message.contains(expected), "\(error.message)")
  }

  @Test func namesWhatIsMissing() {
    #expect {
      try TrainingConfiguration(["train_file": "t.jsonl"], source: "c.yaml")
    } throws: { "\($0)" == "c.yaml: missing: model_name_or_path, output_dir" }
    #expect { try TrainingConfiguration([1], source: "c.yaml") } throws: {
      "\($0)".contains("keys and values")
    }
  }

  // MARK: Overrides

  @Test func overridesReplace() throws {
    let read = try Self.configuration(
      ["r": 8, "max_length": 128, "load_in_4bit": true, "max_steps": 10, "rank_pattern": ["a": 2, "b": 3]],
      overrides: [
        ("r", 32), ("r", 64), ("max_seq_length", 256), ("base_weights", "int8"), ("max_steps", nil),
        ("rank_pattern.model.layers.0.q_proj", 4), ("rank_pattern.b", nil),
      ])
    #expect(read.lora.r == 64)
    #expect(read.dataset.maxSequenceLength == 256)
    #expect(read.baseWeights == .int8)
    #expect(read.run.maximumSteps == nil)
    #expect(read.lora.rankPattern == ["a": 2, "model.layers.0.q_proj": 4])
  }

  /// A shorthand that is switched off takes back itself and nothing else.
  @Test(
    arguments: [
      (["load_in_4bit": true], "load_in_4bit", BaseWeights.file),
      (["load_in_4bit": true], "load_in_8bit", .nf4),
      (["base_weights": "int8"], "load_in_8bit", .int8),
    ] as [(JSON.Object, String, BaseWeights)])
  func switchesOff(members: JSON.Object, key: String, weights: BaseWeights) throws {
    #expect(try Self.configuration(members, overrides: [(key, false)]).baseWeights == weights)
  }

  @Test func overridesAreCheckedToo() throws {
    let error = try #require(Self.error([:], overrides: [("lora_alph", 1)]))
    #expect(error.message == "--set: unknown key 'lora_alph'")
    #expect(error.remedy == "Did you mean 'lora_alpha'?")
    #expect(Self.error([:], overrides: [("r", "x")])?.message.hasPrefix("--set: r is \"x\"") == true)
  }
}

extension ConfigurationKey: CustomTestStringConvertible {
  public var testDescription: String { name }
}
