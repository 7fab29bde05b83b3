import Swiftlet

/// The tokens of all answers that one HTTP request asked for, as they come.
///
/// Letting go of it, or of the task that iterates it, ends the work, and so does `stop`.
struct AnswerStream: AsyncSequence, Sendable {
  struct Element: Sendable {
    /// Which of the answers the token belongs to.
    let answer: Int
    let token: GeneratedToken
  }

  private let stream: AsyncThrowingStream<Element, any Error>
  private let continuation: AsyncThrowingStream<Element, any Error>.Continuation

  /// - Parameters:
  ///   - limit: how long the answers may take together.
  ///   - metrics: learns when tokens come.
  ///   - onEnd: called once, when the last answer ended or the work was stopped.
  init(
    _ answers: [AsyncThrowingStream<GeneratedToken, any Error>], limit: Duration,
    metrics: ServerMetrics, onEnd: @escaping @Sendable () -> Void
  ) {
    // Bounded by the answers' lengths: the engine does not wait for slow readers.
    let (stream, continuation) = AsyncThrowingStream.makeStream(of: Element.self)
    (self.stream, self.continuation) = (stream, continuation)
    let work = Task {
      defer { onEnd() }
      do {
        try await Self.run(answers, limit: limit, metrics: metrics, into: continuation)
        continuation.finish()
      } catch {
        continuation.finish(throwing: error)
      }
    }
    continuation.onTermination = { _ in work.cancel() }
  }

  private static func run(
    _ answers: [AsyncThrowingStream<GeneratedToken, any Error>], limit: Duration,
    metrics: ServerMetrics, into continuation: AsyncThrowingStream<Element, any Error>.Continuation
  ) async throws {
    try await withThrowingTaskGroup { group in
      for (index, answer) in answers.enumerated() {
        group.addTask {
          var clock = metrics.tokenClock()
          for try await token in answer {
            clock.tick()
            continuation.yield(Element(answer: index, token: token))
          }
          // An answer of a cancelled task ends early, without an error.
          try Task.checkCancellation()
        }
      }
      group.addTask {
        try await Task.sleep(for: limit)
        throw APIError.timedOut
      }
      for _ in answers { try await group.next() }
      group.cancelAll()
    }
  }

  func makeAsyncIterator() -> AsyncThrowingStream<Element, any Error>.Iterator { stream.makeAsyncIterator() }

  /// Ends the work; whoever iterates gets `error`.
  func stop(_ error: APIError) { continuation.finish(throwing: error) }
}
