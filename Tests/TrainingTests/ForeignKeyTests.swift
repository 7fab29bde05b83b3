import Basics
import Testing

@testable import Training

/// Keys that configurations for other programs carry along.
struct ForeignKeyTests {
  @Test func letsHarmlessKeysPass() throws {
    let configuration = try ConfigurationTests.configuration([
      "report_to": "wandb", "fp16": false, "push_to_hub": false, "task_type": "CAUSAL_LM", "logging_dir": nil,
    ])
    #expect(
      configuration.ignoredKeys.map(\.key) == [
        "report_to", "fp16", "push_to_hub", "task_type", "logging_dir",
      ])
    #expect(
      ConfigurationKey.all.flatMap { [$0.name] + $0.aliases }.allSatisfy { ForeignKey.named($0) == nil })
  }

  @Test(
    arguments: [
      (["fp16": true], "bf16"), (["use_dora": true], "use_rslora"), (["deepspeed": "zero.json"], "deepspeed"),
      (["load_best_model_at_end": true], "eval_loss"), (["eval_strategy": "epoch"], "eval_split"),
      (["eval_strategy": "sometimes"], "no, steps, epoch"),
    ] as [(JSON.Object, String)])
  func refusesWhatItWouldNotDo(_ members: JSON.Object, _ words: String) {
    #expect(ConfigurationTests.error(members)?.description.contains(words) == true)
  }

  @Test func namesSettingsThatAnAdapterBrings() throws {
    let configuration = try ConfigurationTests.configuration([
      "adapter_name_or_path": "a", "r": 4, "lora_alpha": 16,
    ])
    #expect(configuration.ignoredKeys.map(\.key) == ["r"])
  }
}
