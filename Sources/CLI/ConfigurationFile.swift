import ArgumentParser
import Foundation
import Swiftlet

/// The configuration that several commands take: a YAML file and settings that override it.
struct ConfigurationArguments: ParsableArguments {
  @Argument(help: "Configuration file (YAML).", completion: .file(extensions: ["yaml", "yml"]))
  var config: String

  @Option(
    name: .customLong("set"), help: ArgumentHelp("Sets one key, after the file.", valueName: "key=value"))
  var settings: [String] = []

  @Option(help: "Where to compute: auto, cpu, cuda or cuda:N; overrides the file.") var device: DeviceChoice?

  /// Paths in the file are relative to the working directory, as in transformers' scripts.
  func load() throws -> TrainingConfiguration {
    guard let bytes = FileManager.default.contents(atPath: config) else {
      throw SwiftletError.unreadable(config)
    }
    guard let text = String(validating: bytes, as: UTF8.self) else {
      throw SwiftletError(.malformedFile, "\(config): is not UTF-8")
    }
    let values = try JSON(yaml: text, source: config)
    var configuration = try TrainingConfiguration(
      values, overrides: settings.map(Self.override), source: config)
    if let device { configuration.device = device }
    for (key, reason) in configuration.ignoredKeys { note("\(key) changes nothing: \(reason)") }
    return configuration
  }

  private static func override(_ text: String) throws -> (key: String, value: JSON) {
    guard let equals = text.firstIndex(of: "=") else {
      throw SwiftletError(.invalidConfiguration, "--set \(text): expected key=value")
    }
    let value = try JSON(yaml: String(text[text.index(after: equals)...]), source: "--set \(text)")
    return (String(text[..<equals]), value)
  }
}
