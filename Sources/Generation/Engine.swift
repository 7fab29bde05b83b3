import Basics
import Compute
import Foundation
import Models
import Synchronization
import Text

/// A generator on a thread of its own, for any number of callers at once.
///
/// ```swift
/// let engine = try Engine { try Generator(model, tokenizer: tokenizer, on: backend) }
/// for try await token in try engine.generate(GenerationRequest(prompt)) { print(token.text, terminator: "") }
/// await engine.shutdown()
/// ```
public final class Engine: Sendable {
  /// Most tokens of a prompt and its answer.
  public let contextLength: Int
  public let vocabularySize: Int
  public let tokenizer: Tokenizer?
  private let inbox = Inbox()
  private let checks: GeneratorChecks

  /// Starts the thread, which makes the generator.
  ///
  /// - Throws: what `make` throws.
  public init(_ make: @escaping @Sendable () throws -> Generator) throws {
    let inbox = inbox
    let made = Handover()
    let thread = Thread {
      do {
        let generator = try make()
        made.set(.success(generator.facts))
        inbox.serve(generator)
      } catch { made.set(.failure(error)) }
    }
    thread.name = "swiftlet.generation"
    thread.stackSize = 8 << 20
    thread.start()
    let facts = try made.wait().get()
    contextLength = facts.checks.contextLength
    vocabularySize = facts.checks.vocabularySize
    checks = facts.checks
    tokenizer = facts.tokenizer
  }

  deinit { inbox.close() }

  /// Begins an answer. Ending the iteration, or its task, cancels it.
  ///
  /// - Throws: see `Generator.generate`; `.unavailable` after `shutdown`.
  public func generate(
    _ request: GenerationRequest
  ) throws(SwiftletError) -> AsyncThrowingStream<GeneratedToken, any Error> {
    try checks.check(request)
    let (stream, continuation) = AsyncThrowingStream<GeneratedToken, any Error>.makeStream()
    let isCancelled = CancellationFlag()
    continuation.onTermination = { [inbox] in
      guard case .cancelled = $0 else { return }
      isCancelled.set()
      inbox.wake()
    }
    let isTaken = inbox.add { generator in
      switch generator {
      case .success(let generator): generator.take(request, continuation, isCancelled)
      case .failure(let error): continuation.finish(throwing: error)
      }
    }
    guard isTaken else { throw Inbox.closed }
    return stream
  }

  /// Loads a PEFT adapter under a name that requests can ask for. Answers of other adapters go on.
  ///
  /// - Throws: `.mismatch` when it does not fit the model; `.invalidConfiguration` when the name is taken.
  public func loadAdapter(_ folder: String, name: String) async throws {
    try await perform { try $0.loadAdapter(folder, name: name) }
  }

  /// - Throws: `.notFound`; `.invalidConfiguration` while requests use it.
  public func unloadAdapter(_ name: String) async throws {
    try await perform { try $0.unloadAdapter(name) }
  }

  private func perform(_ work: @escaping @Sendable (Generator) throws -> Void) async throws {
    try await withCheckedThrowingContinuation { (done: CheckedContinuation<Void, any Error>) in
      let isTaken = inbox.add { [inbox] generator in
        let result = Result { try work(generator.get()) }
        // What was done is to be seen by whoever waited for it.
        if case .success(let generator) = generator { inbox.tell(generator) }
        done.resume(with: result)
      }
      if !isTaken { done.resume(throwing: Inbox.closed) }
    }
  }

  /// The loaded adapters, in the order of their loading.
  public var adapterNames: [String] { inbox.report.withLock { $0.adapters } }

  /// As after the last step.
  public var statistics: EngineStatistics { inbox.report.withLock { $0 } }

  /// Takes no more requests, waits for those that run, up to `limit`, and ends the thread.
  public func shutdown(within limit: Duration = .seconds(30)) async {
    inbox.close()
    let deadline = ContinuousClock.now + limit
    while !inbox.hasEnded {
      if ContinuousClock.now > deadline { inbox.abandon() }
      try? await Task.sleep(for: .milliseconds(5))
    }
  }
}

/// What an engine does and has done.
public struct EngineStatistics: Sendable {
  public internal(set) var load = GeneratorLoad(
    running: 0, waiting: 0, pagesInUse: 0, pages: 0, pageSize: 1, bytesPerPage: 0)
  public internal(set) var totals = GeneratorTotals()
  public internal(set) var adapters: [String] = []
}

/// What callers leave for the engine's thread, and what it tells them.
private final class Inbox: Sendable {
  /// Given the generator, or why there is none any more.
  typealias Work = @Sendable (Result<Generator, SwiftletError>) -> Void

  static let closed = SwiftletError(.unavailable, "the engine was shut down")

  let report = Mutex(EngineStatistics())
  private let state = Mutex(State())
  /// Rung whenever there may be something to do.
  private let bell = DispatchSemaphore(value: 0)

  private struct State {
    var work: [Work] = []
    var isClosed = false
    var isAbandoned = false
    var hasEnded = false
  }

  /// - Returns: false after `close`.
  func add(_ work: @escaping Work) -> Bool {
    let isTaken = state.withLock { state in
      if !state.isClosed { state.work.append(work) }
      return !state.isClosed
    }
    bell.signal()
    return isTaken
  }

  /// Has the thread look after its requests.
  func wake() { bell.signal() }

  func close() {
    state.withLock { $0.isClosed = true }
    bell.signal()
  }

  func abandon() {
    state.withLock { $0.isAbandoned = true }
    close()
  }

  var hasEnded: Bool { state.withLock { $0.hasEnded } }

  /// The thread's loop: takes what came, then a step, until it is closed and idle.
  func serve(_ generator: Generator) {
    tell(generator)
    var failure: SwiftletError?
    while let work = next(isIdle: generator.isIdle) {
      for item in work { item(failure.map { .failure($0) } ?? .success(generator)) }
      if failure == nil {
        do { try generator.step() } catch {
          failure = error
          generator.fail(error)
        }
      }
      tell(generator)
    }
    generator.fail(Self.closed)
    tell(generator)
    let left = state.withLock { state in
      state.hasEnded = true
      return state.work
    }
    for item in left { item(.failure(Self.closed)) }
  }

  /// What came meanwhile; waits while there is nothing to do. nil at the end.
  private func next(isIdle: Bool) -> [Work]? {
    if isIdle, state.withLock({ $0.work.isEmpty && !$0.isClosed }) { bell.wait() }
    return state.withLock { state in
      if state.isAbandoned || state.isClosed && isIdle && state.work.isEmpty { return nil }
      defer { state.work = [] }
      return state.work
    }
  }

  func tell(_ generator: Generator) {
    report.withLock { report in
      report.load = generator.load
      report.totals = generator.totals
      report.adapters = generator.adapterNames
    }
  }
}

/// Whether the caller of a request has gone.
final class CancellationFlag: Sendable {
  private let flag = Atomic(false)
  var isSet: Bool { flag.load(ordering: .relaxed) }
  func set() { flag.store(true, ordering: .relaxed) }
}

/// A result that one thread waits for.
private final class Handover: Sendable {
  typealias Facts = (checks: GeneratorChecks, tokenizer: Tokenizer?)
  private let value = Mutex<Result<Facts, any Error>?>(nil)
  private let isThere = DispatchSemaphore(value: 0)

  func set(_ result: Result<Facts, any Error>) {
    value.withLock { $0 = result }
    isThere.signal()
  }

  func wait() -> Result<Facts, any Error> {
    isThere.wait()
    return value.withLock { $0 } ?? .failure(Inbox.closed)
  }
}

extension Generator {
  /// Takes on a request of the engine's.
  fileprivate func take(
    _ request: GenerationRequest, _ continuation: AsyncThrowingStream<GeneratedToken, any Error>.Continuation,
    _ isCancelled: CancellationFlag
  ) {
    do throws(SwiftletError) {
      let sequence = try submit(request) { delivery in
        switch delivery {
        case .success(.token(let token)):
          continuation.yield(token)
          if token.finishReason != nil { continuation.finish() }
        case .success(.logits): break
        case .failure(let error): continuation.finish(throwing: error)
        }
      }
      sequence.cancellation = isCancelled
    } catch { continuation.finish(throwing: error) }
  }
}
