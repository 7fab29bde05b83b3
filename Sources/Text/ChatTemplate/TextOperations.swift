/// What Python's string methods need and Swift's strings, which compare by appearance, do not offer:
/// everything here works on UTF-8 bytes or Unicode scalars.
extension String {
  func range(ofUTF8 part: String, in bounds: Range<Index>? = nil) -> Range<Index>? {
    let bounds = bounds ?? startIndex..<endIndex
    guard let first = part.utf8.first else { return bounds.lowerBound..<bounds.lowerBound }
    var at = bounds.lowerBound
    while let found = utf8[at..<bounds.upperBound].firstIndex(of: first) {
      if utf8[found..<bounds.upperBound].starts(with: part.utf8) {
        return found..<utf8.index(found, offsetBy: part.utf8.count)
      }
      at = utf8.index(after: found)
    }
    return nil
  }

  /// Every place where `part` stands, from left to right, without overlaps.
  func ranges(ofUTF8 part: String, limit: Int = .max) -> [Range<Index>] {
    var found: [Range<Index>] = []
    var at = startIndex
    while found.count < limit, let range = range(ofUTF8: part, in: at..<endIndex) {
      found.append(range)
      if range.upperBound == endIndex, range.isEmpty { break }
      at = range.isEmpty ? unicodeScalars.index(after: range.lowerBound) : range.upperBound
    }
    return found
  }

  func hasUTF8Prefix(_ prefix: String) -> Bool { utf8.starts(with: prefix.utf8) }

  func hasUTF8Suffix(_ suffix: String) -> Bool {
    utf8.count >= suffix.utf8.count && utf8.suffix(suffix.utf8.count).elementsEqual(suffix.utf8)
  }

  func replacing(utf8 old: String, with new: String, limit: Int) throws(Jinja.Failure) -> String {
    let places = ranges(ofUTF8: old, limit: limit)
    try Jinja.Limits.check(text: max(1, new.utf8.count), times: places.count)
    var out = ""
    var at = startIndex
    for place in places {
      out += self[at..<place.lowerBound]
      out += new
      at = place.upperBound
    }
    return out + self[at...]
  }

  /// Without the scalars of `set` (nil: white space) at the sides asked for.
  func stripped(_ set: String? = nil, left: Bool = true, right: Bool = true) -> String {
    let drops: (Unicode.Scalar) -> Bool =
      if let set { { set.unicodeScalars.contains($0) } } else { { $0.isPythonSpace } }
    var rest = unicodeScalars[...]
    if left { rest = rest.drop(while: drops) }
    if right { while let last = rest.last, drops(last) { rest.removeLast() } }
    return String(Substring(rest))
  }

  /// The words between white space; after `limit` splits the rest stays whole.
  func words(limit: Int, fromRight: Bool = false) -> [String] {
    var words: [String] = []
    var rest = unicodeScalars[...]
    while true {
      rest = fromRight ? rest.dropTrailing { $0.isPythonSpace } : rest.drop { $0.isPythonSpace }
      if rest.isEmpty { break }
      if words.count == limit {
        words.append(String(Substring(rest)))
        break
      }
      if fromRight {
        let start = rest.lastIndex { $0.isPythonSpace }.map { rest.index(after: $0) } ?? rest.startIndex
        words.append(String(Substring(rest[start...])))
        rest = rest[..<start]
      } else {
        let end = rest.firstIndex { $0.isPythonSpace } ?? rest.endIndex
        words.append(String(Substring(rest[..<end])))
        rest = rest[end...]
      }
    }
    return fromRight ? words.reversed() : words
  }

  /// Python's `splitlines`.
  func pythonLines(keepingEnds: Bool = false) -> [String] {
    var lines: [String] = []
    var line = String.UnicodeScalarView()
    var previous: Unicode.Scalar?
    func isLineEnd(_ scalar: Unicode.Scalar) -> Bool {
      switch scalar.value {
      case 0x0A...0x0D, 0x1C...0x1E, 0x85, 0x2028, 0x2029: true
      default: false
      }
    }
    for scalar in unicodeScalars {
      if previous == "\r", scalar == "\n" {
        if keepingEnds { lines[lines.count - 1].unicodeScalars.append(scalar) }
      } else if isLineEnd(scalar) {
        if keepingEnds { line.append(scalar) }
        lines.append(String(line))
        line = String.UnicodeScalarView()
      } else {
        line.append(scalar)
      }
      previous = scalar
    }
    if !line.isEmpty { lines.append(String(line)) }
    return lines
  }

  /// Pads to `width` scalars.
  func padded(
    to width: Int, with fill: String = " ", left: Bool = false, right: Bool = false
  ) throws(Jinja.Failure) -> String {
    let missing = width - unicodeScalars.count
    if missing <= 0 { return self }
    guard fill.unicodeScalars.count == 1 else {
      throw Jinja.Failure("the fill character must be exactly one character long")
    }
    try Jinja.Limits.check(text: missing, times: 4)
    // Python puts the odd blank of a centred text to the left when the width is odd.
    let before = left && right ? missing / 2 + (missing & width & 1) : left ? missing : 0
    return String(repeating: fill, count: before) + self + String(repeating: fill, count: missing - before)
  }

  var pythonCapitalized: String {
    guard let first = unicodeScalars.first else { return "" }
    return first.properties.titlecaseMapping + String(unicodeScalars.dropFirst()).lowercased()
  }

  /// Python's `str.title`: a letter after something that is no letter is upper case.
  var pythonTitled: String {
    var out = ""
    var inWord = false
    for scalar in unicodeScalars {
      let properties = scalar.properties
      out += inWord ? properties.lowercaseMapping : properties.titlecaseMapping
      inWord = properties.isCased
    }
    return out
  }
}

extension Substring.UnicodeScalarView {
  func dropTrailing(while drops: (Unicode.Scalar) -> Bool) -> Substring.UnicodeScalarView {
    var rest = self
    while let last = rest.last, drops(last) { rest.removeLast() }
    return rest
  }
}
