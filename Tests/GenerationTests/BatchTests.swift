import Basics
import Compute
import Foundation
import Models
import TestSupport
import Testing

@testable import Generation

/// Requests that are answered together get what they would get alone.
@Suite struct BatchTests {
  let cpu: CPU

  init() throws { cpu = try CPU(threads: 2) }

  /// Prompts of many lengths, some of them with a common start.
  static func requests(_ count: Int) -> [GenerationRequest] {
    (0..<count).map { index in
      let common = index % 3 == 0 ? KeyValueCacheTests.tokens(20, seed: 99) : []
      let sampling = index % 2 == 0 ? .greedy : SamplingOptions(temperature: 1, topK: 20, seed: UInt64(index))
      return GenerationRequest(
        common + KeyValueCacheTests.tokens(1 + index * 7 % 45, seed: UInt64(index)),
        GenerationOptions(sampling: sampling, maxNewTokens: 5 + index * 5 % 30))
    }
  }

  func tokens(_ generation: Generation) throws -> [Int32] {
    var ids: [Int32] = []
    while let token = try generation.next() { ids.append(token.id) }
    return ids
  }

  func alone(
    _ model: Decoder, _ requests: [GenerationRequest], compute: DType = .f32
  ) throws -> [[Int32]] {
    try requests.map { try tokens(Generator(model, on: cpu, compute: compute).generate($0)) }
  }

  @Test(arguments: TestModel.Kind.allCases)
  func answersAsAlone(kind: TestModel.Kind) throws {
    let model = try TestModel.random(kind, on: cpu)
    let requests = Self.requests(12)
    let settings = GeneratorSettings(maxSequences: 5, prefillRows: 16, pageSize: 4)
    let generator = try Generator(model, on: cpu, settings: settings)
    let together = try requests.map { try generator.generate($0) }
    #expect(try together.map(tokens) == alone(model, requests))
    #expect(generator.load.pagesInUse == 0 && generator.isIdle)
    #expect(generator.totals.reusedTokens > 0)
  }

  /// Rows do not influence each other, however many there are: not even in the last bit.
  @Test func answersAsAloneInBFloat16() throws {
    let model = try TestModel.random(.qwen3, on: cpu)
    let requests = Self.requests(24)
    let settings = GeneratorSettings(reusesPrefixes: false)
    let generator = try Generator(model, on: cpu, compute: .bf16, settings: settings)
    let together = try requests.map { try generator.generate($0) }
    #expect(try together.map(tokens) == alone(model, requests, compute: .bf16))
  }

  /// With memory for a few sequences only, some have to give theirs to others and start over.
  @Test func answersAsAloneWhenMemoryIsScarce() throws {
    let model = try TestModel.random(.llama, on: cpu)
    let requests = Self.requests(10)
    let bytesPerToken = 2 * model.spec.layers * model.spec.keyValueHeads * model.spec.headSize * 4
    let settings = GeneratorSettings(cacheBytes: 90 * bytesPerToken, pageSize: 4, reusesPrefixes: false)
    let generator = try Generator(model, on: cpu, settings: settings)
    let together = try requests.map { try generator.generate($0) }
    #expect(try together.map(tokens) == alone(model, requests))
    #expect(generator.totals.preemptions > 0)
    // One that fits in no case ends alone.
    let long = try generator.generate(GenerationRequest(KeyValueCacheTests.tokens(100)))
    let short = try generator.generate(requests[0])
    let error = #expect(throws: SwiftletError.self) { try long.next() }
    #expect(error?.code == .outOfMemory)
    #expect(try tokens(short).count == requests[0].options.maxNewTokens)
  }

  /// What is remembered gives way to what is needed.
  @Test func forgetsTheOldestFirst() throws {
    let model = try TestModel.random(.llama, on: cpu)
    let bytesPerToken = 2 * model.spec.layers * model.spec.keyValueHeads * model.spec.headSize * 4
    let settings = GeneratorSettings(cacheBytes: 100 * bytesPerToken, pageSize: 4)
    let generator = try Generator(model, on: cpu, settings: settings)
    func reused(_ seed: UInt64) throws -> Int {
      let before = generator.totals.reusedTokens
      _ = try generator.logits(after: KeyValueCacheTests.tokens(41, seed: seed))
      return generator.totals.reusedTokens - before
    }
    #expect(try [1, 2, 1, 2].map(reused) == [0, 0, 40, 40])
    #expect(try [3, 2].map(reused) == [0, 40])
    #expect(try reused(1) < 40)
  }

  @Test func lettingGoGivesPagesBack() throws {
    let model = try TestModel.random(.llama, on: cpu)
    let generator = try Generator(model, on: cpu)
    let kept = try generator.generate(Self.requests(5)[4])
    do {
      let dropped = try generator.generate(KeyValueCacheTests.tokens(50))
      for _ in 0..<3 { _ = try dropped.next() }
      #expect(generator.load.running == 2)
    }
    _ = try tokens(kept)
    #expect(generator.load.pagesInUse == 0 && generator.load.running == 0)
  }

  @Test func tellsTheMostProbable() throws {
    let model = try TestModel.random(.llama, on: cpu)
    let generator = try Generator(model, on: cpu)
    let prompt = KeyValueCacheTests.tokens(9)
    let sampling = SamplingOptions(temperature: 1, seed: 5)
    let answer = try generator.generate(
      GenerationRequest(
        prompt, GenerationOptions(sampling: sampling, maxNewTokens: 4), topLogProbabilities: 61))
    var context = prompt
    while let token = try answer.next() {
      let logits = try Generator(model, on: cpu).logits(after: context)
      let order = logits.indices.sorted { (logits[$1], $0) < (logits[$0], $1) }
      #expect(token.alternatives.map(\.id) == order.map(Int32.init))
      let sum = token.alternatives.reduce(0) { $0 + Double(exp($1.logProbability)) }
      #expect(abs(sum - 1) < 1e-5)
      let own = try #require(token.alternatives.first { $0.id == token.id })
      #expect(abs(own.logProbability - token.logProbability) < 1e-5)
      context.append(token.id)
    }
  }
}
