import Basics
import Compute
import Models
import TestSupport
import Testing
import Text

@testable import Generation

/// Whatever a model would say, its answer is what the constraint allows; others beside it say what they would.
@Suite struct ConstrainedAnswerTests {
  let cpu: CPU

  init() throws { cpu = try CPU(threads: 1) }

  /// Tokens for all that a small piece of JSON needs, and an end.
  static let letters = "{}[]\":,0123456789truefalsn ab".map(String.init).reduce(into: [String]()) {
    if !$0.contains($1) { $0.append($1) }
  }

  @Test func obeysItsSchema() throws {
    let tokenizer = try Tokenizer(bytes: Self.letters.map { Array($0.utf8) })
    let model = try TestModel.random(.llama, on: cpu)
    let generator = try Generator(model, tokenizer: tokenizer, on: cpu)
    let vocabulary = TokenVocabulary(tokenizer, size: TestModel.vocabulary)
    let schema: JSON = [
      "type": "object", "properties": ["a": ["type": "boolean"], "b": ["enum": [1, 20]]],
      "required": ["a", "b"], "additionalProperties": false,
    ]
    let constraint = try OutputConstraint(jsonSchema: schema, vocabulary: vocabulary)
    let end = Int32(Self.letters.count)
    for seed in 0..<10 as Range<UInt64> {
      let options = GenerationOptions(
        sampling: SamplingOptions(temperature: 1, seed: seed), maxNewTokens: 200, stopTokens: [end])
      let free = try generator.generate(GenerationRequest([1], options))
      let bound = try generator.generate(GenerationRequest([1], options, constraint: constraint))
      var text = ""
      while let token = try bound.next() { text += token.text }
      #expect(bound.finishReason == .stopToken(end), "\(text)")
      let value = try JSON(parsing: Array(text.utf8))
      #expect(value["a"]?.bool != nil && [1, 20].contains(value["b"]?.int))
      var answer: [Int32] = []
      while let token = try free.next() { answer.append(token.id) }
      let alone = try Generator(model, tokenizer: tokenizer, on: cpu).generate([1], options)
      while try alone.next() != nil {}
      #expect(answer == Array(alone.tokens.dropFirst()))
    }
  }
}
