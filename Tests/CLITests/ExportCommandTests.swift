import Foundation
import Swiftlet
import TestSupport
import Testing

/// `merge` and `export`, from outside.
struct ExportCommandTests {
  private let folder: TemporaryFolder
  private let swiftlet: Binary

  init() throws {
    folder = try TemporaryFolder()
    swiftlet = Binary(folder: folder)
    let path = try TinyModel.write(to: folder)
    let model = try LanguageModel(path)
    try model.addLoRA(LoRAConfiguration())
    try model.save(to: folder.path + "/adapter")
  }

  @Test func merges() throws {
    let merge = try swiftlet(
      "merge", "--model", "tiny", "--adapter", "adapter", "--output", "merged", "--max-shard-size", "0.02MB")
    #expect(merge.status == 0, "\(merge.errors)")
    #expect(merge.output.contains("differ by") && merge.errors.contains("tiny + adapter"), "\(merge.output)")
    #expect(folder.has("merged/model.safetensors.index.json"))
    let answer = try swiftlet(
      "generate", "--model", "merged", "--prompt", "Hi", "--max-new-tokens", "2", "--json")
    #expect(answer.status == 0, "\(answer.errors)")
    let again = try swiftlet(
      "merge", "--model", "tiny", "--adapter", "adapter", "--output", "merged", "--base-weights", "nf4",
      "--force",
      "--json"
    ).json()
    #expect(again["base_weights"] == "nf4" && again["positions"]?.int ?? 0 > 0)
  }

  @Test func exports() throws {
    let gguf = try swiftlet(
      "export", "gguf", "--model", "tiny", "--output", "a.gguf", "--type", "q4_k_m", "--modelfile")
    #expect(gguf.status == 0 && folder.has("Modelfile"), "\(gguf.errors)")
    #expect(
      try swiftlet("tokenize", "--model", "a.gguf", "--file", "adapter/adapter_config.json").status == 0)
    let lora = try swiftlet(
      "export", "gguf", "--model", "tiny", "--adapter", "adapter", "--lora-only", "--output", "lora.gguf",
      "--json")
    #expect(try lora.json()["bytes"]?.int ?? 0 > 0, "\(lora.errors)")
    let nf4 = try swiftlet("export", "bnb", "--model", "a.gguf", "--output", "nf4")
    #expect(nf4.status == 0 && folder.has("nf4/config.json"), "\(nf4.errors)")
  }

  /// Arguments, the exit status, the code, and a part of the message.
  static let failures: [([String], Int32, String, String)] = [
    (
      ["merge", "--model", "tiny", "--output", "tiny", "--force"], 1, "invalid_configuration", "that is read"
    ),
    (["merge", "--model", "tiny", "--output", "adapter"], 1, "invalid_configuration", "is there already"),
    (
      ["merge", "--model", "tiny", "--output", "x", "--dtype", "int4"], 64, "invalid_configuration", "--dtype"
    ),
    (
      ["merge", "--model", "tiny", "--output", "x", "--max-shard-size", "5"], 64, "invalid_configuration",
      "--max-shard-size"
    ),
    (
      ["merge", "--model", "tiny", "--output", "adapter/adapter_config.json/x"], 1, "unwritable",
      "adapter_config"
    ),
    (["merge", "--model", "wide", "--adapter", "adapter", "--output", "x"], 1, "mismatch", "was trained on"),
    (
      ["merge", "--model", "wide", "--adapter", "adapter", "--other-base", "--output", "x"], 1, "mismatch",
      "has the shape"
    ),
    (
      ["merge", "--model", "tiny", "--adapter", "adapter", "--base-weights", "trained", "--output", "x"], 1,
      "invalid_configuration", "nothing says"
    ),
    (
      ["export", "gguf", "--model", "tiny", "--output", "x", "--type", "Q3_K"], 64, "invalid_configuration",
      "--type"
    ),
    (
      ["export", "gguf", "--model", "tiny", "--output", "x", "--lora-only"], 64, "invalid_configuration",
      "--adapter"
    ),
  ]

  @Test(arguments: failures)
  func fails(arguments: [String], status: Int32, code: String, message: String) throws {
    _ = try TinyModel.write(to: folder, named: "wide", settings: ["hidden_size": 32])
    let result = try swiftlet.run(arguments + ["--json"])
    #expect(result.status == status)
    let error = try #require(try result.json()["error"])
    #expect(error["code"]?.string == code, "\(error.text())")
    #expect(error["message"]?.string?.contains(message) == true, "\(error.text())")
    #expect(!folder.has("x"))
  }

  /// A disk that takes no more (here: a limit on files' sizes) leaves nothing under the final name, or beside it.
  @Test(arguments: [["merge"], ["export", "gguf", "--type", "F32"], ["export", "bnb"]])
  func leavesNothingWhenTheDiskIsFull(command: [String]) throws {
    _ = try TinyModel.write(to: folder, named: "large", vocabulary: 4000)
    let arguments = (command + ["--model", "large", "--output", "out", "--dtype", "float32"])
      .filter { command[0] == "merge" || $0 != "--dtype" && $0 != "float32" }
    let process = Process()
    process.executableURL = URL(filePath: "/bin/sh")
    // Without the signal, a write beyond the limit is an error, as on a full disk.
    let script = "trap '' XFSZ; ulimit -f 64; exec \"$0\" \"$@\""
    process.arguments = ["-c", script, Binary.url.path] + arguments
    process.currentDirectoryURL = URL(filePath: folder.path)
    let errors = Pipe()
    (process.standardOutput, process.standardError) = (errors, errors)
    try process.run()
    let output = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    #expect(process.terminationStatus == 1 && output.contains("cannot write"), "\(output)")
    let left = try FileManager.default.contentsOfDirectory(atPath: folder.path)
    #expect(left.sorted() == ["adapter", "large", "tiny"])
  }
}
