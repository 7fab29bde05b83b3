import Basics
import Compute
import Models
import Text

extension ConfigurationKey {
  static let model: [ConfigurationKey] = [
    text(
      "model_name_or_path", "model", at: \.model, "GGUF file, model folder, or name of a model in the cache"),
    optionalText("adapter_name_or_path", at: \.adapter, "PEFT adapter to continue training"),
    choice("base_weights", at: \.baseWeights, "what frozen weights are held as; file: as they are stored"),
    alias("load_in_4bit", of: .nf4, "base_weights: nf4"),
    alias("load_in_8bit", of: .int8, "base_weights: int8"),
    Self(
      name: "device", aliases: [], help: "where it runs: auto, cpu", expected: "auto or cpu",
      apply: { configuration, value throws(SwiftletError) in
        guard let text = value.string else { return false }
        if let device = TrainingConfiguration.Device(rawValue: text) {
          configuration.device = device
          return true
        }
        guard ["cuda", "gpu", "mps"].contains(where: text.hasPrefix) else { return false }
        throw SwiftletError(
          .unsupported, "device: \(text): this version trains on the CPU",
          remedy: "Leave the key out, or set it to cpu.")
      }, read: { .string($0.device.rawValue) }),
    choice(
      "dtype", "torch_dtype", at: \.precision, also: ["bf16": .bfloat16, "fp32": .float32, "f32": .float32],
      "type of the products"),
    Self(
      name: "bf16", aliases: [], help: "dtype: bfloat16", expected: "true or false",
      apply: { configuration, value in
        guard let flag = value.bool else { return false }
        configuration.precision = flag ? .bfloat16 : .float32
        return true
      }, read: { _ in nil }),
  ]

  static let data: [ConfigurationKey] = [
    names(
      "train_file", "train_files", "dataset", at: \.trainFiles, "training data: .jsonl, .json, .csv, .tsv"),
    names("eval_file", "eval_files", at: \.evaluationFiles, "evaluation data"),
    number(
      "eval_split", in: 0...0.9, at: \.evaluationSplit, "share of the training data kept for evaluation"),
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
    number("lora_alpha", in: 0...1e9, at: \.lora.alpha, "adapters are scaled by alpha / r"),
    number("lora_dropout", in: 0...0.99, at: \.lora.dropout, "share of an adapter's inputs that is dropped"),
    Self(
      name: "target_modules", aliases: [], help: "layers that get an adapter",
      expected: "\"all-linear\", a list of names or a regular expression",
      apply: { configuration, value in
        guard let targets = LoRAConfiguration.Targets(value) else { return false }
        configuration.lora.targets = targets
        return true
      }, read: { $0.lora.targets.key }),
    Self(
      name: "exclude_modules", aliases: [], help: "layers that get none nevertheless",
      expected: "a list of names or a regular expression",
      apply: { configuration, value in
        configuration.lora.exclusions = LoRAConfiguration.Targets(value)
        return configuration.lora.exclusions != nil
      }, read: { $0.lora.exclusions?.key ?? nil }),
    choice("bias", at: \.lora.bias, "biases that are trained too"),
    Self(
      name: "layers_to_transform", aliases: [], help: "layers that get adapters",
      expected: "a list of integers",
      apply: { configuration, value in
        let layers = value.array?.compactMap(\.int) ?? value.int.map { [$0] }
        configuration.lora.layersToTransform = layers
        return layers != nil && layers?.count == value.array?.count ?? 1
      }, read: { $0.lora.layersToTransform.map { .array($0.map { .int($0) }) } ?? nil }),
    flag("use_rslora", at: \.lora.usesRankStabilisedScale, "scale by alpha / sqrt(r)"),
    Self(
      name: "rank_pattern", aliases: [], help: "ranks of single layers", expected: "names and integers",
      apply: { configuration, value in
        guard let object = value.object, object.values.allSatisfy({ $0.int ?? 0 > 0 }) else { return false }
        for (key, rank) in object { configuration.lora.rankPattern[key] = rank.int }
        return true
      },
      read: { configuration in
        .object(JSON.Object(uniqueKeysWithValues: configuration.lora.rankPattern.map { ($0, .int($1)) }))
      }),
    Self(
      name: "alpha_pattern", aliases: [], help: "alphas of single layers", expected: "names and numbers",
      apply: { configuration, value in
        guard let object = value.object, object.values.allSatisfy({ $0.double != nil }) else { return false }
        for (key, alpha) in object { configuration.lora.alphaPattern[key] = alpha.double }
        return true
      },
      read: { configuration in
        .object(JSON.Object(uniqueKeysWithValues: configuration.lora.alphaPattern.map { ($0, .double($1)) }))
      }),
    names("modules_to_save", at: \.lora.modulesToSave, "modules trained whole: lm_head, embed_tokens"),
  ]

  static let schedule: [ConfigurationKey] = [
    number("learning_rate", in: 0...10, at: \.run.learningRate, "peak of the learning rate"),
    choice("lr_scheduler_type", at: \.run.schedule, "its shape over the run"),
    integer("warmup_steps", from: 0, at: \.run.warmupSteps, "steps until the peak"),
    number("warmup_ratio", in: 0...1, at: \.run.warmupRatio, "the same as a share of all steps"),
    number("num_train_epochs", in: 0...1e6, at: \.run.epochs, "passes over the data"),
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
    number("weight_decay", in: 0...10, at: \.run.optimizer.weightDecay, "decay, not of norms and biases"),
    number("adam_beta1", in: 0...0.999999, at: \.run.optimizer.beta1, "decay of the first moment"),
    number("adam_beta2", in: 0...0.999999, at: \.run.optimizer.beta2, "decay of the second moment"),
    number("adam_epsilon", in: 1e-16...1, at: \.run.optimizer.epsilon, "added to the second moment's root"),
    Self(
      name: "max_grad_norm", aliases: [], help: "the gradient is scaled down to this norm; 0: never",
      expected: "a number of at least 0",
      apply: { configuration, value in
        guard let norm = value.double, norm >= 0 else { return false }
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
      help: "what backward computes again; auto: as little as the memory allows",
      expected: "auto, true, false, keep, elementwise or full",
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
      name: "memory_budget", aliases: [], help: "memory for everything; the default is what is free",
      expected: "a size such as 12GB or 900MB",
      apply: { configuration, value in
        configuration.run.memoryBudget = value.string.flatMap(bytes(in:)) ?? value.int
        return configuration.run.memoryBudget ?? 0 > 0
      }, read: { $0.run.memoryBudget.map { .int($0) } ?? nil }),
  ]

  static let records: [ConfigurationKey] = [
    text("output_dir", at: \.run.outputFolder, "where adapter, checkpoints and logs go"),
    flag(
      "overwrite_output_dir", at: \.run.overwritesOutput, "begin anew where results of an earlier run are"),
    integer("logging_steps", at: \.run.loggingSteps, "steps between entries of the log"),
    strategy("eval_strategy", "evaluation_strategy", at: \.run.evaluationStrategy, "when to evaluate"),
    optionalInteger("eval_steps", at: \.run.evaluationSteps, "steps between evaluations"),
    strategy("save_strategy", at: \.run.saveStrategy, "when to save a checkpoint"),
    optionalInteger("save_steps", at: \.run.saveSteps, "steps between checkpoints"),
    optionalInteger("save_total_limit", at: \.run.savedCheckpoints, "checkpoints kept"),
    Self(
      name: "resume_from_checkpoint", aliases: [], help: "checkpoint to continue; true: the newest",
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

  /// When something is done over a run: "no", "steps" or "epoch".
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

  /// A flag that is another way to say `base_weights`.
  private static func alias(_ name: String, of weights: BaseWeights, _ help: String) -> Self {
    Self(
      name: name, aliases: [], help: help, expected: "true or false",
      apply: { configuration, value in
        guard let flag = value.bool else { return false }
        if flag {
          configuration.baseWeights = weights
        } else if configuration.baseWeights == weights {
          configuration.baseWeights = .file
        }
        return true
      }, read: { _ in nil })
  }

  /// "12GB", "1.5 GiB", "900MB": units of 1024.
  private static func bytes(in text: String) -> Int? {
    let digits = text.prefix { $0.isNumber || $0 == "." }
    guard let number = Double(digits) else { return nil }
    let unit = text.dropFirst(digits.count).drop { $0 == " " }.uppercased()
    let powers = [
      "": 0, "B": 0, "K": 10, "KB": 10, "KIB": 10, "M": 20, "MB": 20, "MIB": 20, "G": 30, "GB": 30, "GIB": 30,
    ]
    return powers[unit].map { Int(number * Double(1 << $0)) }
  }
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
