import Basics

/// The Jinja interpreter behind `ChatTemplate`. Source of the language: the Jinja 3.1 template designer
/// documentation; of values and their methods: the Python language and library references.
enum Jinja {}

extension Jinja {
  /// Where an expression stands in the template: offsets in Unicode scalars, and the line (from 1).
  struct Span: Sendable {
    var start: Int
    var end: Int
    var line: Int
  }

  /// What went wrong, and where as soon as that is known: operations throw without a span, and the innermost
  /// expression or statement around them adds its own.
  struct Failure: Error {
    var code = SwiftletError.Code.template
    var message: String
    var span: Span?

    init(_ message: String, at span: Span? = nil, code: SwiftletError.Code = .template) {
      self.message = message
      self.span = span
      self.code = code
    }

    func located(at span: Span) -> Failure {
      self.span == nil ? Failure(message, at: span, code: code) : self
    }

    /// The error for the user: template, line, the expression's source (its first line, shortened), message.
    func error(in template: String, source: [Unicode.Scalar]) -> SwiftletError {
      guard let span else { return SwiftletError(code, "\(template): \(message)") }
      let text = source[span.start..<min(span.end, source.count)].prefix { $0 != "\n" }
      let cut = text.count > 80 || text.count < span.end - span.start
      let excerpt = Jinja.string(text.prefix(80)) + (cut ? "…" : "")
      let quoted = excerpt.isEmpty ? "" : " (`\(excerpt)`)"
      return SwiftletError(code, "\(template), line \(span.line)\(quoted): \(message)")
    }
  }

  static func string(_ scalars: some Sequence<Unicode.Scalar>) -> String {
    var text = String.UnicodeScalarView()
    text.append(contentsOf: scalars)
    return String(text)
  }
}
