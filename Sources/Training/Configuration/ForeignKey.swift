import Basics

/// A key that configurations made for transformers, PEFT, TRL or bitsandbytes carry along, and that has no meaning here.
/// It is let pass, with a notice, as long as its value asks for nothing that this program would not do.
struct ForeignKey: Sendable {
  let names: Set<String>
  /// Why it changes nothing.
  let reason: String
  /// The values that ask for nothing; nil: all do.
  private let harmless: [JSON]?
  /// What to do instead, for other values.
  private let remedy: String?

  static func named(_ name: String) -> ForeignKey? { all.first { $0.names.contains(name) } }

  /// - Throws: `.unsupported` for a value that would change the result.
  func check(_ name: String, _ value: JSON, source: String) throws(SwiftletError) {
    guard let harmless, !value.isNull, !harmless.contains(value) else { return }
    throw SwiftletError(
      .unsupported, "\(source): \(name) is \(value.text(.spaced)), which is not supported", remedy: remedy)
  }

  static let all: [ForeignKey] = [
    anyValue(
      "metrics go to metrics.jsonl", "report_to", "logging_dir", "run_name", "disable_tqdm", "log_level"),
    anyValue(
      "data is tokenised on all cores and kept in memory", "dataloader_num_workers", "dataloader_pin_memory",
      "dataloader_persistent_workers", "dataset_num_proc", "preprocessing_num_workers",
      "remove_unused_columns"),
    anyValue("there is one device", "ddp_find_unused_parameters", "local_rank", "device_map", "ddp_timeout"),
    anyValue("no code of a model is run", "trust_remote_code"),
    anyValue("attention is always computed in tiles", "attn_implementation", "use_flash_attention_2"),
    anyValue(
      "products of 4-bit weights have the type that dtype names", "bnb_4bit_compute_dtype",
      "bnb_4bit_use_double_quant"),
    anyValue("what is computed again is planned", "gradient_checkpointing_kwargs"),
    anyValue("rows are balanced by packing", "group_by_length"),
    anyValue("files are always safetensors", "save_safetensors"),
    anyValue("runs of `swiftlet train` always train", "do_train", "do_eval", "logging_first_step"),
    only([false], "products are bfloat16 or float32", "fp16", remedy: "Set bf16: true, or dtype: auto."),
    only(
      [false, "no", ""], "nothing is uploaded", "push_to_hub", remedy: "Upload output_dir after the run."),
    only(
      [false], "the last state is what is saved", "load_best_model_at_end",
      remedy: "Choose a checkpoint by its eval_loss in trainer_state.json."),
    only(["CAUSAL_LM"], "the only task", "task_type"),
    only(["LORA"], "the only kind of adapter", "peft_type"),
    only([false], "adapters are trained", "inference_mode"),
    only([false], "not a setting of linear layers", "fan_in_fan_out"),
    only([false], "there is nothing to compile", "torch_compile"),
    only([0, 0.0], "labels are taken as they are", "label_smoothing_factor"),
    only([0, 0.0], "embeddings are taken as they are", "neftune_noise_alpha"),
    only([], "not set", "layers_pattern", "layer_replication", "loftq_config", "deepspeed", "revision"),
    only([true], "A is Kaiming-uniform and B zero", "init_lora_weights"),
    only(
      [false], "magnitudes are not trained", "use_dora",
      remedy: "DoRA is not supported: use_rslora is, and so are higher ranks."),
    only(["nf4"], "the only 4-bit type", "bnb_4bit_quant_type"),
    only(["steps"], "the log has an entry every logging_steps", "logging_strategy"),
  ]

  private static func anyValue(_ reason: String, _ names: String...) -> Self {
    Self(names: Set(names), reason: reason, harmless: nil, remedy: nil)
  }

  private static func only(
    _ values: [JSON], _ reason: String, _ names: String..., remedy: String? = nil
  ) -> Self {
    Self(names: Set(names), reason: reason, harmless: values, remedy: remedy)
  }
}
