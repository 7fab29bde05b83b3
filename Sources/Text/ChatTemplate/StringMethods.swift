extension Jinja {
  /// The methods of Python's strings.
  enum StringMethod: String {
    case strip, lstrip, rstrip, removeprefix, removesuffix
    case split, rsplit, splitlines, partition, rpartition, join, replace
    case startswith, endswith, find, rfind, index, rindex, count
    case upper, lower, title, capitalize, swapcase, casefold
    case zfill, ljust, rjust, center, format
    case isalpha, isdigit, isdecimal, isnumeric, isalnum, isspace, isupper, islower, isascii

    func call(on text: String, _ arguments: CallArguments) throws(Failure) -> Value {
      switch self {
      case .strip, .lstrip, .rstrip, .removeprefix, .removesuffix: return try cut(text, arguments)
      case .split, .rsplit, .splitlines, .partition, .rpartition: return try separate(text, arguments)
      case .join, .replace: return try build(text, arguments)
      case .startswith, .endswith, .find, .rfind, .index, .rindex, .count:
        return try search(text, arguments)
      case .upper, .lower, .title, .capitalize, .swapcase, .casefold:
        _ = try arguments.bound(to: [], in: rawValue)
        return .string(changeCase(text))
      case .zfill, .ljust, .rjust, .center: return .string(try pad(text, arguments))
      case .format: return .string(try BraceFormat.format(text, arguments))
      default:
        _ = try arguments.bound(to: [], in: rawValue)
        return .bool(holds(text))
      }
    }

    private func cut(_ text: String, _ arguments: CallArguments) throws(Failure) -> Value {
      let bound = try arguments.bound(to: ["chars"], in: rawValue)
      switch self {
      case .removeprefix:
        let prefix = try bound.string(0)
        return .string(
          text.hasUTF8Prefix(prefix) ? String(text.utf8.dropFirst(prefix.utf8.count)) ?? text : text)
      case .removesuffix:
        let suffix = try bound.string(0)
        return .string(
          text.hasUTF8Suffix(suffix) ? String(text.utf8.dropLast(suffix.utf8.count)) ?? text : text)
      default:
        return .string(
          text.stripped(try bound.optionalString(0), left: self != .rstrip, right: self != .lstrip))
      }
    }

    private func separate(_ text: String, _ arguments: CallArguments) throws(Failure) -> Value {
      switch self {
      case .splitlines:
        let bound = try arguments.bound(to: ["keepends"], in: rawValue)
        return .list(text.pythonLines(keepingEnds: bound.flag(0)).map { .string($0) })
      case .partition, .rpartition:
        let separator = try arguments.bound(to: ["sep"], in: rawValue).string(0)
        let places = text.ranges(ofUTF8: separator)
        guard let place = self == .partition ? places.first : places.last else {
          let parts = self == .partition ? [text, "", ""] : ["", "", text]
          return .tuple(parts.map { .string($0) })
        }
        let parts = [text[..<place.lowerBound], text[place], text[place.upperBound...]]
        return .tuple(parts.map { .string(String($0)) })
      default: return .list(try split(text, arguments).map { .string($0) })
      }
    }

    private func split(_ text: String, _ arguments: CallArguments) throws(Failure) -> [String] {
      let bound = try arguments.bound(to: ["sep", "maxsplit"], in: rawValue)
      let most = try bound.int(1, else: -1)
      let limit = most < 0 ? Int.max : most
      guard let separator = try bound.optionalString(0) else {
        return text.words(limit: limit, fromRight: self == .rsplit)
      }
      if separator.isEmpty { throw Failure("empty separator") }
      let all = text.ranges(ofUTF8: separator)
      let places = self == .split ? all.prefix(limit) : all.suffix(limit)
      var parts: [String] = []
      var at = text.startIndex
      for place in places {
        parts.append(String(text[at..<place.lowerBound]))
        at = place.upperBound
      }
      return parts + [String(text[at...])]
    }

    private func build(_ text: String, _ arguments: CallArguments) throws(Failure) -> Value {
      if self == .replace {
        let bound = try arguments.bound(to: ["old", "new", "count"], required: 2, in: rawValue)
        let count = try bound.int(2, else: -1)
        return .string(
          try text.replacing(
            utf8: try bound.string(0), with: try bound.string(1), limit: count < 0 ? .max : count))
      }
      var parts: [String] = []
      for item in try arguments.bound(to: ["iterable"], in: rawValue).value(0).elements() {
        guard let part = item.asString else {
          throw Failure("join() expects strings, found \(item.typeName)")
        }
        parts.append(part)
      }
      return .string(try Filters.joined(parts, by: text))
    }

    private func search(_ text: String, _ arguments: CallArguments) throws(Failure) -> Value {
      let bound = try arguments.bound(to: ["sub", "start", "end"], required: 1, in: rawValue)
      // Most calls search the whole text: no need to count its scalars.
      let whole = bound[1] == nil && bound[2] == nil
      let window =
        whole ? text : try Value.string(text).slice(bound.optionalInt(1), bound.optionalInt(2), nil).text()
      if self == .startswith || self == .endswith {
        return .bool(try matches(window, try bound.value(0)))
      }
      let part = try bound.string(0)
      if self == .count { return .int(window.ranges(ofUTF8: part).count) }
      let places =
        self == .find || self == .index ? [window.range(ofUTF8: part)] : [window.lastRange(ofUTF8: part)]
      guard let place = places[0] else {
        if self == .index || self == .rindex { throw Failure("substring not found") }
        return .int(-1)
      }
      let skipped = whole ? 0 : try offset(of: try bound.optionalInt(1) ?? 0, in: text)
      return .int(skipped + window.unicodeScalars.distance(from: window.startIndex, to: place.lowerBound))
    }

    private func offset(of start: Int, in text: String) throws(Failure) -> Int {
      let count = text.unicodeScalars.count
      return min(max(0, start < 0 ? start + count : start), count)
    }

    /// A prefix or suffix, or any of a tuple of them.
    private func matches(_ text: String, _ candidate: Value) throws(Failure) -> Bool {
      switch candidate {
      case .string(let part): return self == .startswith ? text.hasUTF8Prefix(part) : text.hasUTF8Suffix(part)
      case .tuple(let list):
        for item in list.items where try matches(text, item) { return true }
        return false
      default:
        throw Failure("\(rawValue)() expects a string or a tuple of strings, not \(candidate.typeName)")
      }
    }

    private func changeCase(_ text: String) -> String {
      switch self {
      case .upper: text.uppercased()
      case .title: text.pythonTitled
      case .capitalize: text.pythonCapitalized
      case .swapcase:
        text.unicodeScalars.map {
          $0.properties.isUppercase ? $0.properties.lowercaseMapping : $0.properties.uppercaseMapping
        }.joined()
      default: text.lowercased()
      }
    }

    private func pad(_ text: String, _ arguments: CallArguments) throws(Failure) -> String {
      if self == .zfill {
        let width = try arguments.bound(to: ["width"], in: rawValue).int(0)
        let sign = text.hasPrefix("-") || text.hasPrefix("+") ? String(text.prefix(1)) : ""
        let digits = String(text.dropFirst(sign.count))
        return sign + (try digits.padded(to: width - sign.count, with: "0", left: true))
      }
      let bound = try arguments.bound(to: ["width", "fillchar"], required: 1, in: rawValue)
      return try text.padded(
        to: try bound.int(0), with: try bound.optionalString(1) ?? " ", left: self != .ljust,
        right: self != .rjust)
    }

    private func holds(_ text: String) -> Bool {
      let scalars = text.unicodeScalars
      func all(_ test: (Unicode.Scalar) -> Bool) -> Bool { !scalars.isEmpty && scalars.allSatisfy(test) }
      switch self {
      case .isalpha: return all(\.isPythonLetter)
      case .isdecimal: return all { $0.properties.numericType == .decimal }
      case .isdigit: return all { [.decimal, .digit].contains($0.properties.numericType) }
      case .isnumeric: return all { $0.properties.numericType != nil }
      case .isalnum: return all { $0.isPythonLetter || $0.properties.numericType != nil }
      case .isspace: return all(\.isPythonSpace)
      case .isupper:
        return scalars.contains(where: \.properties.isUppercase)
          && !scalars.contains { $0.properties.isLowercase }
      case .islower:
        return scalars.contains(where: \.properties.isLowercase)
          && !scalars.contains { $0.properties.isUppercase }
      default: return scalars.allSatisfy(\.isASCII)
      }
    }
  }
}

extension String {
  fileprivate func lastRange(ofUTF8 part: String) -> Range<Index>? {
    var found: Range<Index>?
    var at = startIndex
    while let range = range(ofUTF8: part, in: at..<endIndex) {
      found = range
      guard range.lowerBound < endIndex else { break }
      at = unicodeScalars.index(after: range.lowerBound)
    }
    return found
  }
}

extension Unicode.Scalar {
  var isPythonLetter: Bool {
    switch properties.generalCategory {
    case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter: true
    default: false
    }
  }
}
