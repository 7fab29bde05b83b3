import Foundation
import Swiftlet
import TestSupport
import Testing

/// Every command on a model that is made here, from outside.
@Suite struct CommandTests {
  let folder: TemporaryFolder
  let swiftlet: Binary

  static let config = """
    # The keys that a run needs, and some.
    model_name_or_path: Tiny
    train_file: train.jsonl
    eval_split: 0.25
    output_dir: run
    max_seq_length: 64
    r: 4
    per_device_train_batch_size: 2
    max_steps: 3
    save_steps: 2
    learning_rate: 1e-3

    """

  init() throws {
    folder = try TemporaryFolder()
    swiftlet = Binary(folder: folder)
    _ = try TinyModel.write(to: folder, named: "caches/swiftlet/models/tiny")
    try folder.write(TinyModel.conversations(8), "train.jsonl")
    try folder.write(Self.config, "c.yaml")
  }

  // MARK: A run and what comes of it

  @Test func trainsAndUsesTheAdapter() throws {
    let train = try swiftlet("train", "c.yaml", "--set", "lora_alpha=8", "--json")
    #expect(train.status == 0, "\(train.errors)")
    let events = try train.lines()
    #expect(events.first?["event"] == "began" && events.last?["event"] == "ended")
    #expect(events.filter { $0["event"] == "step" }.compactMap { $0["step"]?.int } == [1, 2, 3])
    for name in ["adapter_config.json", "adapter_model.safetensors", "trainer_state.json", "metrics.jsonl"] {
      #expect(folder.has("run/\(name)"), "\(name)")
    }
    let record = try JSON(parsing: try folder.text("run/swiftlet_config.json"))
    #expect(record["lora_alpha"] == 8.0 && record["r"] == 4)

    // The loss of base and adapter, on rows it has seen.
    let base = try swiftlet("evaluate", "--model", "tiny", "--dataset", "train.jsonl", "--json").json()
    let tuned = try swiftlet(
      "evaluate", "--model", "tiny", "--adapter", "run", "--dataset", "train.jsonl", "--json"
    ).json()
    let (before, after) = (try #require(base["loss"]?.double), try #require(tuned["loss"]?.double))
    #expect(before.isFinite && after != before)

    let answer = try swiftlet(
      "generate", "--model", "tiny", "--adapter", "run", "--prompt", "What", "--max-new-tokens", "5", "--json"
    )
    #expect(try answer.json()["new_ids"]?.array?.count ?? 0 > 0)
    #expect(try answer.json()["ids"] == [87, 104, 97, 116])

    let again = try swiftlet("train", "c.yaml", "--json")
    #expect(again.status == 1)
    #expect(try again.json()["error"]?["code"] == "invalid_configuration")
    let resumed = try swiftlet("train", "c.yaml", "--resume", "--set", "max_steps=4")
    #expect(resumed.status == 0 && resumed.errors.contains("Continuing after step 2"), "\(resumed.errors)")
  }

  /// Ctrl-C saves a checkpoint and says how to go on.
  /// By Ctrl-C, or by the system that shuts down.
  @Test(arguments: [SIGINT, SIGTERM]) func isInterrupted(_ signal: Int32) throws {
    let endless = ["train", "c.yaml", "--set", "max_steps=10000000", "--json"]
    let result = try swiftlet.run(endless) { process in
      let deadline = ContinuousClock.now + .seconds(30)
      while try !folder.text("output").contains("\"step\":2,"), .now < deadline { usleep(10_000) }
      kill(process.processIdentifier, signal)
    }
    #expect(result.status == 130)
    #expect(result.errors.contains("interrupted after step") && result.errors.contains("--resume"))
    let last = try #require(result.lines().last?["error"]?["message"]?.string)
    let checkpoint = try #require(last.split(separator: "/").last)
    #expect(folder.has("run/\(checkpoint)/adapter_model.safetensors"), "\(last)")
  }

  /// A reader that goes away, as `head` does, does not end a run.
  @Test func trainsOnWhenNobodyListens() throws {
    let errors = Pipe()
    let result = try swiftlet.run(["train", "c.yaml", "--set", "max_steps=100"], errorsTo: errors) { _ in
      try errors.fileHandleForReading.close()
    }
    #expect(result.status == 0)
    #expect(folder.has("run/adapter_model.safetensors"))
  }

  /// A result that is cut off is an error, if not where the reader asked for no more.
  @Test func knowsWhenTheResultIsLost() throws {
    let full = try #require(FileHandle(forWritingAtPath: "/dev/full"))
    let lost = try swiftlet.run(["keys", "--json"], outputTo: full)
    #expect(lost.status == 1 && lost.errors.contains("not complete"), "\(lost.errors)")
    let pipe = Pipe()
    try pipe.fileHandleForReading.close()
    #expect(try swiftlet.run(["keys", "--json"], outputTo: pipe).status == 0)
  }

  @Test func plansWithoutATrace() throws {
    let plan = try swiftlet("plan", "c.yaml", "--json")
    #expect(plan.status == 0, "\(plan.errors)")
    let parts = ["weights", "parameters", "gradients", "optimizer", "activations", "batch"]
    let sum = try parts.reduce(0) { try $0 + (#require(plan.json()[$1]?.int)) }
    #expect(try plan.json()["total"]?.int == sum)
    #expect(!folder.has("run"))
    #expect(try swiftlet("plan", "c.yaml").output.contains("weights"))
  }

  @Test func previewsTheData() throws {
    let preview = try swiftlet("dataset", "preview", "c.yaml", "--rows", "1")
    #expect(preview.status == 0, "\(preview.errors)")
    #expect(preview.output.contains("<|im_start|>assistant\n[It is 0.<|im_end|>]"))
    let summary = try swiftlet("dataset", "preview", "c.yaml", "--set", "max_length=32", "--json").json()
    #expect(
      summary["rows"] == 8 && summary["truncated"] == 8 && summary["trained_tokens"] == 24, "\(summary)")
    let template = try swiftlet(
      "dataset", "preview", "c.yaml", "--rows", "1", "--set", "train_on_responses_only=false", "--set",
      "chat_template='{{ messages[1].content }}'")
    #expect(template.output.contains("\nI[t is 0.]\n"), "\(template.output)\(template.errors)")
  }

  @Test func chats() throws {
    let chat = try swiftlet(
      "chat", "--model", "tiny", "--max-new-tokens", "3", input: "Hi\nAgain\n\nnever read\n")
    #expect(chat.status == 0, "\(chat.errors)")
    #expect(!chat.output.contains(">"))
  }

  /// The model sees 256 tokens, bytes mostly.
  @Test func chatsOnWhenTheContextIsFull() throws {
    let (long, tooLong) = (String(repeating: "a", count: 90), String(repeating: "b", count: 300))
    let chat = try swiftlet(
      "chat", "--model", "tiny", "--max-new-tokens", "3", input: "\(long)\n\(long)\n\(tooLong)\n\(long)\n")
    #expect(chat.status == 0, "\(chat.errors)")
    #expect(chat.errors.contains("the oldest turn is forgotten"), "\(chat.errors)")
    #expect(chat.errors.contains("(The message takes 3"), "\(chat.errors)")
    #expect(chat.output.split(separator: "\n", omittingEmptySubsequences: false).count >= 4)
  }

  @Test func tokenizesLinesAndFields() throws {
    try folder.write("{\"text\": \"Hi\"}\n{\"text\": \"\"}\n", "t.jsonl")
    try folder.write("Hi\n\nno\u{2028}break", "t.txt")
    let fields = try swiftlet("tokenize", "--model", "tiny", "--file", "t.jsonl", "--json")
    #expect(fields.output == "{\"text\": \"Hi\", \"ids\": [72, 105]}\n{\"text\": \"\", \"ids\": []}\n")
    let lines = try swiftlet("tokenize", "--model", "tiny", "--file", "t.txt")
    #expect(lines.output.split(separator: "\n", omittingEmptySubsequences: false).count == 4)
  }

  @Test func tellsOfMachineAndKeys() throws {
    let doctor = try swiftlet("doctor", "--json").json()
    #expect(doctor["models"] == ["tiny"] && doctor["threads"]?.int ?? 0 > 0)
    let keys = try swiftlet("keys", "--json").json()
    #expect(keys.array?.contains { $0["name"] == "learning_rate" && $0["default"] == 2e-4 } == true)
    #expect(try swiftlet("keys").output.contains("learning_rate"))
    #expect(try swiftlet("--help").status == 0)
  }

  // MARK: Errors

  /// Arguments, the exit status, the code, and a part of the message.
  static let failures: [([String], Int32, String, String)] = [
    (["train", "none.yaml", "--json"], 1, "unreadable", "none.yaml"),
    (
      ["train", "c.yaml", "--set", "lora_rnk=4", "--json"], 1, "invalid_configuration",
      "unknown key 'lora_rnk'"
    ),
    (["train", "c.yaml", "--set", "r", "--json"], 1, "invalid_configuration", "expected key=value"),
    (["train", "c.yaml", "--set", "r=[1", "--json"], 1, "malformed_file", "--set r=[1, line"),
    (["train", "c.yaml", "--set", "output_dir=train.jsonl/x", "--json"], 1, "unwritable", "output_dir"),
    (
      ["train", "c.yaml", "--set", "target_modules=[nope]", "--json"], 1, "invalid_configuration",
      "target_modules"
    ),
    (
      ["train", "c.yaml", "--set", "layers_to_transform=[0, 7]", "--json"], 1, "invalid_configuration",
      "layer 7, but this model has 1 layer"
    ),
    (["plan", "c.yaml", "--set", "memory_budget=1KB", "--json"], 1, "out_of_memory", "memory budget"),
    (
      ["dataset", "preview", "c.yaml", "--set", "train_file=none.jsonl", "--json"], 1, "unreadable",
      "none.jsonl"
    ),
    (
      ["evaluate", "--model", "none", "--dataset", "train.jsonl", "--json"], 1, "unreadable",
      "no model 'none'"
    ),
    (["evaluate", "--model", "tiny", "--dataset", "c.yaml", "--json"], 1, "unsupported", "'.yaml'"),
    (
      ["evaluate", "--model", "tiny", "--dataset", "train.jsonl", "--batch-size", "0", "--json"], 64,
      "invalid_configuration", "--batch-size"
    ),
    (
      ["evaluate", "--model", "tiny", "--dataset", "train.jsonl", "--max-seq-length", "257", "--json"], 1,
      "invalid_configuration", "256 tokens"
    ),
    (
      ["train", "c.yaml", "--resume", "--json"], 1, "invalid_configuration", "no checkpoint to continue from"
    ),
    (
      ["generate", "--model", "tiny", "--adapter", "none", "--prompt", "x", "--json"], 1, "unreadable", "none"
    ),
    (["generate", "--model", "tiny", "--json"], 64, "invalid_configuration", "--prompt"),
    (["tokenize", "--model", "tiny", "--file", "none.txt", "--json"], 1, "unreadable", "none.txt"),
    (
      ["tokenize", "--model", "tiny", "--file", "train.jsonl", "--json"], 1, "invalid_data",
      "train.jsonl, line 1"
    ),
    (["render", "--model", "tiny", "--file", "bad.json", "--json"], 1, "invalid_data", "\"messages\""),
  ]

  @Test(arguments: failures)
  func fails(arguments: [String], status: Int32, code: String, message: String) throws {
    try folder.write("[{\"text\": 1}]", "bad.json")
    let result = try swiftlet.run(arguments)
    #expect(result.status == status)
    #expect(result.errors.hasPrefix("error: "), "\(result.errors)")
    let error = try #require(try result.json()["error"])
    #expect(error["code"]?.string == code)
    #expect(error["message"]?.string?.contains(message) == true, "\(error.text())")
  }

  /// Without --json nothing but the error is said, and that on standard error.
  @Test func failsInPlainText() throws {
    let result = try swiftlet("train", "c.yaml", "--set", "learning_rte=1")
    #expect(result.status == 1 && result.output.isEmpty)
    #expect(result.errors == "error: --set: unknown key 'learning_rte'\nDid you mean 'learning_rate'?\n")
  }
}
