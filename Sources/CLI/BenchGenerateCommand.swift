import ArgumentParser
import Foundation
import Swiftlet

/// The measure that the peers' scripts take: random prompts of one length, answered greedily with an adapter loaded.
struct BenchGenerate: ReportingCommand {
  static let configuration = CommandConfiguration(
    commandName: "generate", abstract: "Times answers to random prompts; prints one JSON object.")

  @OptionGroup var model: ModelName
  @OptionGroup var place: PlaceArguments
  @Option(help: "What weights are held as: file, float32, bfloat16, nf4 or int8.")
  var weights = BaseWeights.file
  @Option(help: "Rank of an adapter on every linear layer; 0: none.") var r = 16
  @Option(help: "Tokens of a prompt.") var promptLength: Count = 512
  @Option(help: "Tokens of an answer.") var newTokens: Count = 128
  @Option(parsing: .upToNextOption, help: "Requests at once: one figure each.") var batchSizes = [1, 16]
  @Option(help: "Requests of mixed lengths, timed together and one after another; 0: none.") var mixed = 0
  @Flag(
    help: "Add how long each operation takes: for one prompt, and in a step of the first number of requests.")
  var profile = false
  var json: Bool { true }

  func validate() throws {
    guard batchSizes.allSatisfy({ $0 > 0 }), mixed >= 0, r >= 0 else {
      throw ValidationError("Numbers of requests and ranks are not negative.")
    }
  }

  func execute() throws {
    let model = try LanguageModel(model.name, weights: weights, backend: place.device.open())
    let compute = place.dtype.dtype(on: model.backend)
    let settings = GeneratorSettings(maxSequences: max(batchSizes.max() ?? 1, mixed), reusesPrefixes: false)
    let generator = try Generator(
      model.decoder, tokenizer: model.tokenizer, on: model.backend, compute: compute, settings: settings)
    if r > 0 { try loadAdapter(model, generator) }
    let bench = GenerationBench(generator, vocabulary: min(49_000, model.tokenizer.vocabularySize))
    var result: JSON.Object = [
      "device": .string(model.backend.name), "model": .string(URL(filePath: model.path).lastPathComponent),
      "dtype": .string("\(compute)"),
      "r": .int(r), "prompt": .int(promptLength.value), "new": .int(newTokens.value),
    ]
    let weightBytes = model.decoder.generationBytes
    result["weight_mb"] = .int(weightBytes >> 20)
    result["batches"] = .array(
      try batchSizes.map { size in
        let (first, rate) = try bench.time(size, prompt: promptLength.value, new: newTokens.value)
        return [
          "bs": .int(size), "ttft_ms": .double(1000 * first), "decode_tok_s": .double(rate),
          "weights_gb_s": .double(Double(weightBytes) * rate / Double(size) / 1e9),
        ]
      })
    if mixed > 0 { result["mixed"] = try bench.mixed(mixed) }
    if profile {
      result["prompt_operations"] = try bench.profile(prompt: promptLength.value)
      result["operations"] = try bench.profile(batchSizes.first ?? 1, prompt: promptLength.value)
    }
    result["rss_mb"] = .int(ProcessMemory.peakResident >> 20)
    result["device_mb"] = model.backend.peakAllocatedBytes.map { .int($0 >> 20) } ?? nil
    print(JSON.object(result).text(.spaced))
  }

  /// An adapter that no one trained takes as long as one that someone did.
  private func loadAdapter(_ model: LanguageModel, _ generator: Generator) throws {
    var lora = LoRAConfiguration()
    (lora.r, lora.alpha) = (r, Double(r))
    let folder = FileManager.default.temporaryDirectory.path + "/swiftlet-bench-\(getpid())"
    defer { try? FileManager.default.removeItem(atPath: folder) }
    var adapted = model.decoder
    let parameters = try adapted.addLoRA(lora, seed: 1, on: CPU(threads: 1))
    try AdapterFolder.save(parameters, lora, baseModel: model.path, to: folder)
    try generator.loadAdapter(folder, name: "bench")
  }
}

private struct GenerationBench {
  let generator: Generator
  let vocabulary: Int

  init(_ generator: Generator, vocabulary: Int) {
    self.generator = generator
    self.vocabulary = vocabulary
  }

  private func request(prompt: Int, new: Int) -> GenerationRequest {
    let tokens = (0..<prompt).map { _ in Int32.random(in: 10..<Int32(vocabulary)) }
    let options = GenerationOptions(maxNewTokens: new, stopTokens: [])
    return GenerationRequest(tokens, options, adapter: generator.adapterNames.first)
  }

  /// Seconds until all requests have ended, and their answers.
  private func run(_ requests: [GenerationRequest]) throws -> (seconds: Double, answers: [[Int32]]) {
    let start = ContinuousClock.now
    let answers = try requests.map { try generator.generate($0) }
    var tokens = answers.map { _ in [Int32]() }
    for (index, answer) in answers.enumerated() {
      while let token = try answer.next() { tokens[index].append(token.id) }
    }
    return ((ContinuousClock.now - start) / .seconds(1), tokens)
  }

  /// Seconds to the first token, for one request alone, and tokens a second while `size` are answered at once.
  func time(_ size: Int, prompt: Int, new: Int) throws -> (first: Double, rate: Double) {
    func requests(_ new: Int) -> [GenerationRequest] {
      (0..<size).map { _ in request(prompt: prompt, new: new) }
    }
    _ = try run(requests(8))
    let firsts = try (0..<3).map { _ in try run([request(prompt: prompt, new: 1)]).seconds }.sorted()
    let rates = try (0..<3).map { _ in try rate(requests(new)) }.sorted()
    return (firsts[1], rates[1])
  }

  /// Tokens a second from when every answer has begun until the first ends.
  private func rate(_ requests: [GenerationRequest]) throws -> Double {
    let answers = try requests.map { try generator.generate($0) }
    for answer in answers { _ = try answer.next() }
    let (start, before) = (ContinuousClock.now, generator.totals.newTokens)
    // Letting go of an answer would cancel it.
    try withExtendedLifetime(answers) { while try answers[0].next() != nil {} }
    let seconds = (ContinuousClock.now - start) / .seconds(1)
    let rate = Double(generator.totals.newTokens - before) / seconds
    for answer in answers { while try answer.next() != nil {} }
    return rate
  }

  /// Milliseconds and calls of each operation in a decoding step.
  func profile(_ size: Int, prompt: Int) throws -> JSON {
    let answers = try (0..<size).map { _ in try generator.generate(request(prompt: prompt, new: 30)) }
    for answer in answers { for _ in 0..<2 { _ = try answer.next() } }
    // Letting go of an answer would cancel it.
    return try withExtendedLifetime(answers) { try operations(times: 20) { try generator.step() } }
  }

  /// The same from a prompt to its first token.
  func profile(prompt: Int) throws -> JSON {
    func first() throws { _ = try run([request(prompt: prompt, new: 1)]) }
    try first()
    return try operations(times: 5, first)
  }

  /// What `body` starts, on average.
  private func operations(times: Int, _ body: () throws -> Void) rethrows -> JSON {
    let timer = StepTimer()
    generator.timer = timer
    defer { generator.timer = nil }
    for _ in 0..<times { try body() }
    return .array(
      timer.report.map { entry in
        [
          "operation": .string(entry.operation), "ms": .double(1000 * entry.seconds / Double(times)),
          "calls": .int(entry.calls / times),
        ]
      })
  }

  /// Requests of mixed lengths, together and one after another.
  func mixed(_ count: Int) throws -> JSON {
    let requests = (0..<count).map { request(prompt: 16 + $0 * 37 % 300, new: 16 + $0 * 53 % 150) }
    _ = try run(requests)
    let together = try run(requests)
    var (alone, seconds) = ([[Int32]](), 0.0)
    for request in requests {
      let one = try run([request])
      seconds += one.seconds
      alone += one.answers
    }
    let same = zip(together.answers, alone).count { $0 == $1 }
    return [
      "requests": .int(count), "together_s": .double(together.seconds), "alone_s": .double(seconds),
      "ratio": .double(seconds / together.seconds), "same_answers": .int(same),
    ]
  }
}
