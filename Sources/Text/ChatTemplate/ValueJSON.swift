import Basics

extension Jinja {
  /// Python's `json.dumps`, which is `tojson` in chat templates: nothing is escaped for HTML.
  struct JSONWriter {
    var asciiOnly = false
    var sortsKeys = false
    /// What one level is indented by; nil writes everything on one line.
    var indent: String?
    var itemSeparator = ", "
    var keySeparator = ": "
    private(set) var out = ""
    private var walk = Walk()

    mutating func write(_ value: Value) throws(Failure) {
      try walk.enter(written: out)
      defer { walk.leave() }
      switch value {
      case .null: out += "null"
      case .bool(let value): out += value ? "true" : "false"
      case .int(let value): out += String(value)
      case .double(let value): out += Self.text(value)
      case .string(let value): JSON.write(value, asciiOnly: asciiOnly, to: &out)
      case .list(let list), .tuple(let list):
        try writeMembers(list.items, "[", "]") { writer, item throws(Failure) in
          try writer.write(item)
        }
      case .dict(let dict):
        var entries = dict.entries.map { Value.tuple([$0.key, $0.value]) }
        if sortsKeys {
          entries = try Value.sorted(entries, by: dict.entries.map(\.key), reversed: false)
        }
        try writeMembers(entries, "{", "}") { writer, entry throws(Failure) in
          let pair = try entry.elements()
          JSON.write(try Self.key(pair[0]), asciiOnly: writer.asciiOnly, to: &writer.out)
          writer.out += writer.keySeparator
          try writer.write(pair[1])
        }
      case .undefined(let missing):
        throw Failure("cannot write an undefined value as JSON: \(missing.message)")
      case .namespace, .loop, .function:
        throw Failure("Object of type \(value.typeName) is not JSON serializable")
      }
    }

    private mutating func writeMembers(
      _ members: [Value], _ open: String, _ close: String,
      _ body: (inout JSONWriter, Value) throws(Failure) -> Void
    ) throws(Failure) {
      out += open
      for (index, member) in members.enumerated() {
        if index > 0 { out += itemSeparator }
        newline(walk.depth)
        try body(&self, member)
      }
      if !members.isEmpty { newline(walk.depth - 1) }
      out += close
    }

    private mutating func newline(_ depth: Int) {
      guard let indent else { return }
      out += "\n" + String(repeating: indent, count: depth)
    }

    private static func text(_ value: Double) -> String {
      if value.isNaN { return "NaN" }
      if value.isInfinite { return value < 0 ? "-Infinity" : "Infinity" }
      return Value.pythonText(value)
    }

    private static func key(_ key: Value) throws(Failure) -> String {
      switch key {
      case .string(let name): return name
      case .null: return "null"
      case .bool(let value): return value ? "true" : "false"
      case .int(let value): return String(value)
      case .double(let value): return text(value)
      default: throw Failure("keys must be str, int, float, bool or None, not \(key.typeName)")
      }
    }
  }
}
