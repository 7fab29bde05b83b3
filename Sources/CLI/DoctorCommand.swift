import ArgumentParser
import Foundation
import Swiftlet

struct DoctorCommand: ReportingCommand {
  static let configuration = CommandConfiguration(
    commandName: "doctor", abstract: "Says what this machine has and what is used of it.")

  @Flag(help: "Print one JSON object.") var json = false

  /// A line for people, a member for programs.
  private struct Fact {
    let key: String
    let value: JSON
    let text: String

    init(_ key: String, _ value: JSON, _ text: String? = nil) {
      self.key = key
      self.value = value
      self.text = text ?? value.string ?? value.text(.spaced)
    }
  }

  func execute() throws {
    let facts = try facts()
    if json {
      print(JSON.object(JSON.Object(uniqueKeysWithValues: facts.map { ($0.key, $0.value) })).text())
      return
    }
    let width = facts.map(\.key.count).max() ?? 0
    for fact in facts {
      let label = fact.key.replacingOccurrences(of: "_", with: " ")
      print(label.padding(toLength: width + 2, withPad: " ", startingAt: 0) + fact.text)
    }
  }

  private func facts() throws -> [Fact] {
    let cpu = try CPU()
    let process = ProcessInfo.processInfo
    let names = ModelCache.names
    let free = ProcessMemory.available
    return [
      Fact("version", .string(SwiftletCommand.configuration.version)),
      Fact("system", .string(process.operatingSystemVersionString)),
      Fact("device", .string(cpu.name)),
      Fact("threads", .int(cpu.threads), "\(cpu.threads) of \(process.processorCount) processors"),
      Fact(
        "bfloat16", .bool(cpu.multipliesBF16),
        cpu.multipliesBF16 ? "yes: dtype auto" : "no: dtype auto is float32"),
      Fact("memory", .int(Int(process.physicalMemory)), Int(process.physicalMemory).megabytes),
      Fact("free_memory", free.map { .int($0) } ?? nil, free?.megabytes ?? "the system does not say"),
      Fact("gpu", false, "not used: this version computes on the processor; CUDA is not built in yet"),
      Fact("model_cache", .string(ModelCache.folder)),
      Fact(
        "models", .array(names.map { .string($0) }), names.isEmpty ? "none" : names.joined(separator: ", ")),
    ]
  }
}
