import Basics
import Compute
import Models
import OrderedCollections
import Text

extension ConfigurationKey {
  static let model: [ConfigurationKey] = [
    text(
      "model_name_or_path", "model", at: \.model, "GGUF file, model folder, or name of a model in the cache"),
    optionalText("adapter_name_or_path", at: \.adapter, "PEFT adapter to continue training"),
    choice("base_weights", at: \.baseWeights, "what frozen weights are held as; file: as they are stored"),
    shorthand("load_in_4bit", of: "base_weights", on: "nf4"),
    shorthand("load_in_8bit", of: "base_weights", on: "int8"),
    Self(
      name: "device", help: "where to compute", expected: "auto, cpu, cuda or cuda:N",
      apply: { configuration, value in
        guard let device = value.string.flatMap(DeviceChoice.init) else { return false }
        configuration.device = device
        return true
      }, read: { .string($0.device.text) }),
    choice(
      "dtype", "torch_dtype", "compute", at: \.precision,
      also: ["bf16": .bfloat16, "fp32": .float32, "f32": .float32],
      "type of the products"),
    shorthand("bf16", of: "dtype", on: "bfloat16", off: "float32"),
  ]

  static let data: [ConfigurationKey] = [
    texts(
      "train_file", "train_files", "dataset", of: "path", at: \.trainFiles,
      "training data: .jsonl, .json, .csv, .tsv"),
    texts("eval_file", "eval_files", of: "path", at: \.evaluationFiles, "evaluation data"),
    number("eval_split", to: 0.9, at: \.evaluationSplit, "share of the training data kept for evaluation"),
    choice("dataset_format", at: \.datasetFormat, "how rows are laid out"),
    optionalText("dataset_template", at: \.datasetTemplate, "text with {columns} that a row becomes"),
    optionalText("response_template", at: \.responseTemplate, "text behind which the response begins"),
    flag(
      "train_on_responses_only", "assistant_only_loss", "completion_only_loss", at: \.dataset.responsesOnly,
      "count only what the assistant writes"),
    integer("max_seq_length", "max_length", from: 2, at: \.dataset.maxSequenceLength, "tokens of a row, T"),
    choice("long_sequences", at: \.dataset.longSequences, "what happens to rows longer than that"),
    flag("packing", at: \.packing, "fill rows with several sequences"),
    optionalText("system_prompt", at: \.dataset.systemPrompt, "system message for chats without one"),
    flag("append_eos", at: \.dataset.appendsEOS, "end rows that are no chats with the end-of-text token"),
    optionalText("chat_template", at: \.chatTemplate, "file with a chat template, in place of the model's"),
    optionalText("cache_dir", at: \.cacheFolder, "where tokenised data is kept"),
  ]

  static let adapter: [ConfigurationKey] = [
    choice("finetuning_type", at: \.fineTuning, "what is trained"),
    integer("r", "lora_r", "lora_rank", at: \.lora.r, "rank of the adapters"),
    number("lora_alpha", at: \.lora.alpha, "adapters are scaled by alpha / r"),
    number("lora_dropout", to: 0.99, at: \.lora.dropout, "share of an adapter's inputs that is dropped"),
    Self(
      name: "target_modules", help: "layers that get an adapter", expected: targetsExpected,
      apply: { configuration, value in
        guard let targets = LoRAConfiguration.Targets(value) else { return false }
        configuration.lora.targets = targets
        return true
      }, read: { $0.lora.targets.key }),
    Self(
      name: "exclude_modules", help: "of these, layers that get none", expected: targetsExpected,
      apply: { configuration, value in
        configuration.lora.exclusions = LoRAConfiguration.Targets(value)
        return configuration.lora.exclusions != nil
      }, read: { $0.lora.exclusions?.key ?? nil }),
    choice("bias", at: \.lora.bias, "biases that are trained too"),
    Self(
      name: "layers_to_transform", help: "blocks whose layers get adapters; default: all",
      expected: "an integer or a list of them",
      apply: { configuration, value in
        let layers = value.list(\.int)
        configuration.lora.layersToTransform = layers
        return layers?.allSatisfy { $0 >= 0 } ?? false
      }, read: { $0.lora.layersToTransform.map { .array($0.map { .int($0) }) } ?? nil }),
    flag("use_rslora", at: \.lora.usesRankStabilisedScale, "scale by alpha / sqrt(r)"),
    pattern(
      "rank_pattern", at: \.lora.rankPattern, "ranks of single layers",
      expected: "names, each with an integer",
      parse: { $0.int.flatMap { $0 > 0 ? $0 : nil } }, json: { .int($0) }),
    pattern(
      "alpha_pattern", at: \.lora.alphaPattern, "alphas of single layers",
      expected: "names, each with a number",
      parse: { $0.number }, json: { .double($0) }),
    texts(
      "modules_to_save", of: "name", at: \.lora.modulesToSave, "modules trained whole: lm_head, embed_tokens"),
  ]

  static let schedule: [ConfigurationKey] = [
    number("learning_rate", to: 10, at: \.run.learningRate, "peak of the learning rate"),
    choice("lr_scheduler_type", at: \.run.schedule, "its shape over the run"),
    integer("warmup_steps", from: 0, at: \.run.warmupSteps, "steps until the peak"),
    number("warmup_ratio", to: 1, at: \.run.warmupRatio, "the same as a share of all steps"),
    number("num_train_epochs", at: \.run.epochs, "passes over the data"),
    optionalInteger("max_steps", at: \.run.maximumSteps, "updates; overrides num_train_epochs"),
    integer("per_device_train_batch_size", "batch_size", at: \.trainBatchSize, "rows of a micro-batch"),
    optionalInteger("per_device_eval_batch_size", at: \.evaluationBatchSize, "the same in evaluation"),
    integer("gradient_accumulation_steps", at: \.run.gradientAccumulation, "micro-batches of an update"),
    choice(
      "optim", at: \.run.optimizer.kind,
      also: [
        "adamw": .adamW, "adamw_torch_fused": .adamW, "adamw_bnb_8bit": .adamW8bit,
        "paged_adamw_8bit": .adamW8bit,
      ], "optimiser"),
    number("weight_decay", to: 10, at: \.run.optimizer.weightDecay, "decay, not of norms and biases"),
    number("adam_beta1", to: 0.999999, at: \.run.optimizer.beta1, "decay of the first moment"),
    number("adam_beta2", to: 0.999999, at: \.run.optimizer.beta2, "decay of the second moment"),
    number(
      "adam_epsilon", from: 1e-16, to: 1, at: \.run.optimizer.epsilon, "added to the second moment's root"),
    Self(
      name: "max_grad_norm", help: "the gradient is scaled down to this norm; 0: never",
      expected: "a number of at least 0",
      apply: { configuration, value in
        guard let norm = value.number, norm >= 0 else { return false }
        configuration.run.optimizer.maximumNorm = norm == 0 ? nil : norm
        return true
      }, read: { .double($0.run.optimizer.maximumNorm ?? 0) }),
    Self(
      name: "seed", aliases: ["random_state"], help: "of everything random",
      expected: "an integer of at least 0",
      apply: { configuration, value in
        guard let seed = value.int, seed >= 0 else { return false }
        configuration.run.seed = UInt64(seed)
        return true
      }, read: { .int(Int($0.run.seed)) }),
  ]

  static let memory: [ConfigurationKey] = [
    Self(
      name: "gradient_checkpointing", aliases: ["use_gradient_checkpointing"],
      help:
        "what backward computes again; auto: as little as the memory allows; sliced: all, in the least memory",
      expected: "auto, true, false, keep, elementwise, narrow, full or sliced",
      apply: { configuration, value in
        switch value {
        case "auto", "unsloth": configuration.run.checkpointing = nil
        case true: configuration.run.checkpointing = .full
        case false: configuration.run.checkpointing = .keep
        default:
          configuration.run.checkpointing = value.string.flatMap(Checkpointing.init(rawValue:))
          return configuration.run.checkpointing != nil
        }
        return true
      }, read: { .string($0.run.checkpointing?.rawValue ?? "auto") }),
    Self(
      name: "activation_offloading", aliases: ["enable_activation_offloading"],
      help:
        "whether what backward reads waits in the host's memory; auto: where that is fastest; with sliced, "
        + "the head does, too",
      expected: "auto, true or false",
      apply: { configuration, value in
        configuration.run.offloadsActivations = value.bool
        return value == "auto" || value.bool != nil
      }, read: { $0.run.offloadsActivations.map { .bool($0) } ?? "auto" }),
    Self(
      name: "memory_budget", help: "memory for everything; the default is what is free",
      expected: "a size such as 12GB or 900MB",
      apply: { configuration, value in
        guard let bytes = value.string.flatMap(bytes(in:)) ?? value.int, bytes > 0 else { return false }
        configuration.run.memoryBudget = bytes
        return true
      }, read: { $0.run.memoryBudget.map { .int($0) } ?? nil }),
  ]

  static let records: [ConfigurationKey] = [
    text("output_dir", at: \.run.outputFolder, "where adapter, checkpoints and logs go"),
    flag(
      "overwrite_output_dir", at: \.overwritesOutputFolder,
      "begin anew in an output_dir that holds a run already"),
    integer("logging_steps", at: \.run.loggingSteps, "steps between entries of the log"),
    strategy("eval_strategy", "evaluation_strategy", at: \.run.evaluationStrategy, "when to evaluate"),
    optionalInteger("eval_steps", at: \.run.evaluationSteps, "steps between evaluations; default: an epoch"),
    strategy("save_strategy", at: \.run.saveStrategy, "when to save a checkpoint"),
    optionalInteger("save_steps", at: \.run.saveSteps, "steps between checkpoints; default: none"),
    optionalInteger("save_total_limit", at: \.run.savedCheckpoints, "checkpoints kept"),
    Self(
      name: "resume_from_checkpoint", help: "checkpoint to continue; true: the newest",
      expected: "true, false or a folder",
      apply: { configuration, value in
        switch value {
        case .bool(let newest): configuration.resume = newest ? .newest : .no
        case .string(let folder): configuration.resume = .folder(folder)
        default: return false
        }
        return true
      },
      read: { configuration in
        switch configuration.resume {
        case .no: false
        case .newest: true
        case .folder(let folder): .string(folder)
        }
      }),
  ]

  /// When something is done over a run.
  private static func strategy(
    _ name: String, _ aliases: String..., at path: Property<IntervalStrategy?>, _ help: String
  ) -> Self {
    Self(
      name: name, aliases: aliases, help: help, expected: "one of no, steps, epoch",
      apply: { configuration, value in
        // YAML 1.1 takes a bare no for false.
        let strategy = value == false ? .no : value.string.flatMap(IntervalStrategy.init(rawValue:))
        configuration[keyPath: path] = strategy
        return strategy != nil
      }, read: { $0[keyPath: path].map { .string($0.rawValue) } ?? nil })
  }

  private static let targetsExpected = "\"all-linear\", a list of names or a regular expression"

  /// Values for the layers whose names end in a key.
  private static func pattern<Value: Sendable>(
    _ name: String, at path: Property<OrderedDictionary<String, Value>>, _ help: String, expected: String,
    parse: @escaping @Sendable (JSON) -> Value?, json: @escaping @Sendable (Value) -> JSON
  ) -> Self {
    Self(
      name: name, help: help, expected: expected,
      apply: { configuration, value in
        guard let object = value.object else { return false }
        var values: OrderedDictionary<String, Value> = [:]
        for (layers, value) in object { values[layers] = parse(value) }
        configuration[keyPath: path] = values
        return values.count == object.count
      }, read: { .object(JSON.Object(uniqueKeysWithValues: $0[keyPath: path].map { ($0, json($1)) })) })
  }

  /// "12GB", "1.5 GiB", "900MB": units of 1024.
  private static func bytes(in text: String) -> Int? {
    let digits = text.prefix { $0.isNumber || $0 == "." }
    guard let number = Double(digits) else { return nil }
    let unit = text.dropFirst(digits.count).drop { $0 == " " }.uppercased()
    let powers = [
      "": 0, "B": 0, "K": 10, "KB": 10, "KIB": 10, "M": 20, "MB": 20, "MIB": 20, "G": 30, "GB": 30, "GIB": 30,
    ]
    return powers[unit].flatMap { Int(exactly: (number * Double(1 << $0)).rounded()) }
  }
}

extension ConfigurationKey {
  /// What to write instead of keys of transformers, PEFT and TRL that are not known here.
  static let replacements = [
    "dataset_text_field": "Use dataset_template, such as \"{text}\".",
    "use_peft": "Use finetuning_type: lora or full.",
  ]
}

extension LoRAConfiguration.Targets {
  /// The value of `target_modules`.
  fileprivate var key: JSON {
    switch self {
    case .allLinear: "all-linear"
    case .names(let names): .array(names.map { .string($0) })
    case .pattern(let pattern): .string(pattern)
    }
  }
}
