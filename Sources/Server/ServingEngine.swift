import Swiftlet

/// What the server asks of an engine: answers to many requests at once, token by token.
public protocol ServingEngine: Sendable {
  /// Begins an answer. Ending the iteration or its task, or letting go of the stream, cancels it.
  ///
  /// - Throws: at once, what is wrong with the request itself.
  func generate(
    _ request: GenerationRequest
  ) throws(SwiftletError) -> AsyncThrowingStream<GeneratedToken, any Error>

  var adapterNames: [String] { get }
  func loadAdapter(_ folder: String, name: String) async throws
  func unloadAdapter(_ name: String) async throws

  var statistics: EngineStatistics { get }
  /// Most tokens of a prompt.
  var contextLength: Int { get }
  /// Rows of the model's head.
  var vocabularySize: Int { get }

  /// Ends the answers that still run after `limit`.
  func shutdown(within limit: Duration) async
}

extension Engine: ServingEngine {}
