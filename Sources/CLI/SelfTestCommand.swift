import ArgumentParser
import SelfTest
import Swiftlet

struct SelfTestCommand: ReportingCommand {
  static let configuration = CommandConfiguration(
    commandName: "selftest",
    abstract: "Checks every operation on this machine against references and finite differences.")

  @Option(help: "Seed of the inputs; by default another each time.") var seed: UInt64?
  @Option(help: "What to check: auto, cpu, cuda or cuda:N.") var device = DeviceChoice.auto
  @Option(help: "Only operations whose name contains this.") var filter: String?
  @Flag(help: "Print one JSON object.") var json = false

  func execute() throws {
    let backend = try device.open()
    let seed = seed ?? .random(in: 0...(.max))
    let line = ProgressLine()
    let cases = OpCase.all.filter { operation in filter.map { operation.name.contains($0) } ?? true }
    var failures: [OpFailure] = []
    for (index, operation) in cases.enumerated() {
      line.show("Checking", done: index + 1, of: cases.count, details: [operation.name])
      for dtype in operation.dtypes where dtype != .f64 || backend.hasHostMemory {
        failures += try operation.checkReference(on: backend, dtype, seed: seed)
      }
      if operation.hasGradients, backend.hasHostMemory {
        failures += try operation.checkGradients(on: backend, seed: seed)
      }
    }
    line.leave(erasing: true)
    if json {
      print(
        JSON.object([
          "device": .string(backend.name), "seed": .string("\(seed)"), "cases": .int(cases.count),
          "failures": .array(failures.map { .string($0.description) }),
        ]).text())
    } else {
      for failure in failures { print(failure) }
      print(
        "\(backend.name): \(cases.count) operations, \(failures.count) failures (seed \(seed))")
    }
    guard failures.isEmpty else {
      throw SwiftletError(
        .unsupported, "\(failures.count) checks failed on this machine",
        remedy: "Please report them, with the output of `swiftlet doctor`.")
    }
  }
}
