import Swiftlet

/// The keys of a configuration for people: name, other names, meaning, values and default.
enum KeyTable {
  /// - Parameter columns: the width that help is broken to.
  static func text(columns: Int) -> String {
    let defaults = TrainingConfiguration()
    return ConfigurationKey.all.map { key in
      let value = key.read(defaults)
      var facts = [key.help, key.expected]
      if !value.isNull, value != "", value != [], value != [:] {
        facts.append("default \(value.string ?? value.text(.spaced))")
      }
      if !key.aliases.isEmpty { facts.append("also \(key.aliases.joined(separator: ", "))") }
      let names = key.name.padding(to: nameWidth)
      return names + wrapped(facts.joined(separator: "; "), to: max(30, columns - nameWidth))
    }.joined(separator: "\n")
  }

  private static let nameWidth = 2 + (ConfigurationKey.all.map(\.name.count).max() ?? 0)

  /// The text in lines of at most `width`, all but the first indented below it.
  private static func wrapped(_ text: String, to width: Int) -> String {
    var lines = [""]
    for word in text.split(separator: " ") {
      let last = lines[lines.count - 1]
      if last.isEmpty {
        lines[lines.count - 1] = String(word)
      } else if last.count + 1 + word.count <= width {
        lines[lines.count - 1] += " \(word)"
      } else {
        lines.append(String(word))
      }
    }
    return lines.joined(separator: "\n" + String(repeating: " ", count: nameWidth))
  }
}

extension String {
  /// The text with spaces behind it up to `width`.
  func padding(to width: Int) -> String { self + String(repeating: " ", count: max(0, width - count)) }
}
