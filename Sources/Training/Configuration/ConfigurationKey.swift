import Basics
import Compute
import Models
import Text

/// A key of a configuration file: its name, what it means, and the property it sets.
public struct ConfigurationKey: Sendable {
  public let name: String
  /// Other names under which users know it.
  public let aliases: [String]
  /// What it means, in a line.
  public let help: String
  /// What values it takes, for errors.
  public let expected: String
  /// Sets the property; false when the value is not what is expected.
  let apply: @Sendable (inout TrainingConfiguration, JSON) throws(SwiftletError) -> Bool
  /// The property as the key's value.
  public let read: @Sendable (TrainingConfiguration) -> JSON

  static func named(_ name: String) -> ConfigurationKey? {
    all.first { $0.name == name || $0.aliases.contains(name) }
  }

  /// All keys, in the order in which a table shows them.
  public static let all: [ConfigurationKey] = model + data + adapter + schedule + memory + records
}

typealias Property<Value> = WritableKeyPath<TrainingConfiguration, Value> & Sendable

// MARK: - Kinds of values

extension ConfigurationKey {
  static func text(_ name: String, _ aliases: String..., at path: Property<String>, _ help: String) -> Self {
    Self(
      name: name, aliases: aliases, help: help, expected: "a text",
      apply: { configuration, value in
        guard let text = value.scalarText else { return false }
        configuration[keyPath: path] = text
        return true
      }, read: { .string($0[keyPath: path]) })
  }

  static func optionalText(
    _ name: String, _ aliases: String..., at path: Property<String?>, _ help: String
  ) -> Self {
    Self(
      name: name, aliases: aliases, help: help, expected: "a text",
      apply: { configuration, value in
        configuration[keyPath: path] = value.scalarText
        return value.scalarText != nil
      }, read: { $0[keyPath: path].map { .string($0) } ?? nil })
  }

  /// One name or path, or a list of them.
  static func names(_ name: String, _ aliases: String..., at path: Property<[String]>, _ help: String) -> Self
  {
    Self(
      name: name, aliases: aliases, help: help, expected: "one or a list",
      apply: { configuration, value in
        let paths = value.array?.compactMap(\.string) ?? value.string.map { [$0] } ?? []
        configuration[keyPath: path] = paths
        return !paths.isEmpty && paths.count == value.array?.count ?? 1
      }, read: { .array($0[keyPath: path].map { .string($0) }) })
  }

  static func flag(_ name: String, _ aliases: String..., at path: Property<Bool>, _ help: String) -> Self {
    Self(
      name: name, aliases: aliases, help: help, expected: "true or false",
      apply: { configuration, value in
        guard let flag = value.bool else { return false }
        configuration[keyPath: path] = flag
        return true
      }, read: { .bool($0[keyPath: path]) })
  }

  static func integer(
    _ name: String, _ aliases: String..., from least: Int = 1, at path: Property<Int>, _ help: String
  ) -> Self {
    Self(
      name: name, aliases: aliases, help: help, expected: "an integer of at least \(least)",
      apply: { configuration, value in
        guard let int = value.int, int >= least else { return false }
        configuration[keyPath: path] = int
        return true
      }, read: { .int($0[keyPath: path]) })
  }

  static func optionalInteger(
    _ name: String, _ aliases: String..., at path: Property<Int?>, _ help: String
  ) -> Self {
    Self(
      name: name, aliases: aliases, help: help, expected: "an integer of at least 1",
      apply: { configuration, value in
        // transformers writes -1 for "not set".
        guard let int = value.int, int >= 1 || int == -1 else { return false }
        configuration[keyPath: path] = int == -1 ? nil : int
        return true
      }, read: { $0[keyPath: path].map { .int($0) } ?? nil })
  }

  static func number(
    _ name: String, _ aliases: String..., in range: ClosedRange<Double>, at path: Property<Double>,
    _ help: String
  ) -> Self {
    let expected =
      range.upperBound < 1e6
      ? "a number from \(plain(range.lowerBound)) to \(plain(range.upperBound))"
      : "a number of at least \(plain(range.lowerBound))"
    return Self(
      name: name, aliases: aliases, help: help, expected: expected,
      apply: { configuration, value in
        // YAML 1.1 takes 2e-4 for a text.
        guard let number = value.double ?? value.string.flatMap(Double.init), range.contains(number) else {
          return false
        }
        configuration[keyPath: path] = number
        return true
      }, read: { .double($0[keyPath: path]) })
  }

  /// 10 rather than 10.0.
  private static func plain(_ number: Double) -> String {
    Int(exactly: number).map { "\($0)" } ?? "\(number)"
  }

  static func choice<Choice: RawRepresentable<String> & CaseIterable & Sendable>(
    _ name: String, _ aliases: String..., at path: Property<Choice>, also synonyms: [String: Choice] = [:],
    _ help: String
  ) -> Self {
    let names = Choice.allCases.map(\.rawValue).joined(separator: ", ")
    return Self(
      name: name, aliases: aliases, help: help, expected: "one of \(names)",
      apply: { configuration, value in
        guard let text = value.string, let choice = Choice(rawValue: text) ?? synonyms[text] else {
          return false
        }
        configuration[keyPath: path] = choice
        return true
      }, read: { .string($0[keyPath: path].rawValue) })
  }
}

extension JSON {
  /// A text, or a number or truth value as text: YAML does not know that a name was meant.
  fileprivate var scalarText: String? {
    switch self {
    case .string(let text): text
    case .int, .double, .bool: text()
    default: nil
    }
  }
}
