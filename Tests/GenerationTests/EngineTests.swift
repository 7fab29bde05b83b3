import Basics
import Compute
import Models
import TestSupport
import Testing

@testable import Generation

@Suite struct EngineTests {
  func engine(_ settings: GeneratorSettings = GeneratorSettings()) throws -> Engine {
    try Engine {
      let cpu = try CPU(threads: 1)
      return try Generator(TestModel.random(.llama, on: cpu), on: cpu, settings: settings)
    }
  }

  func tokens(_ engine: Engine, _ request: GenerationRequest) async throws -> [Int32] {
    var ids: [Int32] = []
    for try await token in try engine.generate(request) { ids.append(token.id) }
    return ids
  }

  @Test func answersManyCallersAtOnce() async throws {
    let requests = BatchTests.requests(20)
    let cpu = try CPU(threads: 1)
    let alone = try BatchTests().alone(TestModel.random(.llama, on: cpu), requests)
    let engine = try engine(GeneratorSettings(maxSequences: 8, pageSize: 4))
    let together = try await withThrowingTaskGroup(of: (Int, [Int32]).self) { group in
      for (index, request) in requests.enumerated() {
        group.addTask { (index, try await tokens(engine, request)) }
      }
      return try await group.reduce(into: [Int: [Int32]]()) { $0[$1.0] = $1.1 }
    }
    #expect(requests.indices.map { together[$0] } == alone)
    await engine.shutdown()
    #expect(engine.statistics.load.pagesInUse == 0)
    #expect(engine.statistics.totals.newTokens == alone.reduce(0) { $0 + $1.count })
    let error = #expect(throws: SwiftletError.self) { try engine.generate(requests[0]) }
    #expect(error?.code == .unavailable)
  }

  @Test func endingTheIterationFreesWhatItHeld() async throws {
    let engine = try engine(GeneratorSettings(reusesPrefixes: false))
    let endless = GenerationRequest([1, 2, 3], GenerationOptions(maxNewTokens: 390, stopTokens: []))
    for _ in 0..<20 {
      var count = 0
      for try await _ in try engine.generate(endless) {
        count += 1
        if count == 3 { break }
      }
    }
    let cancelled = Task { try await tokens(engine, endless) }
    cancelled.cancel()
    _ = try? await cancelled.value
    while engine.statistics.load.running > 0 { try await Task.sleep(for: .milliseconds(1)) }
    #expect(engine.statistics.load.pagesInUse == 0)
    await engine.shutdown()
  }

  @Test func tellsWhyThereIsNoGenerator() throws {
    let error = #expect(throws: SwiftletError.self) {
      try Engine { throw SwiftletError(.unreadable, "there is no model") }
    }
    #expect(error?.code == .unreadable)
  }
}
