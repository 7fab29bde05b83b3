import Basics

/// What is to be continued, and how.
public struct GenerationRequest: Sendable {
  public var prompt: [Int32]
  public var options: GenerationOptions
  /// Name of a loaded adapter; nil for the model as it is.
  public var adapter: String?
  /// What the answer may look like.
  public var constraint: OutputConstraint?
  /// With each token come so many of the most probable ones.
  public var topLogProbabilities: Int

  public init(
    _ prompt: [Int32], _ options: GenerationOptions = GenerationOptions(), adapter: String? = nil,
    constraint: OutputConstraint? = nil, topLogProbabilities: Int = 0
  ) {
    self.prompt = prompt
    self.options = options
    self.adapter = adapter
    self.constraint = constraint
    self.topLogProbabilities = topLogProbabilities
  }
}

/// How much a generator may take on.
public struct GeneratorSettings: Sendable {
  /// Most tokens of a prompt and its answer; at most the model's own context, which it is when nil.
  public var contextLength: Int?
  /// Requests that are answered at once; others wait.
  public var maxSequences: Int
  /// How many tokens of a prompt go through the model at once, and of prompts between two tokens of every answer: more take
  /// more memory, and let others wait longer.
  public var prefillRows: Int
  /// Memory for keys and values at most; nil for most of what is free.
  public var cacheBytes: Int?
  /// Tokens of a page of keys and values.
  public var pageSize: Int
  /// Whether starts of earlier sequences are remembered.
  public var reusesPrefixes: Bool

  public init(
    contextLength: Int? = nil, maxSequences: Int = 64, prefillRows: Int = 1024, cacheBytes: Int? = nil,
    pageSize: Int = 16, reusesPrefixes: Bool = true
  ) {
    self.contextLength = contextLength
    self.maxSequences = maxSequences
    self.prefillRows = prefillRows
    self.cacheBytes = cacheBytes
    self.pageSize = pageSize
    self.reusesPrefixes = reusesPrefixes
  }

  func check() throws(SwiftletError) {
    func check(_ value: Int, _ name: String) throws(SwiftletError) {
      guard value < 1 else { return }
      throw SwiftletError(.invalidConfiguration, "\(name) is \(value); it must be at least 1")
    }
    try check(contextLength ?? 1, "the context length")
    try check(maxSequences, "the number of sequences")
    try check(prefillRows, "the number of prefill rows")
    try check(pageSize, "the page size")
  }
}
