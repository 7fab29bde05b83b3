import ArgumentParser
import Foundation
import Swiftlet
import Yams

/// The configuration that several commands take: a YAML file and settings that override it.
struct ConfigurationArguments: ParsableArguments {
  @Argument(help: "Configuration file (YAML).", completion: .file(extensions: ["yaml", "yml"]))
  var config: String

  @Option(
    name: .customLong("set"), help: ArgumentHelp("Sets one key, after the file.", valueName: "key=value"))
  var settings: [String] = []

  /// Paths in the file are relative to the working directory, as in transformers' scripts.
  func load() throws -> TrainingConfiguration {
    guard let bytes = FileManager.default.contents(atPath: config) else {
      throw SwiftletError(.unreadable, "\(config): cannot be read")
    }
    let values = try JSON(yaml: String(decoding: bytes, as: UTF8.self), source: config)
    return try TrainingConfiguration(values, overrides: settings.map(Self.override), source: config)
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
