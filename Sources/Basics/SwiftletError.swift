/// An error at the boundary: a user's file, option, model or machine is not what it should be.
///
/// Every such error says what happened and, where it can, what to do next. Programming mistakes
/// trap instead (`precondition`).
public struct SwiftletError: Error, Sendable, Equatable, CustomStringConvertible {
  /// What kind of thing went wrong. Raw values are stable: they appear in `--json` output.
  public enum Code: String, Sendable, CaseIterable {
    /// An option or a configuration value is unknown or out of range.
    case invalidConfiguration = "invalid_configuration"
    /// A file is not there or cannot be read.
    case unreadable
    /// A file, folder or disk cannot be written.
    case unwritable
    /// A file's bytes contradict its format.
    case malformedFile = "malformed_file"
    /// A format, architecture, tensor type or device that this version does not know.
    case unsupported
    /// Nothing has the name that was given.
    case notFound = "not_found"
    /// Two things that must fit together do not: tokenizer and vocabulary, adapter and base.
    case mismatch
    /// A data-set row is not what its format says.
    case invalidData = "invalid_data"
    /// A chat template failed to parse or run.
    case template
    /// A device or a library that it needs is not there, or stopped working.
    case unavailable
    /// Not enough memory, or none of the kind that is needed.
    case outOfMemory = "out_of_memory"
    /// The user interrupted the run.
    case interrupted
  }

  public let code: Code
  /// What happened, naming the file, line, tensor or key.
  public let message: String
  /// What to do about it, if anything can be said.
  public let remedy: String?

  public init(_ code: Code, _ message: String, remedy: String? = nil) {
    self.code = code
    self.message = message
    self.remedy = remedy
  }

  public var description: String { remedy.map { "\(message)\n\($0)" } ?? message }
}
