import Foundation

extension Jinja {
  /// How a number or a text is laid out: what `%-8.2f` and `{:>8.2f}` say.
  struct FormatSpec {
    var fill = " "
    /// `<`, `>`, `^` or `=` (padding after the sign); nil is right for numbers and left for texts.
    var alignment: Character?
    var sign: Character?
    var grouped = false
    var alternative = false
    var width = 0
    var precision: Int?
    /// The presentation; nil is `str()`.
    var type: Character?

    func format(_ value: Value) throws(Failure) -> String {
      try Limits.check(text: Swift.max(width, precision ?? 0), times: 4)
      let isCharacter = type == "c" && value.asString?.unicodeScalars.count == 1
      let isNumber = value.asDouble != nil && type != "s" && type != "r"
      if case .bool = value, type == nil { return try padded(try value.text(), isNumber: false) }
      guard isNumber else {
        if let type, !["s", "r", "a"].contains(type), !isCharacter {
          throw Failure("the format '\(type)' needs a number, not \(value.typeName)")
        }
        var text = type == "r" ? try value.representation() : try value.text()
        if let precision { text = string(text.unicodeScalars.prefix(precision)) }
        return try padded(text, isNumber: false)
      }
      return try padded(try number(value), isNumber: true)
    }

    private func number(_ value: Value) throws(Failure) -> String {
      let negative = (value.asDouble ?? 0) < 0
      var digits: String
      switch type ?? (value.asInt == nil ? "r" : "d") {
      case "d", "i", "u", "n":
        guard let double = value.asDouble else { throw Failure("a number is needed") }
        guard let int = value.asInt ?? Int(exactly: double.rounded(.towardZero)) else {
          throw Failure("an integer of more than 64 bits")
        }
        digits = String(int.magnitude)
      case "x", "X", "o", "b", "c":
        guard let int = value.asInt else { throw Failure("an integer is needed, not \(value.typeName)") }
        if type == "c" {
          guard let scalar = Unicode.Scalar(UInt32(clamping: int)) else {
            throw Failure("\(int) is no character")
          }
          return String(scalar)
        }
        let (radix, prefix) = type == "o" ? (8, "0o") : type == "b" ? (2, "0b") : (16, "0x")
        digits = (alternative ? prefix : "") + String(int.magnitude, radix: radix)
        if type == "X" { digits = digits.uppercased() }
      default: digits = real(value.asDouble ?? 0)
      }
      if grouped { digits = Self.grouping(digits) }
      let positive = sign == "+" || sign == " " ? String(sign ?? " ") : ""
      return (negative ? "-" : positive) + digits
    }

    private func real(_ number: Double) -> String {
      guard number.isFinite else { return number.isNaN ? "nan" : "inf" }
      let magnitude = number.magnitude
      switch type {
      case "%": return String(format: "%.\(precision ?? 6)f", magnitude * 100) + "%"
      case let type? where "fFeEgG".contains(type):
        return String(format: "%.\(precision ?? 6)\(type)", magnitude)
      default:
        guard let precision else { return Value.pythonText(magnitude) }
        return String(format: "%.\(precision)g", magnitude)
      }
    }

    /// A comma between every three digits before the point.
    private static func grouping(_ digits: String) -> String {
      let whole = digits.prefix { $0.isNumber }
      var out = ""
      for (index, digit) in whole.enumerated() {
        if index > 0, (whole.count - index) % 3 == 0 { out += "," }
        out.append(digit)
      }
      return out + digits.dropFirst(whole.count)
    }

    private func padded(_ text: String, isNumber: Bool) throws(Failure) -> String {
      switch alignment ?? (isNumber ? ">" : "<") {
      case "<": return try text.padded(to: width, with: fill, right: true)
      case "^":
        // Unlike str.center, the odd blank always goes to the right.
        let half = (width - text.unicodeScalars.count) / 2
        let left = try text.padded(to: text.unicodeScalars.count + Swift.max(0, half), with: fill, left: true)
        return try left.padded(to: width, with: fill, right: true)
      case "=":
        let sign = text.prefix { "+- ".contains($0) }
        let digits = String(text.dropFirst(sign.count))
        return sign + (try digits.padded(to: width - sign.count, with: fill, left: true))
      default: return try text.padded(to: width, with: fill, left: true)
      }
    }
  }

  /// `"%s has %d" % values`
  enum PercentFormat {
    static func format(_ template: String, _ values: Value) throws(Failure) -> String {
      var rest: [Value]
      var isMapping = false
      switch values {
      case .tuple(let list): rest = list.items
      case .dict:
        rest = [values]
        isMapping = true
      default: rest = [values]
      }
      var scanner = Scanner(template)
      var out = ""
      var used = false
      while let scalar = scanner.next() {
        guard scalar == "%" else {
          out.unicodeScalars.append(scalar)
          continue
        }
        if scanner.take("%") {
          out += "%"
          continue
        }
        var value: Value?
        if scanner.take("(") {
          value = try values.item(.string(scanner.until(")")))
        }
        let spec = try spec(&scanner)
        if value == nil, !rest.isEmpty, !used || !isMapping { value = rest.removeFirst() }
        used = true
        guard let value else { throw Failure("not enough arguments for format string") }
        out += try spec.format(value)
        try Limits.check(text: out.utf8.count)
      }
      if !rest.isEmpty, !isMapping { throw Failure("not all arguments converted during string formatting") }
      return out
    }

    private static func spec(_ scanner: inout Scanner) throws(Failure) -> FormatSpec {
      var spec = FormatSpec()
      spec.alignment = ">"
      flags: while true {
        switch scanner.peek {
        case "-": spec.alignment = "<"
        case "0":
          spec.fill = "0"
          if spec.alignment != "<" { spec.alignment = "=" }
        case "+", " ": spec.sign = scanner.peek == "+" ? "+" : " "
        case "#": spec.alternative = true
        default: break flags
        }
        _ = scanner.next()
      }
      if spec.alignment == "<" { spec.fill = " " }
      spec.width = try scanner.number() ?? 0
      if scanner.take(".") { spec.precision = try scanner.number() ?? 0 }
      guard let type = scanner.next(), "sradiufFeEgGxXoc".unicodeScalars.contains(type) else {
        throw Failure("incomplete or unknown format")
      }
      spec.type = Character(type)
      return spec
    }
  }

  /// `"{} has {count:>3}".format(...)`
  enum BraceFormat {
    static func format(_ template: String, _ arguments: CallArguments) throws(Failure) -> String {
      var scanner = Scanner(template)
      var out = ""
      var next = 0
      while let scalar = scanner.next() {
        if scalar == "{", !scanner.take("{") {
          let field = scanner.until("}")
          let parts = field.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
          let value = try lookUp(String(parts[0]), arguments, &next)
          out += try spec(parts.count > 1 ? String(parts[1]) : "").format(value)
          try Limits.check(text: out.utf8.count)
        } else if scalar == "}", !scanner.take("}") {
          throw Failure("single '}' in a format string")
        } else {
          out.unicodeScalars.append(scalar)
        }
      }
      return out
    }

    /// The value of a field such as ``, `0`, `name`, `name.attribute` or `0[key]`, perhaps with `!r`.
    private static func lookUp(
      _ field: String, _ arguments: CallArguments, _ next: inout Int
    ) throws(Failure) -> Value {
      let parts = field.split(separator: "!", maxSplits: 1, omittingEmptySubsequences: false)
      var scanner = Scanner(parts.first.map { String($0) } ?? "")
      let head = scanner.while { $0 != "." && $0 != "[" }
      var value: Value
      if head.isEmpty || Int(head) != nil {
        let place = Int(head) ?? next
        next += 1
        guard arguments.positional.indices.contains(place) else {
          throw Failure("format() has no argument \(place)")
        }
        value = arguments.positional[place]
      } else if let named = arguments.named.first(where: { $0.name == head }) {
        value = named.value
      } else {
        throw Failure("format() has no argument '\(head)'")
      }
      while let scalar = scanner.next() {
        if scalar == "[" {
          let key = scanner.until("]")
          value = try value.item(Int(key).map { .int($0) } ?? .string(key))
        } else {
          value = try value.attribute(scanner.while { $0 != "." && $0 != "[" })
        }
      }
      return parts.count > 1 && parts[1] == "r" ? .string(try value.representation()) : value
    }

    private static func spec(_ text: String) throws(Failure) -> FormatSpec {
      var spec = FormatSpec()
      var scanner = Scanner(text)
      let alignments = "<>^=".unicodeScalars
      if let second = scanner.peek(1), alignments.contains(second), let fill = scanner.next() {
        spec.fill = String(fill)
      }
      if let first = scanner.peek, alignments.contains(first) {
        spec.alignment = Character(first)
        _ = scanner.next()
      }
      for sign in ["+", "-", " "] as [Unicode.Scalar] where scanner.take(sign) { spec.sign = Character(sign) }
      spec.alternative = scanner.take("#")
      if scanner.take("0"), spec.alignment == nil {
        spec.fill = "0"
        spec.alignment = "="
      }
      spec.width = try scanner.number() ?? 0
      spec.grouped = scanner.take(",")
      if scanner.take(".") { spec.precision = try scanner.number() ?? 0 }
      spec.type = scanner.next().map { Character($0) }
      if scanner.next() != nil { throw Failure("invalid format specifier '\(text)'") }
      return spec
    }
  }

  /// Reads a format string.
  private struct Scanner {
    private let scalars: [Unicode.Scalar]
    private var at = 0

    init(_ text: String) { scalars = Array(text.unicodeScalars) }

    var peek: Unicode.Scalar? { peek(0) }

    func peek(_ offset: Int) -> Unicode.Scalar? { at + offset < scalars.count ? scalars[at + offset] : nil }

    mutating func next() -> Unicode.Scalar? {
      defer { at += 1 }
      return peek
    }

    mutating func take(_ scalar: Unicode.Scalar) -> Bool {
      if peek == scalar { at += 1 } else { return false }
      return true
    }

    mutating func `while`(_ test: (Unicode.Scalar) -> Bool) -> String {
      let start = min(at, scalars.count)
      while let scalar = peek, test(scalar) { at += 1 }
      return string(scalars[start..<max(start, min(at, scalars.count))])
    }

    /// What stands before `end`, which is skipped.
    mutating func until(_ end: Unicode.Scalar) -> String {
      defer { at += 1 }
      return self.while { $0 != end }
    }

    mutating func number() throws(Failure) -> Int? {
      let digits = self.while { ("0"..."9").contains($0) }
      guard !digits.isEmpty else { return nil }
      guard let number = Int(digits), number <= Limits.text else { throw Failure("a format too wide") }
      return number
    }
  }
}
