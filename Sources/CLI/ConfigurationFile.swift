import ArgumentParser
import Foundation
import Swiftlet
import Yams

/// The configuration that several commands take: a YAML file and settings that override it.
struct ConfigurationArguments: ParsableArguments {
  @Argument(help: "Configuration file (YAML).", completion: .file(extensions: ["yaml", "yml"]))
  var config: String?

  @Option(
    name: .customLong("set"),
    help: ArgumentHelp(
      "Sets one key, after the file. The value is YAML: r=8, target_modules=[q_proj, v_proj].",
      valueName: "key=value"))
  var settings: [String] = []

  @Flag(help: "List the keys that a configuration may have, and end.") var keys = false

  func validate() throws {
    if keys { throw CleanExit.message(KeyTable.text(columns: Terminal.output.columns)) }
    if config == nil { throw ValidationError("Missing expected argument '<config>'") }
  }

  /// Paths in the file are relative to the working directory, as in transformers' scripts.
  /// Keys that change nothing are named on standard error.
  func load() throws -> TrainingConfiguration {
    let path = config ?? ""
    guard let bytes = FileManager.default.contents(atPath: path) else {
      throw SwiftletError(.unreadable, "\(path): there is no such file, or it may not be read")
    }
    let values = try JSON(yaml: String(decoding: bytes, as: UTF8.self), source: path)
    let configuration = try TrainingConfiguration(
      values, overrides: settings.map(Self.override), source: path)
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

extension JSON {
  /// One YAML document. Mappings keep their order.
  ///
  /// - Throws: `.malformedFile` with line and column.
  init(yaml text: String, source: String) throws(SwiftletError) {
    let node: Node?
    do { node = try Yams.compose(yaml: text) } catch {
      throw SwiftletError(.malformedFile, "\(source): \(error)")
    }
    self = try node.map { node throws(SwiftletError) in try JSON(node, source) } ?? .null
  }

  private init(_ node: Node, _ source: String) throws(SwiftletError) {
    switch node {
    case .mapping(let mapping):
      var object: JSON.Object = [:]
      for (key, value) in mapping {
        guard let name = key.scalar?.string else {
          throw SwiftletError(.malformedFile, "\(source): a key is no text (line \(key.mark?.line ?? 0))")
        }
        if object.updateValue(try JSON(value, source), forKey: name) != nil {
          throw SwiftletError(
            .malformedFile, "\(source): '\(name)' stands twice (line \(key.mark?.line ?? 0))")
        }
      }
      self = .object(object)
    case .sequence(let sequence):
      var values: [JSON] = []
      for value in sequence { values.append(try JSON(value, source)) }
      self = .array(values)
    case .scalar(let scalar): self = JSON(scalar, node)
    case .alias: throw SwiftletError(.malformedFile, "\(source): aliases are not read")
    }
  }

  private init(_ scalar: Node.Scalar, _ node: Node) {
    switch node.tag {
    case Tag(.null): self = .null
    case Tag(.bool): self = node.bool.map { .bool($0) } ?? .string(scalar.string)
    case Tag(.int): self = node.int.map { .int($0) } ?? .string(scalar.string)
    case Tag(.float): self = node.float.map { .double($0) } ?? .string(scalar.string)
    default: self = .string(scalar.string)
    }
  }
}
