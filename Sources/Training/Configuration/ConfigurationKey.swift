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
  let meaning: Meaning

  enum Meaning: Sendable {
    /// A property, by how it is set (false when the value is not what is expected) and read.
    case property(
      apply: @Sendable (inout TrainingConfiguration, JSON) -> Bool,
      read: @Sendable (TrainingConfiguration) -> JSON)
    /// A flag that says what another key with one of two values says; nil says nothing.
    case shorthand(of: String, on: JSON, off: JSON?)
  }

  /// The key's value in a configuration; nil for a shorthand, whose value another key has.
  public func value(in configuration: TrainingConfiguration) -> JSON? {
    if case .property(_, let read) = meaning { read(configuration) } else { nil }
  }

  /// All keys, in the order in which a table shows them.
  public static let all: [ConfigurationKey] = model + data + adapter + schedule + memory + records

  private static let byName: [String: ConfigurationKey] = {
    var table: [String: ConfigurationKey] = [:]
    for key in all {
      for name in [key.name] + key.aliases { table[name] = key }
    }
    return table
  }()

  /// - Throws: `.invalidConfiguration` with what to write instead, if anything can be said.
  static func named(_ name: String, source: String) throws(SwiftletError) -> ConfigurationKey {
    if let key = byName[name] { return key }
    let suggestion = nearest(to: name, in: byName.keys).map { "Did you mean '\($0)'?" }
    throw SwiftletError(
      .invalidConfiguration, "\(source): unknown key '\(name)'",
      remedy: replacements[name] ?? suggestion ?? "`swiftlet keys` lists all keys.")
  }
}

typealias Property<Value> = WritableKeyPath<TrainingConfiguration, Value> & Sendable

// MARK: - Kinds of values

extension ConfigurationKey {
  init(
    name: String, aliases: [String] = [], help: String, expected: String,
    apply: @escaping @Sendable (inout TrainingConfiguration, JSON) -> Bool,
    read: @escaping @Sendable (TrainingConfiguration) -> JSON
  ) {
    self.init(
      name: name, aliases: aliases, help: help, expected: expected,
      meaning: .property(apply: apply, read: read))
  }

  static func shorthand(
    _ name: String, of key: String, on: JSON, off: JSON? = nil
  ) -> Self {
    Self(
      name: name, aliases: [], help: "\(key): \(on.string ?? on.text())", expected: "true or false",
      meaning: .shorthand(of: key, on: on, off: off))
  }

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

  /// A text or a list of them, such as paths.
  static func texts(
    _ name: String, _ aliases: String..., of what: String, at path: Property<[String]>, _ help: String
  ) -> Self {
    Self(
      name: name, aliases: aliases, help: help, expected: "a \(what) or a list of them",
      apply: { configuration, value in
        guard let texts = value.list(\.string) else { return false }
        configuration[keyPath: path] = texts
        return true
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
    _ name: String, _ aliases: String..., from least: Double = 0, to most: Double = .infinity,
    at path: Property<Double>, _ help: String
  ) -> Self {
    let limit =
      most.isFinite ? "from \(text(of: least)) to \(text(of: most))" : "of at least \(text(of: least))"
    return Self(
      name: name, aliases: aliases, help: help, expected: "a number \(limit)",
      apply: { configuration, value in
        guard let number = value.number, number >= least, number <= most else { return false }
        configuration[keyPath: path] = number
        return true
      }, read: { .double($0[keyPath: path]) })
  }

  private static func text(of number: Double) -> String {
    Int(exactly: number).map(String.init) ?? "\(number)"
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
  /// A finite number. YAML 1.1 takes 2e-4 for a text.
  var number: Double? {
    let number = double ?? string.flatMap(Double.init)
    return number.flatMap { $0.isFinite ? $0 : nil }
  }

  /// The values of a list, or of a single value as a list of one; nil when one is of another kind.
  func list<Value>(_ value: (JSON) -> Value?) -> [Value]? {
    let members = array ?? [self]
    let values = members.compactMap(value)
    return values.count == members.count ? values : nil
  }

  /// A text, or a number or truth value as text: YAML does not know that a name was meant.
  fileprivate var scalarText: String? {
    switch self {
    case .string(let text): text
    case .int, .double, .bool: text()
    default: nil
    }
  }
}
