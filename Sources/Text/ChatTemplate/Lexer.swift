extension Jinja {
  struct Token: Sendable {
    enum Kind: Sendable, Equatable {
      case text(String)
      case openOutput, closeOutput
      case openBlock, closeBlock
      case name(String)
      case string(String)
      case int(Int)
      case double(Double)
      case symbol(String)
      case end
    }

    let kind: Kind
    let span: Span
  }

  /// Cuts a template into tokens and applies whitespace control: `-` strips to the next text, `+` keeps, and
  /// otherwise a block or comment loses the blanks before it on its line (`lstrip_blocks`) and the line end
  /// after it (`trim_blocks`).
  struct Lexer {
    let source: [Unicode.Scalar]
    private(set) var at = 0
    private var line = 1
    private var tokens: [Token] = []
    /// Whether the text that follows begins a line.
    private var startsLine = true

    /// Longest first, so that `**` is not read as two `*`.
    private static let symbols: [[Unicode.Scalar]] = [
      "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">",
      "<", "=", ".", ":", "|", ",", ";",
    ].map { Array($0.unicodeScalars) }

    init(_ text: String) {
      var scalars: [Unicode.Scalar] = []
      scalars.reserveCapacity(text.utf8.count)
      var previous: Unicode.Scalar = " "
      for scalar in text.unicodeScalars {
        if scalar == "\n", previous == "\r" {
          previous = scalar
          continue
        }
        scalars.append(scalar == "\r" ? "\n" : scalar)
        previous = scalar
      }
      // One line end at the end of the file belongs to the file, not to the text.
      if scalars.last == "\n" { scalars.removeLast() }
      source = scalars
    }

    mutating func tokenize() throws(Failure) -> [Token] {
      while at < source.count { try readText() }
      tokens.append(Token(kind: .end, span: Span(start: at, end: at, line: line)))
      return tokens
    }

    // MARK: Text

    private mutating func readText() throws(Failure) {
      let start = at
      var tag = at
      while tag < source.count, !isTag(tag) { tag += 1 }
      guard tag < source.count else {
        emit(.text(Jinja.string(source[start...])), from: start, to: tag)
        return
      }
      let isOutput = source[tag + 1] == "{"
      emitText(start, tag, strip: sign(after: tag), isOutput: isOutput)
      if source[tag + 1] == "#" { return try skipComment(tag) }
      if let inside = rawBegin(tag) { return try readRaw(tag, inside) }
      let signed = sign(after: tag) != nil
      emit(isOutput ? .openOutput : .openBlock, from: tag, to: tag + (signed ? 3 : 2))
      try readTag(opened: tag, isOutput: isOutput)
    }

    private func isTag(_ index: Int) -> Bool {
      source[index] == "{" && index + 1 < source.count && ["%", "{", "#"].contains(source[index + 1])
    }

    private func sign(after tag: Int) -> Unicode.Scalar? {
      guard tag + 2 < source.count else { return nil }
      return ["-", "+"].contains(source[tag + 2]) ? source[tag + 2] : nil
    }

    /// The text before a tag, without what the tag's sign or `lstrip_blocks` takes from its end.
    private mutating func emitText(_ start: Int, _ tag: Int, strip: Unicode.Scalar?, isOutput: Bool) {
      var end = tag
      if strip == "-" {
        while end > start, source[end - 1].isPythonSpace { end -= 1 }
      } else if strip == nil, !isOutput {
        var first = tag
        while first > start, source[first - 1].isPythonSpace, source[first - 1] != "\n" { first -= 1 }
        let beginsLine = first == start ? startsLine : source[first - 1] == "\n"
        if beginsLine { end = first }
      }
      if end > start { emit(.text(Jinja.string(source[start..<end])), from: start, to: end) }
      advance(to: tag)
    }

    /// Ends a block or a comment whose `%}` or `#}` stands at `index`, perhaps behind a sign.
    private mutating func close(_ index: Int, width: Int, sign: Unicode.Scalar?, trims: Bool = true) {
      var end = index + width
      if sign == "-" {
        while end < source.count, source[end].isPythonSpace { end += 1 }
      } else if sign == nil, trims, end < source.count, source[end] == "\n" {
        end += 1
      }
      startsLine = source[end - 1] == "\n"
      advance(to: end)
    }

    private mutating func skipComment(_ tag: Int) throws(Failure) {
      let start = tag + (sign(after: tag) == nil ? 2 : 3)
      var index = start
      while index + 1 < source.count {
        if source[index] == "#", source[index + 1] == "}" {
          let before = index > start ? source[index - 1] : " "
          close(index, width: 2, sign: ["-", "+"].contains(before) ? before : nil)
          return
        }
        index += 1
      }
      throw Failure("the comment is not closed by '#}'", at: Span(start: tag, end: source.count, line: line))
    }

    // MARK: {% raw %}

    /// Where the text of a raw block begins, when one is opened at `tag`.
    private func rawBegin(_ tag: Int) -> Int? {
      guard let (end, sign) = tagNamed("raw", tag), sign != "+" else { return nil }
      guard sign == "-" else { return end }
      return source[end...].firstIndex { !$0.isPythonSpace } ?? source.count
    }

    /// The end of the tag `{% name %}` at `tag` and the sign before its `%}`; nil when another tag is there.
    private func tagNamed(_ name: String, _ tag: Int) -> (end: Int, sign: Unicode.Scalar?)? {
      guard tag + 1 < source.count, source[tag] == "{", source[tag + 1] == "%" else { return nil }
      var index = tag + (sign(after: tag) == nil ? 2 : 3)
      while index < source.count, source[index].isPythonSpace { index += 1 }
      let word = Array(name.unicodeScalars)
      guard source[index...].starts(with: word) else { return nil }
      index += word.count
      while index < source.count, source[index].isPythonSpace { index += 1 }
      var sign: Unicode.Scalar?
      if index < source.count, ["-", "+"].contains(source[index]) {
        sign = source[index]
        index += 1
      }
      guard source[index...].starts(with: ["%", "}"]) else { return nil }
      return (index + 2, sign)
    }

    private mutating func readRaw(_ tag: Int, _ inside: Int) throws(Failure) {
      startsLine = source[inside - 1] == "\n"
      advance(to: inside)
      var index = inside
      while index < source.count {
        if let (end, endSign) = tagNamed("endraw", index) {
          emitText(inside, index, strip: sign(after: index), isOutput: false)
          close(end - 2, width: 2, sign: endSign)
          return
        }
        index += 1
      }
      throw Failure(
        "the raw block is not closed by '{% endraw %}'", at: Span(start: tag, end: inside, line: line))
    }

    // MARK: Inside a tag

    private mutating func readTag(opened tag: Int, isOutput: Bool) throws(Failure) {
      let opened = Span(start: tag, end: source.count, line: line)
      let closing: [Unicode.Scalar] = isOutput ? ["}", "}"] : ["%", "}"]
      var open: [Unicode.Scalar] = []
      while at < source.count {
        if source[at].isPythonSpace {
          advance(to: at + 1)
        } else if open.isEmpty, let (index, sign) = closingTag(closing, isOutput) {
          emit(isOutput ? .closeOutput : .closeBlock, from: at, to: index + 2, advancing: false)
          close(index, width: 2, sign: sign, trims: !isOutput)
          return
        } else {
          try readToken(&open)
        }
      }
      throw Failure("the tag is not closed by '\(Jinja.string(closing))'", at: opened)
    }

    private func closingTag(
      _ closing: [Unicode.Scalar], _ isOutput: Bool
    ) -> (index: Int, sign: Unicode.Scalar?)? {
      if source[at...].starts(with: closing) { return (at, nil) }
      let isSign = source[at] == "-" || (source[at] == "+" && !isOutput)
      return isSign && source[(at + 1)...].starts(with: closing) ? (at + 1, source[at]) : nil
    }

    private mutating func readToken(_ open: inout [Unicode.Scalar]) throws(Failure) {
      let start = at
      switch source[at] {
      case "0"..."9": try readNumber()
      case "'", "\"": try readString()
      case let scalar where scalar.isPythonWord:
        let end = source[start...].firstIndex { !$0.isPythonWord } ?? source.count
        emit(.name(Jinja.string(source[start..<end])), from: start, to: end)
      default:
        guard let symbol = Self.symbols.first(where: { source[start...].starts(with: $0) }) else {
          throw failure("unexpected character '\(source[at])'", start)
        }
        try balance(symbol, &open)
        emit(.symbol(Jinja.string(symbol)), from: start, to: start + symbol.count)
      }
    }

    /// Inside brackets `}}` and `%}` do not close the tag: `{{ {'a': {}} }}`.
    private func balance(_ symbol: [Unicode.Scalar], _ open: inout [Unicode.Scalar]) throws(Failure) {
      let pairs: [Unicode.Scalar: Unicode.Scalar] = ["(": ")", "[": "]", "{": "}"]
      if let closing = pairs[symbol[0]] {
        open.append(closing)
      } else if pairs.values.contains(symbol[0]) {
        let expected = open.popLast()
        guard expected == symbol[0] else {
          let hint = expected.map { ", expected '\($0)'" } ?? ""
          throw failure("unexpected '\(symbol[0])'" + hint, at)
        }
      }
    }

    private mutating func readString() throws(Failure) {
      let quote = source[at]
      var end = at + 1
      while end < source.count, source[end] != quote { end += source[end] == "\\" ? 2 : 1 }
      guard end < source.count else { throw failure("the string is not closed by \(quote)", at) }
      let value = try unescape(source[(at + 1)..<end])
      emit(.string(value), from: at, to: end + 1)
    }

    // MARK: Positions

    mutating func emit(_ kind: Token.Kind, from start: Int, to end: Int, advancing: Bool = true) {
      tokens.append(Token(kind: kind, span: Span(start: start, end: end, line: line)))
      if advancing { advance(to: end) }
    }

    private mutating func advance(to index: Int) {
      while at < index {
        if source[at] == "\n" { line += 1 }
        at += 1
      }
    }

    func failure(_ message: String, _ start: Int) -> Failure {
      let end = source[start...].firstIndex(of: "\n") ?? source.count
      return Failure(message, at: Span(start: start, end: end, line: line))
    }
  }
}

extension Unicode.Scalar {
  /// What Python's `str.isspace` and `\s` take for white space.
  var isPythonSpace: Bool {
    value < 128
      ? value == 32 || (9...13).contains(value) || (28...31).contains(value) : properties.isWhitespace
  }

  /// Python's `\w`.
  var isPythonWord: Bool {
    if self == "_" { return true }
    if value < 128 { return properties.isAlphabetic || ("0"..."9").contains(self) }
    return properties.isAlphabetic || properties.numericType != nil
  }
}
