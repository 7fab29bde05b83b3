extension Jinja {
  /// What one rendering may use. Templates come with models from the network: none may hang the program or
  /// fill its memory.
  enum Limits {
    /// Statements run, expressions evaluated, list items made and kilobytes of text made.
    static let steps = 10_000_000
    /// Statements, expressions and macro calls inside one another.
    static let depth = 300
    /// Parts of one value that is compared or printed.
    static let parts = 1_000_000
    /// Bytes of one string.
    static let text = 1 << 26
    /// Items of one `range`, as in Jinja's sandbox.
    static let range = 100_000

    static func check(text bytes: Int) throws(Failure) {
      if bytes > text { throw Failure("a text of more than \(text >> 20) MB") }
    }

    /// Checks the text that `count` copies of `unit` bytes make.
    static func check(text unit: Int, times count: Int) throws(Failure) {
      let (bytes, overflow) = unit.multipliedReportingOverflow(by: max(0, count))
      try check(text: overflow ? .max : bytes)
    }
  }

  /// A walk through a value that may hold itself, or hold the same value so often that the walk does not end.
  struct Walk {
    private(set) var depth = 0
    private var visited = 0

    mutating func enter(written: String = "") throws(Failure) {
      depth += 1
      visited += 1
      if depth > 300 { throw Failure("a value nested deeper than 300 levels") }
      if visited > Limits.parts { throw Failure("a value of more than \(Limits.parts) parts") }
      try Limits.check(text: written.utf8.count)
    }

    mutating func leave() { depth -= 1 }
  }
}
