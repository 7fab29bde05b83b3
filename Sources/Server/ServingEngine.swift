import Swiftlet

/// What the server asks of an engine: answers to many requests at once, token by token.
public protocol ServingEngine: Sendable {
  /// One answer. Ending the iteration, cancelling its task or letting go of it cancels the request.
  associatedtype Answer: AsyncSequence & Sendable
  where Answer.Element == GeneratedToken, Answer.Failure == SwiftletError

  /// - Throws: at once what is wrong with the request itself.
  func generate(_ request: GenerationRequest) throws(SwiftletError) -> Answer

  var adapterNames: [String] { get }
  func loadAdapter(_ folder: String, name: String) async throws(SwiftletError)
  func unloadAdapter(_ name: String) async throws(SwiftletError)

  var statistics: EngineStatistics { get }
  /// Most tokens of a prompt.
  var contextLength: Int { get }
  func shutdown() async
}
