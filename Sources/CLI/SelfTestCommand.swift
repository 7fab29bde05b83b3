import ArgumentParser
import SelfTest
import Swiftlet

struct SelfTestCommand: ReportingCommand {
  static let configuration = CommandConfiguration(
    commandName: "selftest",
    abstract:
      "Checks operations and small models on this machine: against references, and one way against another.")

  @Option(help: "Seed of the inputs; by default another each time.") var seed: UInt64?
  @Option(help: "What to check: auto, cpu, cuda or cuda:N.") var device = DeviceChoice.auto
  @Option(help: "Only checks whose name contains this.") var filter: String?
  @Option(
    help: ArgumentHelp(
      "Also follow the training run of peft's that was recorded there, in smollm2/lora_trace.json.",
      valueName: "folder"))
  var reference: String?
  @Option(help: "The model of that run.") var model = "smollm2-135m-instruct"
  @Flag(help: "Print one JSON object.") var json = false

  func execute() throws {
    let backend = try device.open()
    let seed = seed ?? .random(in: 0...(.max))
    let line = ProgressLine()
    let checks = try checks(for: backend)
    var failures: [CheckFailure] = []
    for (index, check) in checks.enumerated() {
      line.show("Checking", done: index + 1, of: checks.count, details: [check.name])
      failures += try check.run(on: backend, seed: seed)
    }
    line.leave(erasing: true)
    if json {
      print(
        JSON.object([
          "device": .string(backend.name), "seed": .string("\(seed)"), "checks": .int(checks.count),
          "failures": .array(failures.map { .string($0.description) }),
        ]).text())
    } else {
      for failure in failures { print(failure) }
      print("\(backend.name): \(checks.count) checks, \(failures.count) failures (seed \(seed))")
    }
    guard failures.isEmpty else {
      throw SwiftletError(
        .unsupported, "\(failures.count) checks failed on this machine",
        remedy: "Please report them, with the output of `swiftlet doctor`.")
    }
  }

  private func checks(for backend: any Backend) throws -> [Check] {
    var checks = Check.all(for: backend)
    if let reference {
      checks += try ReferenceTrace(folder: reference + "/smollm2", of: ModelFile(named: model)).checks
    }
    guard let filter else { return checks }
    let chosen = checks.filter { $0.name.contains(filter) }
    guard !chosen.isEmpty else {
      throw SwiftletError(.invalidConfiguration, "no check's name contains '\(filter)'")
    }
    return chosen
  }
}
