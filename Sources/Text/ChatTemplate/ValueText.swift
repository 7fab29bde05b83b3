extension Jinja.Value {
  /// Python's `str()`: what `{{ }}` prints. Undefined prints nothing.
  func text() throws(Failure) -> String {
    switch self {
    case .undefined: return ""
    case .string(let value): return value
    default:
      return try representation()
    }
  }

  /// Python's `repr()`.
  func representation() throws(Failure) -> String {
    var out = ""
    var walk = Jinja.Walk()
    try writeRepresentation(to: &out, &walk)
    return out
  }

  private func writeRepresentation(to out: inout String, _ walk: inout Jinja.Walk) throws(Failure) {
    try walk.enter(written: out)
    defer { walk.leave() }
    switch self {
    case .undefined: out += "Undefined"
    case .null: out += "None"
    case .bool(let value): out += value ? "True" : "False"
    case .int(let value): out += String(value)
    case .double(let value): out += Self.pythonText(value)
    case .string(let value): Self.writeQuoted(value, to: &out)
    case .list(let list):
      out += "["
      try Self.writeItems(list.items, to: &out, &walk)
      out += "]"
    case .tuple(let list):
      out += "("
      try Self.writeItems(list.items, to: &out, &walk)
      out += list.items.count == 1 ? ",)" : ")"
    case .dict(let dict):
      out += "{"
      for (index, entry) in dict.entries.enumerated() {
        if index > 0 { out += ", " }
        try entry.key.writeRepresentation(to: &out, &walk)
        out += ": "
        try entry.value.writeRepresentation(to: &out, &walk)
      }
      out += "}"
    case .namespace: out += "<Namespace>"
    case .loop(let loop): out += "<LoopContext \(loop.index0 + 1)/\(loop.items.count)>"
    case .function(let function): out += "<function \(function.name)>"
    }
  }

  private static func writeItems(
    _ items: [Value], to out: inout String, _ walk: inout Jinja.Walk
  ) throws(Failure) {
    for (index, item) in items.enumerated() {
      if index > 0 { out += ", " }
      try item.writeRepresentation(to: &out, &walk)
    }
  }

  /// The shortest digits that give the number back, as Python lays them out: an exponent below 1e-4 and from
  /// 1e16 on.
  static func pythonText(_ value: Double) -> String {
    if value.isNaN { return "nan" }
    if value.isInfinite { return value < 0 ? "-inf" : "inf" }
    // Swift finds the same digits but sets the exponent at other bounds.
    let parts = value.magnitude.description.split(separator: "e")
    let mantissa = parts[0].split(separator: ".")
    let whole = mantissa[0] == "0" ? "" : String(mantissa[0])
    let digits = whole + (mantissa.count > 1 ? String(mantissa[1]) : "")
    let significant = digits.drop { $0 == "0" }
    var shown = String(significant)
    while shown.last == "0" { shown.removeLast() }
    let sign = value.sign == .minus ? "-" : ""
    if shown.isEmpty { return sign + "0.0" }
    let exponent =
      (parts.count > 1 ? Int(parts[1]) ?? 0 : 0) + whole.count - (digits.count - significant.count)
    // value = 0.shown * 10^exponent
    return sign + layOut(shown, exponent)
  }

  private static func layOut(_ digits: String, _ exponent: Int) -> String {
    if exponent > 16 || exponent < -3 {
      let power = exponent - 1
      let fraction = digits.count > 1 ? "." + digits.dropFirst() : ""
      let padded = power.magnitude < 10 ? "0\(power.magnitude)" : "\(power.magnitude)"
      return digits.prefix(1) + fraction + "e" + (power < 0 ? "-" : "+") + padded
    }
    if exponent <= 0 { return "0." + String(repeating: "0", count: -exponent) + digits }
    if digits.count <= exponent {
      return digits + String(repeating: "0", count: exponent - digits.count) + ".0"
    }
    return digits.prefix(exponent) + "." + digits.dropFirst(exponent)
  }

  /// A string in quotes: single ones unless it holds single and no double ones.
  private static func writeQuoted(_ text: String, to out: inout String) {
    let scalars = text.unicodeScalars
    let quote: Unicode.Scalar = scalars.contains("'") && !scalars.contains("\"") ? "\"" : "'"
    out.unicodeScalars.append(quote)
    for scalar in scalars {
      switch scalar {
      case "\\": out += "\\\\"
      case "\n": out += "\\n"
      case "\r": out += "\\r"
      case "\t": out += "\\t"
      case quote:
        out += "\\"
        out.unicodeScalars.append(scalar)
      case _ where scalar.isPythonPrintable: out.unicodeScalars.append(scalar)
      default:
        let (letter, width) = scalar.value < 0x100 ? ("x", 2) : scalar.value < 0x10000 ? ("u", 4) : ("U", 8)
        out += "\\" + letter + hexadecimal(scalar.value, width)
      }
    }
    out.unicodeScalars.append(quote)
  }

  static func hexadecimal(_ value: UInt32, _ width: Int) -> String {
    let digits = String(value, radix: 16)
    return String(repeating: "0", count: max(0, width - digits.count)) + digits
  }
}

extension Unicode.Scalar {
  /// Whether Python's `repr` shows the character itself.
  var isPythonPrintable: Bool {
    if value < 127 { return value >= 32 }
    switch properties.generalCategory {
    case .control, .format, .surrogate, .privateUse, .unassigned, .lineSeparator, .paragraphSeparator,
      .spaceSeparator:
      return false
    default: return true
    }
  }
}
