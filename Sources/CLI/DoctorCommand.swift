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

  private var cudaFacts: [Fact] {
    let report = CUDAReport()
    let devices = report.devices.map { device in
      Fact(
        "cuda:\(device.ordinal)",
        [
          "name": .string(device.name), "compute_capability": .string(device.computeCapability),
          "memory": .int(device.memoryBytes), "free_memory": .int(device.freeBytes),
          "enabled": .array(device.enabled.map { .string($0) }),
        ],
        "\(device.name), compute capability \(device.computeCapability), \(device.freeBytes.megabytes) of "
          + "\(device.memoryBytes.megabytes) free; \(device.enabled.joined(separator: ", "))")
    }
    let libraries = report.libraries.map { library in
      Fact(
        library.library.rawValue,
        [
          "path": library.path.map { .string($0) } ?? nil,
          "version": library.version.map { .string($0) } ?? nil,
          "problem": library.problem.map { .string($0.message) } ?? nil,
          "remedy": library.problem?.remedy.map { .string($0) } ?? nil,
        ],
        library.path.map { "\(library.version ?? "version unknown"), \($0)" }
          ?? library.problem.map { "\($0.message). \($0.remedy ?? "")" })
    }
    let none = Fact("gpu", false, "none: this machine computes on the processor")
    let problem = report.problem.map { Fact("gpu_problem", .string($0.message), $0.description) }
    return (devices.isEmpty ? [none] : devices) + [problem].compactMap(\.self) + libraries
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
    ] + cudaFacts + [
      Fact("model_cache", .string(ModelCache.folder)),
      Fact(
        "models", .array(names.map { .string($0) }), names.isEmpty ? "none" : names.joined(separator: ", ")),
    ]
  }
}
