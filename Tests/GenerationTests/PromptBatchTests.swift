import Compute
import Models
import TestSupport
import Testing

@testable import Generation

/// Prompts that go through the model together give what they give one by one.
@Suite struct PromptBatchTests {
  private func runner(_ model: Decoder, _ cpu: CPU) throws -> (runner: ModelRunner, pool: PagePool) {
    let pool = try PagePool(model.spec, dtype: .f32, pageSize: 4, bytes: 1 << 20, most: 100, on: cpu)
    return (try ModelRunner(model, pool, contextLength: 100, compute: .f32, on: cpu), pool)
  }

  /// Work for a prompt, whose logits the host wants; it has pages for one more token.
  private func work(_ prompt: [Int32], _ pool: PagePool) throws -> ModelRunner.Work {
    let request = GenerationRequest(prompt, GenerationOptions(sampling: .greedy))
    let sequence = TokenSequence(
      request, number: 1, adapter: 0, AnswerText(request.options, nil), onlyLogits: true, deliver: { _ in })
    while sequence.pages.count < pool.pages(for: prompt.count + 1) {
      sequence.pages.append(try #require(pool.take()))
    }
    return ModelRunner.Work(sequence: sequence, rows: 0..<prompt.count, isSampled: true)
  }

  /// Adds the sample, and runs the token after the prompt: it sees keys and values in pages.
  private func next(_ runner: ModelRunner, _ work: ModelRunner.Work, _ sample: ModelRunner.Sample) throws
    -> ModelRunner.Sample
  {
    let sequence = work.sequence
    sequence.append(sample.token, logProbability: sample.logProbability, logits: nil, contextLength: 100)
    let row = ModelRunner.Work(
      sequence: sequence, rows: work.rows.upperBound..<sequence.tokens.count, isSampled: true)
    return try runner.run([row])[0]
  }

  /// - Parameter mergesLinears: whether layers and adapters are one product, as on a GPU.
  @Test(arguments: TestModel.Kind.allCases, [false, true])
  func givesWhatPromptsGiveAlone(kind: TestModel.Kind, mergesLinears: Bool) throws {
    let cpu = try CPU(threads: 2, mergesLinears: mergesLinears)
    var model = try TestModel.random(kind, on: cpu)
    let parameters = try model.addLoRA(LoRAConfiguration(), seed: 1, on: cpu)
    var noise = Noise(state: 3)
    for index in parameters.allValues.hostFloats.indices {
      parameters.allValues.hostFloats[index] = noise.next() / 4
    }
    let prompts = [7, 1, 18, 4].enumerated().map { KeyValueCacheTests.tokens($1, seed: UInt64($0)) }
    let (together, pool) = try runner(model, cpu)
    let all = try prompts.map { try work($0, pool) }
    let samples = try together.run(all)
    #expect(samples.count == prompts.count)
    for (index, prompt) in prompts.enumerated() {
      let (alone, pool) = try runner(model, cpu)
      let own = try work(prompt, pool)
      let sample = try alone.run([own])[0]
      let pairs = [
        (samples[index], sample),
        (try next(together, all[index], samples[index]), try next(alone, own, sample)),
      ]
      for (got, expected) in pairs {
        #expect(got.token == expected.token)
        for (a, b) in zip(try #require(got.logits), try #require(expected.logits)) {
          #expect(abs(a - b) < 1e-4 * max(1, abs(b)))
        }
      }
    }
    withExtendedLifetime(parameters) {}
  }
}
