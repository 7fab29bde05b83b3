import ArgumentParser
import Swiftlet

struct KeysCommand: ReportingCommand {
  static let configuration = CommandConfiguration(
    commandName: "keys", abstract: "Lists the keys of configuration files, with their defaults.")

  @Flag(help: "Print one JSON array.") var json = false

  func execute() throws {
    let defaults = TrainingConfiguration()
    if json {
      print(JSON.array(ConfigurationKey.all.map { Self.json($0, defaults) }).text(.indented(2)))
      return
    }
    for key in ConfigurationKey.all {
      let names = ([key.name] + key.aliases).joined(separator: ", ")
      let value = key.value(in: defaults).map {
        $0 == .null || $0 == "" || $0 == [] || $0 == [:] ? "" : " [\($0.string ?? $0.text(.spaced))]"
      }
      print("\(Terminal.output.styled(names, .bold))\(value ?? "")")
      print("    \(key.help) (\(key.expected))")
    }
  }

  private static func json(_ key: ConfigurationKey, _ defaults: TrainingConfiguration) -> JSON {
    [
      "name": .string(key.name), "aliases": .array(key.aliases.map { .string($0) }),
      "help": .string(key.help),
      "expected": .string(key.expected), "default": key.value(in: defaults) ?? nil,
    ]
  }
}
