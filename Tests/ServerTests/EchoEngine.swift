import Swiftlet
import Synchronization

@testable import Generation
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
  let vocabularySize = 272
  let tokenizer: Tokenizer
  private let state = Mutex(State())
  /// Answers that somebody still waits for.
  private let running = Running()

  init(_ tokenizer: Tokenizer) { self.tokenizer = tokenizer }

  func follow(_ script: Script) { state.withLock { $0.script = script } }
  var requests: [GenerationRequest] { state.withLock(\.requests) }
  var isShutDown: Bool { state.withLock(\.isShutDown) }

  func generate(
    _ request: GenerationRequest
  ) throws(SwiftletError) -> AsyncThrowingStream<GeneratedToken, any Error> {
    let script = state.withLock {
      $0.requests.append(request)
      return $0.script
    }
    let tokens = script.reply.map { tokenizer.encode($0) } ?? request.prompt
    running.change(by: 1)
    return AsyncThrowingStream { continuation in
      let work = Task {
        for index in 0... {
          if script.delay > .zero { try? await Task.sleep(for: script.delay) }
          if let failure = script.failure, failure.after == index {
            return continuation.finish(throwing: failure.error)
          }
          let token = token(index, of: tokens, request)
          continuation.yield(token)
          if token.finishReason != nil || Task.isCancelled { break }
        }
        continuation.finish()
      }
      continuation.onTermination = { [running] _ in
        work.cancel()
        running.change(by: -1)
      }
    }
  }

  private func token(_ index: Int, of tokens: [Int32], _ request: GenerationRequest) -> GeneratedToken {
    let isEnd = index == tokens.count
    let end = request.options.stopTokens?.min() ?? 0
    let id = isEnd ? end : tokens[index]
    var statistics = GenerationStatistics()
    statistics.promptTokens = request.prompt.count
    statistics.reusedTokens = 4
    statistics.newTokens = index + 1
    return GeneratedToken(
      id: id, text: isEnd ? "" : tokenizer.decode([id], skipSpecialTokens: true), logProbability: -0.5,
      alternatives: (0..<request.topLogProbabilities).map {
        TokenProbability(id: Int32(65 + $0), logProbability: -Float($0) - 1)
      },
      finishReason: isEnd ? .stopToken(end) : index + 1 == request.options.maxNewTokens ? .maxNewTokens : nil,
      statistics: statistics)
  }

  var adapterNames: [String] { state.withLock(\.adapters) }

  func loadAdapter(_ folder: String, name: String) async throws {
    guard !folder.contains("missing") else { throw SwiftletError.unreadable(folder) }
    state.withLock { $0.adapters.append(name) }
  }

  func unloadAdapter(_ name: String) async throws {
    state.withLock { $0.adapters.removeAll { $0 == name } }
  }

  var statistics: EngineStatistics {
    var statistics = EngineStatistics()
    let count = running.count
    statistics.load = GeneratorLoad(
      running: count, waiting: 0, pagesInUse: count, pages: 64, pageSize: 16,
      bytesPerPage: 1)
    return statistics
  }

  func shutdown(within limit: Duration) async { state.withLock { $0.isShutDown = true } }
}

private final class Running: Sendable {
  private let value = Atomic(0)
  var count: Int { value.load(ordering: .relaxed) }
  func change(by difference: Int) { value.add(difference, ordering: .relaxed) }
}
