import Basics
import Foundation
import TestSupport
import Testing

/// Commands by their exit codes and what they print, in a folder with a tiny model in its cache.
struct CommandTests {
  private let folder: TemporaryFolder

  init() throws {
    folder = try TemporaryFolder()
    try TestModel.write(to: folder.path + "/cache/swiftlet/models/Tiny-1K")
    let row = #"{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ahoy"}]}"#
    try folder.write(Array(String(repeating: row + "\n", count: 20).utf8), "train.jsonl")
    try folder.write(Array("{\"text\": \"A\\u00e9\"}\n".utf8), "texts.jsonl")
    try folder.write(Array("{\"text\": \"A\"}\n{\"text\": }\n".utf8), "broken.jsonl")
    let configuration = """
      model_name_or_path: tiny-1k
      train_file: train.jsonl
      output_dir: out
      max_seq_length: 32
      max_steps: 3
      report_to: none
      """
    try folder.write(Array(configuration.utf8), "run.yaml")
  }

  /// Arguments, exit code, and words on standard error.
  @Test(
    arguments: [
      ("train none.yaml", 1, "none.yaml"), ("train", 64, "<config>"),
      ("train run.yaml --set max_step=1", 1, "'max_steps'"), ("train run.yaml --set oops", 1, "key=value"),
      ("train run.yaml --set model=nothing", 1, "Tiny-1K"), ("train run.yaml --set device=cuda", 1, "CPU"),
      ("train run.yaml --set train_file=broken.jsonl", 1, "broken.jsonl: JSON, line 2"),
      ("train run.yaml --set output_dir=train.jsonl/out", 1, "Not a directory"),
      ("train run.yaml --resume", 1, "no checkpoint"),
      ("evaluate --model tiny-1k --dataset train.jsonl --batch-size 0", 1, "batch-size"),
      ("generate --model nothing --prompt x", 1, "'nothing'"), ("generate --prompt x", 64, "--model"),
      ("tokenize --model tiny-1k --file broken.jsonl", 1, "line 2"), ("frobnicate", 64, "frobnicate"),
    ] as [(String, Int32, String)])
  func failsWithReasons(_ command: String, _ code: Int32, _ words: String) throws {
    let result = try Program(command.split(separator: " ").map(String.init), in: folder.path).finish()
    #expect(result.code == code)
    #expect(result.errors.contains(words), "\(result.errors)")
  }

  @Test func tellsProgramsWhatWentWrong() throws {
    let result = try Program.run("train", "run.yaml", "--json", "--set", "r=0", in: folder.path)
    #expect(result.code == 1)
    let error = try JSON(parsing: Array(result.output.utf8))["error"]
    #expect(error?["code"] == "invalid_configuration")
    #expect(error?["message"] == "--set: r is 0, expected an integer of at least 1")
  }

  @Test func trainsAndUsesTheAdapter() throws {
    let trained = try Program.run("train", "run.yaml", "--json", in: folder.path)
    #expect(trained.code == 0)
    #expect(trained.errors.contains("report_to changes nothing"))
    let events = try trained.output.split(separator: "\n").map { try JSON(parsing: Array($0.utf8)) }
    #expect(events.map { $0["event"] } == ["began", "step", "step", "step", "ended"])

    let again = try Program.run("train", "run.yaml", in: folder.path)
    #expect(again.code == 1)
    #expect(again.errors.contains("overwrite_output_dir"))

    let evaluated = try Program.run(
      "evaluate", "--model", "tiny-1k", "--adapter", "out", "--dataset", "train.jsonl", "--json",
      in: folder.path)
    #expect(try JSON(parsing: Array(evaluated.output.utf8))["labels"] == 100)
    let generated = try Program.run(
      "generate", "--model", "tiny-1k", "--adapter", "out", "--prompt", "Hi", "--max-new-tokens", "3",
      "--json",
      in: folder.path)
    #expect(try JSON(parsing: Array(generated.output.utf8))["ids"] == [72, 105])
  }

  @Test func tokenizesAndRenders() throws {
    let tokens = try Program.run(
      "tokenize", "--model", "tiny-1k", "--file", "texts.jsonl", "--json", in: folder.path)
    #expect(tokens.output == "{\"text\": \"Aé\", \"ids\": [65, 195, 169]}\n")
    let rendered = try Program.run("render", "--model", "tiny-1k", "--file", "train.jsonl", in: folder.path)
    #expect(rendered.output.hasPrefix("<|user|>Hi<|end|><|assistant|>Ahoy<|end|>\n"))
    let preview = try Program.run("dataset", "preview", "run.yaml", "--rows", "1", in: folder.path)
    #expect(preview.output.contains("[Ahoy<|end|>]"))
    #expect(!preview.output.contains("\u{1B}"))
    let plan = try Program.run("plan", "run.yaml", "--json", in: folder.path)
    #expect(try JSON(parsing: Array(plan.output.utf8))["total"]?.int ?? 0 > 0)
    let keys = try Program.run("train", "--keys", in: folder.path)
    #expect(keys.code == 0)
    #expect(keys.output.contains("gradient_accumulation_steps"))
  }

  /// Ctrl-C, and what the message says to do then.
  @Test(arguments: [SIGINT, SIGTERM]) func savesWhenInterruptedAndResumes(_ signal: Int32) throws {
    let program = try Program(["train", "run.yaml", "--json", "--set", "max_steps=100000"], in: folder.path)
    for _ in 0..<3 { _ = program.firstLine() }
    kill(program.process.processIdentifier, signal)
    let result = program.finish()
    #expect(result.code == 130)
    #expect(result.errors.contains("--resume"))
    let resumed = try Program(
      ["train", "run.yaml", "--json", "--resume", "--set", "max_steps=100000"], in: folder.path)
    let began = try JSON(parsing: Array(resumed.firstLine().utf8))
    #expect(began["resumed_from"]?.int ?? 0 > 0)
    resumed.process.terminate()
    #expect(resumed.finish().code == 130)
  }

  /// A reader that went away does not end a run.
  @Test func trainsOnWhenNobodyListens() throws {
    let program = try Program(["train", "run.yaml", "--set", "max_steps=200"], in: folder.path)
    try program.closeErrors()
    #expect(program.finish().code == 0)
    #expect(FileManager.default.fileExists(atPath: folder.path + "/out/adapter_model.safetensors"))
  }
}
