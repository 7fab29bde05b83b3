import Basics
import Compute
import Models
import TestSupport
import Testing
import Text

@testable import Generation

@Suite struct GenerationTests {
  let cpu: CPU

  init() throws { cpu = try CPU(threads: 1) }

  /// A model that says these texts one after the other when it is given token 0, and then ends.
  func speaker(_ texts: [[UInt8]], positions: Int = 400) throws -> Generator {
    let tokenizer = try Tokenizer(bytes: [Array("?".utf8)] + texts)
    let model = try TestModel.counting(texts.count + 2, positions: positions, on: cpu)
    return try Generator(
      model, tokenizer: tokenizer, on: cpu, settings: GeneratorSettings(pageSize: 2))
  }

  func speaker(_ texts: [String]) throws -> Generator { try speaker(texts.map { Array($0.utf8) }) }

  func all(_ generation: Generation) throws -> [GeneratedToken] {
    var tokens: [GeneratedToken] = []
    while let token = try generation.next() { tokens.append(token) }
    #expect(try generation.next() == nil)
    return tokens
  }

  @Test func endsWithTheModelsEnd() throws {
    let generation = try speaker(["a", "b", "c"]).generate([0])
    let tokens = try all(generation)
    #expect(tokens.map(\.id) == [1, 2, 3, 4])
    #expect(tokens.map(\.text) == ["a", "b", "c", ""])
    #expect(generation.finishReason == .stopToken(4))
    #expect(generation.tokens == [0, 1, 2, 3, 4])
    #expect(tokens.allSatisfy { $0.logProbability <= 0 && $0.logProbability > -1e-3 })
  }

  @Test func endsAtAnyStopToken() throws {
    let generation = try speaker(["a", "b", "c"]).generate([0], GenerationOptions(stopTokens: [3, 2]))
    #expect(try all(generation).map(\.text) == ["a", ""])
    #expect(generation.finishReason == .stopToken(2))
  }

  @Test func countsWhatItDid() throws {
    let generator = try speaker(["a", "b", "c", "d", "e"])
    let first = try generator.generate([0, 1], GenerationOptions(maxNewTokens: 2))
    #expect(try all(first).map(\.text) == ["b", "c"])
    #expect(first.finishReason == .maxNewTokens)
    #expect(first.statistics.promptTokens == 2 && first.statistics.newTokens == 2)
    #expect(first.statistics.reusedTokens == 0 && first.statistics.prefillSeconds > 0)
    #expect((first.statistics.decodeTokensPerSecond ?? 0) > 0)
    // The next turn: the last token of the first is the only one not seen yet, but pages are whole.
    let second = try generator.generate(first.tokens + [0, 1], GenerationOptions(maxNewTokens: 1))
    #expect(try all(second).map(\.text) == ["b"])
    #expect(second.statistics.reusedTokens == 2 && second.statistics.decodeTokensPerSecond == nil)
  }

  @Test func answersMayTakeTurns() throws {
    let model = try TestModel.random(.llama, on: cpu)
    let generator = try Generator(model, on: cpu)
    let prompts = [KeyValueCacheTests.tokens(12), KeyValueCacheTests.tokens(7, seed: 2)]
    let options = GenerationOptions(sampling: SamplingOptions(temperature: 1, seed: 3), maxNewTokens: 20)
    let alone = try prompts.map { prompt in
      let generation = try Generator(model, on: cpu).generate(prompt, options)
      return try all(generation).map(\.id)
    }
    let together = try prompts.map { try generator.generate($0, options) }
    for _ in 0..<20 {
      for index in together.indices { _ = try together[index].next() }
    }
    #expect(together.map { Array($0.tokens.suffix(20)) } == alone)
    #expect(Set(alone[0]).count > 3)
  }

  @Test func greedyIsTheSameEveryTime() throws {
    let model = try TestModel.random(.qwen3, on: cpu)
    let prompt = KeyValueCacheTests.tokens(9)
    let answers = try (0..<3).map { _ in
      let generation = try Generator(model, on: cpu).generate(prompt, GenerationOptions(maxNewTokens: 40))
      return try all(generation)
    }
    #expect(answers[0].count == 40)
    for answer in answers {
      #expect(answer.map(\.id) == answers[0].map(\.id))
      #expect(answer.map(\.logProbability) == answers[0].map(\.logProbability))
    }
    // Each is the most probable.
    var context = prompt
    for token in answers[0] {
      let logits = try Generator(model, on: cpu).logits(after: context)
      #expect(Int(token.id) == logits.indices.max { logits[$0] < logits[$1] })
      context.append(token.id)
    }
  }

  // MARK: Text

  @Test(arguments: [
    // In one token, across three, after a false start, at the start, one within another, with nothing after.
    (["Hello", "STOP", "x"], ["STOP"], "Hello"),
    (["He", "llo", "xS", "TO", "Py", "z"], ["STOP"], "Hellox"),
    (["S", "ST", "OP", "z"], ["STOP"], "S"),
    (["ST", "OP", "z"], ["STOP"], ""),
    (["a", "\n", "\nb", "c"], ["\n\n\n", "\n\n"], "a"),
    (["a", "ST", "O"], ["STOP"], "aSTO"),
    (["aé", "本", "語b"], ["本語"], "aé"),
    (["abc"], ["b", "bc"], "a"),
  ])
  func stopsAtStopStrings(pieces: [String], stops: [String], expected: String) throws {
    let generation = try speaker(pieces).generate([0], GenerationOptions(stopStrings: stops))
    let tokens = try all(generation)
    #expect(tokens.map(\.text).joined() == expected)
    let isCut = pieces.joined() != expected
    let reached = stops.first { pieces.joined().hasPrefix(expected + $0) }
    #expect(
      generation.finishReason
        == (isCut ? reached.map(FinishReason.stopString) : .stopToken(Int32(pieces.count + 1))))
  }

  @Test func neverShowsPartOfACharacter() throws {
    let text = "naïve 日本 👩‍👧 €"
    for size in 1...5 {
      let bytes = Array(text.utf8)
      let pieces = stride(from: 0, to: bytes.count, by: size).map {
        Array(bytes[$0..<min($0 + size, bytes.count)])
      }
      let generation = try speaker(pieces).generate([0], GenerationOptions(stopStrings: ["never there"]))
      let texts = try all(generation).map(\.text)
      #expect(texts.joined() == text)
      #expect(texts.allSatisfy { !$0.contains("\u{FFFD}") })
    }
  }

  /// An answer cut off within a character shows that it was.
  @Test func showsUnfinishedCharactersAtTheEnd() throws {
    let generator = try speaker([[0x61], [0xE6, 0x97], [0xA5]])
    let cut = try generator.generate([0], GenerationOptions(maxNewTokens: 2))
    #expect(try all(cut).map(\.text) == ["a", "\u{FFFD}"])
    let whole = try generator.generate([0], GenerationOptions(maxNewTokens: 3))
    #expect(try all(whole).map(\.text) == ["a", "", "日"])
  }

  // MARK: Limits

  @Test func endsWhenTheContextIsFull() throws {
    let generator = try speaker(["a", "b", "c", "d", "e"].map { Array($0.utf8) }, positions: 3)
    #expect(generator.contextLength == 3)
    let generation = try generator.generate([0])
    #expect(try all(generation).map(\.text) == ["a", "b", "c"])
    #expect(generation.finishReason == .contextLength)
    let error = #expect(throws: SwiftletError.self) { try generator.generate([0, 1, 2, 3]) }
    #expect(error?.message == "the prompt has 4 tokens, the context 3")
  }

  @Test func refusesWhatItCannotContinue() throws {
    let generator = try speaker(["a"])
    #expect(throws: SwiftletError.self) { try generator.generate([]) }
    let stranger = #expect(throws: SwiftletError.self) { try generator.generate([0, 3]) }
    #expect(stranger?.code == .mismatch)
    #expect(throws: SwiftletError.self) { try generator.generate([-1]) }
    for options in [
      GenerationOptions(maxNewTokens: 0), GenerationOptions(stopStrings: [""]),
      GenerationOptions(sampling: SamplingOptions(topP: 0)),
    ] {
      let error = #expect(throws: SwiftletError.self) { try generator.generate([0], options) }
      #expect(error?.code == .invalidConfiguration)
    }
    let mute = try Generator(generator.model, on: cpu)
    #expect(throws: SwiftletError.self) { try mute.generate([0], GenerationOptions(stopStrings: ["a"])) }
  }

  @Test func namesDivergedWeights() throws {
    var model = try TestModel.random(.llama, on: cpu)
    let parameters = try model.addLoRA(LoRAConfiguration(), seed: 1, on: cpu)
    parameters.allValues.hostFloats.update(repeating: .nan)
    let generation = try Generator(model, on: cpu).generate([1])
    let error = #expect(throws: SwiftletError.self) { try generation.next() }
    #expect(error?.code == .invalidData)
  }
}
