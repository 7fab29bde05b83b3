import Basics

extension Jinja {
  /// Jinja's built-in filters, and transformers' `tojson`. Not here: `random` (a template must give the same
  /// text every time), `urlize` and `xmlattr` (HTML), `pprint`, `wordwrap` and `filesizeformat`.
  ///
  /// `safe` and `escape` give plain texts, where Jinja's are marked and escape what is added to them with `+`.
  enum Filters {
    private static let aliases = ["count": "length", "d": "default", "e": "escape", "forceescape": "escape"]

    static func exists(_ name: String) -> Bool {
      let name = aliases[name] ?? name
      return TextFilter(rawValue: name) != nil || SequenceFilter(rawValue: name) != nil
    }

    static func apply(
      _ name: String, _ value: Value, _ arguments: CallArguments, _ interpreter: Interpreter
    ) throws(Failure) -> Value {
      let known = aliases[name] ?? name
      if let filter = TextFilter(rawValue: known) { return try filter.apply(to: value, arguments) }
      if let filter = SequenceFilter(rawValue: known) {
        return try filter.apply(to: value, arguments, interpreter)
      }
      let names = TextFilter.allCases.map(\.rawValue) + SequenceFilter.allCases.map(\.rawValue)
      throw Failure("no filter named '\(name)'" + suggestion(name, names))
    }

    static func suggestion(_ name: String, _ names: [String]) -> String {
      nearest(to: name, in: names).map { "; did you mean '\($0)'?" } ?? ""
    }

    static func joined(_ parts: [String], by separator: String) throws(Failure) -> String {
      var bytes = 0
      for part in parts {
        bytes += part.utf8.count + separator.utf8.count
        try Limits.check(text: bytes)
      }
      return parts.joined(separator: separator)
    }
  }

  /// Filters of texts and numbers.
  enum TextFilter: String, CaseIterable {
    case trim, upper, lower, title, capitalize, replace, string, escape, safe, striptags, urlencode
    case indent, center, truncate, wordcount, format, tojson
    case int, float, abs, round
    case `default`

    func apply(to value: Value, _ arguments: CallArguments) throws(Failure) -> Value {
      switch self {
      case .default:
        let bound = try arguments.bound(to: ["default_value", "boolean"], in: rawValue)
        let replaced = value.isUndefined || (bound.flag(1) && !value.isTrue)
        return replaced ? bound[0] ?? .string("") : value
      case .tojson: return .string(try json(value, arguments))
      case .int, .float, .abs, .round: return try NumberFilter.apply(self, value, arguments)
      case .format: return .string(try format(try value.text(), arguments))
      case .trim:
        let bound = try arguments.bound(to: ["chars"], in: rawValue)
        return .string(try value.text().stripped(try bound.optionalString(0)))
      case .replace:
        let bound = try arguments.bound(to: ["old", "new", "count"], required: 2, in: rawValue)
        return .string(
          try value.text().replacing(
            utf8: try bound.value(0).text(), with: try bound.value(1).text(),
            limit: try bound.optionalInt(2).flatMap { $0 < 0 ? nil : $0 } ?? .max))
      case .indent, .truncate:
        // Python makes no text of other values here.
        guard case .string(let text) = value else {
          throw Failure("\(rawValue) expects a string, not \(value.typeName)")
        }
        return .string(self == .indent ? try indent(text, arguments) : try truncate(text, arguments))
      case .center:
        let width = try arguments.bound(to: ["width"], in: rawValue).int(0, else: 80)
        return .string(try value.text().padded(to: width, left: true, right: true))
      case .urlencode: return .string(try TextFilter.urlEncoded(value))
      default:
        _ = try arguments.bound(to: [], in: rawValue)
        return try simple(try value.text())
      }
    }

    /// The filters of a text alone.
    private func simple(_ text: String) throws(Failure) -> Value {
      switch self {
      case .upper: .string(text.uppercased())
      case .lower: .string(text.lowercased())
      case .title: .string(TextFilter.titled(text))
      case .capitalize: .string(text.pythonCapitalized)
      case .escape: .string(try TextFilter.escaped(text))
      case .striptags: .string(try TextFilter.withoutTags(text))
      case .wordcount: .int(text.unicodeScalars.split { !$0.isPythonWord }.count)
      // `safe` matters only where output is escaped, and in chat templates it is not.
      default: .string(text)
      }
    }

    private func json(_ value: Value, _ arguments: CallArguments) throws(Failure) -> String {
      let bound = try arguments.bound(
        to: ["ensure_ascii", "indent", "separators", "sort_keys"], in: rawValue)
      var writer = JSONWriter()
      writer.asciiOnly = bound.flag(0)
      writer.sortsKeys = bound.flag(3)
      if case .string(let text)? = bound[1] {
        writer.indent = text
      } else if let width = try bound.optionalInt(1) {
        try Limits.check(text: width)
        writer.indent = String(repeating: " ", count: max(0, width))
      }
      if writer.indent != nil { writer.itemSeparator = "," }
      if let separators = bound[2], separators.isTrue {
        let pair = try separators.elements().compactMap(\.asString)
        guard pair.count == 2 else { throw Failure("tojson: 'separators' must be two strings") }
        writer.itemSeparator = pair[0]
        writer.keySeparator = pair[1]
      }
      try writer.write(value)
      return writer.out
    }

    private func format(_ text: String, _ arguments: CallArguments) throws(Failure) -> String {
      if arguments.named.isEmpty { return try PercentFormat.format(text, .tuple(arguments.positional)) }
      guard arguments.positional.isEmpty else {
        throw Failure("format cannot take positional and named arguments at the same time")
      }
      let dict = Dict()
      for (name, value) in arguments.named { dict.set(name, value) }
      return try PercentFormat.format(text, .dict(dict))
    }

    private func indent(_ text: String, _ arguments: CallArguments) throws(Failure) -> String {
      let bound = try arguments.bound(to: ["width", "first", "blank"], in: rawValue)
      var margin: String
      if case .string(let text)? = bound[0] {
        margin = text
      } else {
        let width = try bound.int(0, else: 4)
        try Limits.check(text: width)
        margin = String(repeating: " ", count: max(0, width))
      }
      let lines = (text + "\n").pythonLines()
      try Limits.check(text: margin.utf8.count, times: lines.count)
      let blank = bound.flag(2)
      let indented = lines.enumerated().map { index, line in
        index > 0 && (blank || !line.isEmpty) ? margin + line : line
      }
      return (bound.flag(1) ? margin : "") + indented.joined(separator: "\n")
    }

    private func truncate(_ text: String, _ arguments: CallArguments) throws(Failure) -> String {
      let bound = try arguments.bound(to: ["length", "killwords", "end", "leeway"], in: rawValue)
      let length = try bound.int(0, else: 255)
      let end = try bound.optionalString(2) ?? "..."
      let scalars = Array(text.unicodeScalars)
      let endCount = end.unicodeScalars.count
      guard length >= endCount else { throw Failure("truncate: the length must be at least \(endCount)") }
      let leeway = try bound.int(3, else: 5)
      if scalars.count - leeway <= length { return text }
      let kept = scalars[..<(length - endCount)]
      if bound.flag(1) { return Jinja.string(kept) + end }
      return Jinja.string(kept[..<(kept.lastIndex(of: " ") ?? kept.endIndex)]) + end
    }
  }
}

// MARK: - Pieces of text

extension Jinja.TextFilter {
  /// Upper case after white space, hyphens and opening brackets; unlike `str.title`, not after other signs.
  static func titled(_ text: String) -> String {
    var out = ""
    var inWord = false
    for scalar in text.unicodeScalars {
      out += inWord ? scalar.properties.lowercaseMapping : scalar.properties.uppercaseMapping
      inWord = !(scalar.isPythonSpace || ["-", "(", "{", "[", "<"].contains(scalar))
    }
    return out
  }

  static func escaped(_ text: String) throws(Jinja.Failure) -> String {
    try Jinja.Limits.check(text: text.utf8.count, times: 5)
    var out = String.UnicodeScalarView()
    for scalar in text.unicodeScalars {
      switch scalar {
      case "&": out.append(contentsOf: "&amp;".unicodeScalars)
      case "<": out.append(contentsOf: "&lt;".unicodeScalars)
      case ">": out.append(contentsOf: "&gt;".unicodeScalars)
      case "'": out.append(contentsOf: "&#39;".unicodeScalars)
      case "\"": out.append(contentsOf: "&#34;".unicodeScalars)
      default: out.append(scalar)
      }
    }
    return String(out)
  }

  static func withoutTags(_ text: String) throws(Jinja.Failure) -> String {
    var rest = text[...]
    var out = ""
    while let open = rest.unicodeScalars.firstIndex(of: "<") {
      let isComment = rest[open...].utf8.starts(with: "<!--".utf8)
      guard let close = text.range(ofUTF8: isComment ? "-->" : ">", in: open..<text.endIndex) else { break }
      out += rest[..<open]
      rest = text[close.upperBound...]
    }
    var plain = (out + rest).words(limit: .max).joined(separator: " ")
    let entities = [
      ("&lt;", "<"), ("&gt;", ">"), ("&#39;", "'"), ("&#34;", "\""), ("&quot;", "\""), ("&amp;", "&"),
    ]
    for (entity, character) in entities {
      plain = try plain.replacing(utf8: entity, with: character, limit: .max)
    }
    return plain
  }

  /// A text keeps its slashes; the pairs of a dict or a list become a query.
  static func urlEncoded(_ value: Jinja.Value) throws(Jinja.Failure) -> String {
    var pairs: [Jinja.Value]
    switch value {
    case .dict(let dict): pairs = dict.entries.map { .tuple([$0.key, $0.value]) }
    case .list(let list), .tuple(let list): pairs = list.items
    default: return percentEncoded(try value.text(), keeping: "/")
    }
    var parts: [String] = []
    for pair in pairs {
      let texts = try pair.elements()
      guard texts.count == 2 else { throw Jinja.Failure("urlencode expects pairs of key and value") }
      let (key, text) = (try texts[0].text(), try texts[1].text())
      parts.append(
        try [key, text].map { part throws(Jinja.Failure) in
          try percentEncoded(part, keeping: "").replacing(utf8: "%20", with: "+", limit: .max)
        }.joined(separator: "="))
    }
    return parts.joined(separator: "&")
  }

  private static func percentEncoded(_ text: String, keeping safe: String) -> String {
    var out = ""
    for byte in text.utf8 {
      let scalar = Unicode.Scalar(byte)
      let plain = byte < 128 && (scalar.isPythonWord || ("-.~" + safe).unicodeScalars.contains(scalar))
      out += plain ? String(scalar) : "%" + Jinja.Value.hexadecimal(UInt32(byte), 2).uppercased()
    }
    return out
  }
}
