import Swiftlet
import Synchronization

@testable import Server

/// An engine without a model: it answers each prompt with a text of its own, or with the prompt's tokens.
final class EchoEngine: ServingEngine {
  /// What it is to do.
  struct Script: Sendable {
    /// nil echoes the prompt.
    var reply: String?
    /// Before each token.
    var delay = Duration.zero
    /// Thrown instead of the token after so many.
    var failure: (after: Int, error: SwiftletError)?
  }

  private struct State {
    var script = Script()
    var adapters = ["poet"]
    var requests: [GenerationRequest] = []
    var isShutDown = false
  }

  let contextLength = 200
  let tokenizer: Tokenizer
  private let state = Mutex(State())
  let running = Atomic(0)

  init(_ tokenizer: Tokenizer) { self.tokenizer = tokenizer }

  func follow(_ script: Script) { state.withLock { $0.script = script } }
  var requests: [GenerationRequest] { state.withLock(\.requests) }
  var isShutDown: Bool { state.withLock(\.isShutDown) }

  func generate(_ request: GenerationRequest) throws(SwiftletError) -> Answer {
    let script = state.withLock {
      $0.requests.append(request)
      return $0.script
    }
    let tokens = script.reply.map { tokenizer.encode($0) } ?? request.prompt
    return Answer(request, tokens, script, tokenizer, Ticket(self))
  }

  var adapterNames: [String] { state.withLock(\.adapters) }

  func loadAdapter(_ folder: String, name: String) async throws(SwiftletError) {
    guard !folder.contains("missing") else { throw .unreadable(folder) }
    state.withLock { $0.adapters.append(name) }
  }

  func unloadAdapter(_ name: String) async throws(SwiftletError) {
    state.withLock { $0.adapters.removeAll { $0 == name } }
  }

  var statistics: EngineStatistics {
    var statistics = EngineStatistics()
    statistics.running = running.load(ordering: .relaxed)
    statistics.blocksUsed = statistics.running
    statistics.blocks = 64
    return statistics
  }

  func shutdown() async { state.withLock { $0.isShutDown = true } }

  /// Counts the answers that somebody still holds.
  private final class Ticket: Sendable {
    private let engine: EchoEngine
    init(_ engine: EchoEngine) {
      self.engine = engine
      engine.running.add(1, ordering: .relaxed)
    }
    deinit { engine.running.subtract(1, ordering: .relaxed) }
  }
}

extension EchoEngine {
  struct Answer: AsyncSequence, Sendable {
    private let request: GenerationRequest
    private let tokens: [Int32]
    private let script: Script
    private let tokenizer: Tokenizer
    private let ticket: AnyObject & Sendable

    init(
      _ request: GenerationRequest, _ tokens: [Int32], _ script: Script, _ tokenizer: Tokenizer,
      _ ticket: AnyObject & Sendable
    ) {
      self.request = request
      self.tokens = tokens
      self.script = script
      self.tokenizer = tokenizer
      self.ticket = ticket
    }

    func makeAsyncIterator() -> Iterator { Iterator(answer: self) }

    struct Iterator: AsyncIteratorProtocol {
      let answer: Answer
      var count = 0
      var isDone = false

      mutating func next() async throws(SwiftletError) -> GeneratedToken? {
        try await next(isolation: nil)
      }

      mutating func next(isolation actor: isolated (any Actor)?) async throws(SwiftletError) -> GeneratedToken? {
        guard !isDone, !Task.isCancelled else { return nil }
        let script = answer.script
        if script.delay > .zero { guard (try? await Task.sleep(for: script.delay)) != nil else { return nil } }
        if let failure = script.failure, failure.after == count { throw failure.error }
        defer { count += 1 }
        return answer.token(count, isDone: &isDone)
      }
    }

    private func token(_ index: Int, isDone: inout Bool) -> GeneratedToken {
      let end = request.options.stopTokens?.min() ?? 0
      var reason: FinishReason?
      if index == tokens.count { reason = .stopToken(end) } else if index + 1 == request.options.maxNewTokens {
        reason = .maxNewTokens
      }
      isDone = reason != nil
      let id = index == tokens.count ? end : tokens[index]
      var statistics = GenerationStatistics()
      statistics.promptTokens = request.prompt.count
      statistics.reusedTokens = 4
      return GeneratedToken(
        id: id, text: index == tokens.count ? "" : tokenizer.decode([id], skipSpecialTokens: true),
        logProbability: -0.5,
        alternatives: (0..<request.topLogProbabilities).map {
          TokenProbability(id: Int32(65 + $0), logProbability: -Float($0) - 1)
        },
        finishReason: reason, statistics: statistics)
    }
  }
}
