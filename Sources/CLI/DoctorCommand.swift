import ArgumentParser
import Foundation
import Swiftlet

struct DoctorCommand: ReportingCommand {
  static let configuration = CommandConfiguration(
    commandName: "doctor", abstract: "Says what this machine has and what is used of it.")

  @Flag(help: "Print one JSON object.") var json = false

  func execute() throws {
    let cpu = try CPU()
    var facts: [(String, String)] = [
      ("device", cpu.name),
      ("products", CPU.multipliesBF16 ? "bfloat16 (dtype: auto)" : "float32 (dtype: auto)"),
    ]
    if let available = ProcessMemory.available { facts.append(("free memory", available.megabytes)) }
    facts.append(("models", ModelCache.folder))
    for name in ModelCache.names { facts.append(("", name)) }
    facts.append(("GPU", "not used: this version trains on the CPU"))
    if json {
      print(
        JSON.object([
          "device": .string(cpu.name), "threads": .int(cpu.threads), "bfloat16": .bool(CPU.multipliesBF16),
          "free_memory": ProcessMemory.available.map { .int($0) } ?? nil,
          "model_cache": .string(ModelCache.folder),
          "models": .array(ModelCache.names.map { .string($0) }),
        ]).text())
      return
    }
    for (name, value) in facts { print(name.padding(toLength: 14, withPad: " ", startingAt: 0) + value) }
  }
}
