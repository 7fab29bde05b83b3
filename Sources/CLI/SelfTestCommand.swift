import ArgumentParser
import SelfTest
import Swiftlet

struct SelfTestCommand: ReportingCommand {
  static let configuration = CommandConfiguration(
    commandName: "selftest",
    abstract: "Checks every operation on this machine against references and finite differences.")

  @Option(help: "Seed of the inputs; by default another each time.") var seed: UInt64?
  @Flag(help: "Print one JSON object.") var json = false

  func execute() throws {
    let device = try Device.cpu()
    let seed = seed ?? .random(in: 0...(.max))
    let line = ProgressLine()
    var failures: [OpFailure] = []
    for (index, operation) in OpCase.all.enumerated() {
      line.show("Checking", done: index + 1, of: OpCase.all.count, details: [operation.name])
      for dtype in operation.dtypes {
        failures += try operation.checkReference(on: device, dtype, seed: seed)
      }
      if operation.hasGradients { failures += try operation.checkGradients(on: device, seed: seed) }
    }
    line.leave(erasing: true)
    if json {
      print(
        JSON.object([
          "device": .string(device.backend.name), "seed": .string("\(seed)"), "cases": .int(OpCase.all.count),
          "failures": .array(failures.map { .string($0.description) }),
        ]).text())
    } else {
      for failure in failures { print(failure) }
      print(
        "\(device.backend.name): \(OpCase.all.count) operations, \(failures.count) failures (seed \(seed))")
    }
    guard failures.isEmpty else {
      throw SwiftletError(
        .unsupported, "\(failures.count) checks failed on this machine",
        remedy: "Please report them, with the output of `swiftlet doctor`.")
    }
  }
}
