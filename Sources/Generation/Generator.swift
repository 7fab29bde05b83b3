import Basics
import Compute
import Models
import Text

/// A model that continues token sequences, several at once.
///
/// Requests join while others are being answered: each step takes a piece of a prompt through the model, or several prompts, or one
/// token of every answer (continuous batching; Yu et al., Orca, OSDI 2022, section 4). What sequences have in common at their start is computed once.
/// None of this changes an answer, but for rounding where a prompt is taken up in the middle because its start was known. Belongs to one thread at a time, as its backend does; `Engine` is for many.
///
/// ```swift
/// let generator = try Generator(model, tokenizer: tokenizer, on: backend)
/// let answer = try generator.generate(tokenizer.encode("The capital of France is"))
/// while let token = try answer.next() { print(token.text, terminator: "") }
/// ```
public final class Generator {
  public var model: Decoder { runner.model }
  public let tokenizer: Tokenizer?
  /// The most tokens that the model sees: a prompt, and all of its answer but the last token.
  public let contextLength: Int
  public private(set) var totals = GeneratorTotals()
  /// Told how long each operation takes, which slows steps down.
  public var timer: StepTimer? {
    get { runner.timer }
    set { runner.timer = newValue }
  }

  /// The model without named adapters.
  private let base: Decoder
  private var adapters: [NamedAdapter] = []
  private var nextAdapter: Int32 = 1
  private let settings: GeneratorSettings
  private let pool: PagePool
  private let runner: ModelRunner
  /// In the order in which they came.
  private var waiting: [TokenSequence] = []
  private var running: [TokenSequence] = []
  private var submitted = 0
  /// Of prompts since answers last went on.
  private var promptRows = 0

  /// - Parameters:
  ///   - model: adapters that are attached to it take part.
  ///   - tokenizer: without it, answers have no text.
  ///   - compute: the type of activations, keys and values.
  /// - Throws: `.outOfMemory`, or `.invalidConfiguration` for a setting that is out of range.
  public init(
    _ model: Decoder, tokenizer: Tokenizer? = nil, on backend: any Backend, compute: DType = .f32,
    settings: GeneratorSettings = GeneratorSettings()
  ) throws(SwiftletError) {
    try settings.check()
    self.settings = settings
    base = model
    self.tokenizer = tokenizer
    contextLength = min(settings.contextLength ?? .max, model.spec.maximumPositions)
    let pagesEach = (contextLength + settings.pageSize - 1) / settings.pageSize
    pool = try PagePool(
      model.spec, dtype: compute, pageSize: settings.pageSize,
      bytes: settings.cacheBytes ?? Self.defaultCacheBytes(backend),
      most: settings.maxSequences * pagesEach, on: backend)
    runner = try ModelRunner(model, pool, contextLength: contextLength, compute: compute, on: backend)
  }

  /// Most of what is free: it is only taken when it is needed.
  private static func defaultCacheBytes(_ backend: any Backend) -> Int {
    (backend.availableMemory ?? 4 << 30) / 10 * (backend.hasHostMemory ? 5 : 8)
  }

  var facts: (checks: GeneratorChecks, tokenizer: Tokenizer?) {
    let spec = model.spec
    let checks = GeneratorChecks(
      contextLength: contextLength, vocabularySize: spec.vocabularySize,
      maximumPositions: spec.maximumPositions, hasTokenizer: tokenizer != nil)
    return (checks, tokenizer)
  }

  // MARK: Adapters

  /// The loaded adapters, in the order of their loading.
  public var adapterNames: [String] { adapters.map(\.name) }

  /// Loads a PEFT adapter under a name that requests can ask for.
  ///
  /// - Throws: `.mismatch` when it does not fit the model; `.unsupported` when it cannot be one of several;
  ///   `.invalidConfiguration` when the name is taken.
  public func loadAdapter(_ folder: String, name: String) throws(SwiftletError) {
    guard !adapterNames.contains(name) else {
      throw SwiftletError(.invalidConfiguration, "there is an adapter '\(name)' already")
    }
    let adapter = try NamedAdapter(folder, name: name, number: nextAdapter, for: base)
    runner.model = try base.adapted(by: adapters + [adapter])
    adapters.append(adapter)
    nextAdapter += 1
  }

  /// - Throws: `.notFound`; `.invalidConfiguration` while requests use it.
  public func unloadAdapter(_ name: String) throws(SwiftletError) {
    let number = try adapterNumber(name)
    guard !(running + waiting).contains(where: { $0.adapter == number }) else {
      throw SwiftletError(
        .invalidConfiguration, "requests are being answered by the adapter '\(name)'",
        remedy: "Try again when they have ended.")
    }
    let others = adapters.filter { $0.number != number }
    runner.model = try base.adapted(by: others)
    adapters = others
  }

  // MARK: Requests

  /// Begins an answer to `prompt`; see `generate(_:)`.
  public func generate(
    _ prompt: [Int32], _ options: GenerationOptions = GenerationOptions()
  ) throws(SwiftletError) -> Generation {
    try generate(GenerationRequest(prompt, options))
  }

  /// Begins an answer; `Generation.next` does the work.
  ///
  /// - Throws: `.invalidConfiguration` when the prompt is empty or longer than the context, or an option is out of
  ///   range; `.mismatch` when it holds tokens that the model does not know; `.notFound` when its adapter is not loaded.
  public func generate(_ request: GenerationRequest) throws(SwiftletError) -> Generation {
    let answer = Generation(self, prompt: request.prompt)
    answer.sequence = try submit(request) { [weak answer] in answer?.take($0) }
    return answer
  }

  /// The logits, (vocabulary), of the token that follows `tokens`.
  ///
  /// - Throws: as `generate` does, or `.outOfMemory`.
  public func logits(after tokens: [Int32]) throws(SwiftletError) -> [Float] {
    var result: Result<[Float], SwiftletError>?
    let sequence = try submit(GenerationRequest(tokens), onlyLogits: true) { delivery in
      switch delivery {
      case .success(.logits(let logits)): result = .success(logits)
      case .success(.token): break
      case .failure(let error): result = .failure(error)
      }
    }
    while !sequence.isFinished { try step() }
    guard let result else { return [] }
    return try result.get()
  }

  /// Takes a request on; `deliver` is called from `step` for every token.
  func submit(
    _ request: GenerationRequest, onlyLogits: Bool = false,
    deliver: @escaping (Result<TokenSequence.Delivery, SwiftletError>) -> Void
  ) throws(SwiftletError) -> TokenSequence {
    try facts.checks.check(request)
    submitted += 1
    let sequence = TokenSequence(
      request, number: submitted, adapter: try adapterNumber(request.adapter),
      AnswerText(request.options, tokenizer), onlyLogits: onlyLogits,
      deliver: deliver)
    waiting.append(sequence)
    return sequence
  }

  private func adapterNumber(_ name: String?) throws(SwiftletError) -> Int32 {
    guard let name else { return 0 }
    guard let adapter = adapters.first(where: { $0.name == name }) else {
      throw SwiftletError(
        .notFound, "there is no adapter '\(name)'",
        remedy: adapters.isEmpty
          ? "None is loaded." : "Loaded are: \(adapterNames.joined(separator: ", ")).")
    }
    return adapter.number
  }

  // MARK: Steps

  /// Whether there is anything to do.
  public var isIdle: Bool { waiting.isEmpty && running.isEmpty }

  /// What goes on now.
  public var load: GeneratorLoad {
    GeneratorLoad(
      running: running.count, waiting: waiting.count, pagesInUse: pool.held, pages: pool.limit,
      pageSize: pool.pageSize, bytesPerPage: pool.bytesPerPage)
  }

  /// Takes a piece of a prompt, several whole ones, or a token of every answer, through the model. Nothing happens when nothing is
  /// to do.
  ///
  /// - Throws: what failed on the device: no request can go on. What concerns one request ends that one.
  public func step() throws(SwiftletError) {
    removeFinished()
    admit()
    let work = nextWork()
    guard !work.isEmpty else { return }
    promptRows = work[0].sequence.isDecoding ? 0 : work.reduce(promptRows) { $0 + cost(of: $1.rows) }
    let start = ContinuousClock.now
    let samples = try runner.run(work)
    let seconds = (ContinuousClock.now - start) / .seconds(1)
    for item in work {
      item.sequence.computed = item.rows.upperBound
      item.sequence.countTime(seconds)
      if settings.reusesPrefixes { remember(item.sequence) }
    }
    for (item, sample) in zip(work.lazy.filter(\.isSampled), samples) { take(sample, for: item.sequence) }
    removeFinished()
  }

  /// Ends all requests with `error`.
  func fail(_ error: SwiftletError) {
    for sequence in running + waiting where !sequence.isFinished { sequence.fail(error) }
    removeFinished()
  }

  private func take(_ sample: ModelRunner.Sample, for sequence: TokenSequence) {
    totals.newTokens += 1
    if sequence.onlyLogits {
      sequence.finish(logits: sample.logits ?? [])
    } else {
      sequence.append(
        sample.token, logProbability: sample.logProbability, logits: sample.logits,
        contextLength: contextLength)
    }
  }

  private func removeFinished() {
    func isOver(_ sequence: TokenSequence) -> Bool { sequence.isFinished || sequence.isCancelled }
    // Asked once: others may cancel meanwhile, and what leaves must have given its pages back.
    let ended = running.filter(isOver)
    for sequence in ended { giveBack(sequence) }
    running.removeAll { sequence in ended.contains { $0 === sequence } }
    waiting.removeAll(where: isOver)
  }

  private func giveBack(_ sequence: TokenSequence) {
    pool.release(sequence.pages)
    sequence.lose()
  }

  /// Lets the first that wait begin when there is room for them, with the pages that are known already.
  private func admit() {
    while running.count < settings.maxSequences, let sequence = waiting.first {
      let needed = pool.pages(for: sequence.tokens.count + 1)
      guard needed <= pool.available || running.isEmpty else { return }
      if settings.reusesPrefixes {
        sequence.pages = pool.takeKnown(sequence.tokens, root: root(sequence))
        sequence.computed = sequence.pages.count * pool.pageSize
        sequence.remembered = sequence.pages.count
        sequence.countReused(sequence.computed)
        totals.reusedTokens += sequence.computed
      }
      waiting.removeFirst()
      running.append(sequence)
    }
  }

  /// Prompts, `prefillRows` of their tokens at most, and answers in turn.
  private func nextWork() -> [ModelRunner.Work] {
    if let piece = nextPiece, promptRows == 0 || promptRows + cost(of: piece.rows) <= settings.prefillRows,
      let work = promptWork(piece)
    {
      return [work] + promptsBeside(work)
    }
    let answers = answerWork()
    return answers.isEmpty ? nextPiece.flatMap(promptWork).map { [$0] } ?? [] : answers
  }

  /// The prompts that follow `first` while all are whole, share the weights, are no more than `prefillRows` and there are pages: what
  /// comes out for each is what would come out alone.
  private func promptsBeside(_ first: ModelRunner.Work) -> [ModelRunner.Work] {
    func isWhole(_ sequence: TokenSequence) -> Bool {
      sequence.computed == 0 && sequence.tokens.count <= settings.prefillRows
        && runner.sharesWeights(sequence.tokens.count)
    }
    guard isWhole(first.sequence) else { return [] }
    var work: [ModelRunner.Work] = []
    var rows = promptRows + runner.filledRows(first.rows.count)
    let preemptions = totals.preemptions
    for sequence in running where !sequence.isDecoding && sequence !== first.sequence {
      let tokens = 0..<sequence.tokens.count
      rows += runner.filledRows(tokens.count)
      // A row of each goes through the last layer together: as many as `fewRows` takes.
      guard isWhole(sequence), rows <= settings.prefillRows, work.count < 63,
        pool.pages(for: tokens.count) - sequence.pages.count <= pool.available,
        let next = promptWork((sequence, tokens))
      else { break }
      work.append(next)
      // The device had less memory than the pool had pages: who gave its own back may be among those that follow.
      if totals.preemptions != preemptions { break }
    }
    return work
  }

  /// A short piece reads all weights, too, and takes as long as one of some rows.
  private func cost(of rows: Range<Int>) -> Int { max(rows.count, 128) }

  /// Of the first prompt that is not computed yet. What it is does not depend on other requests, whose results would else depend
  /// on each other.
  private var nextPiece: (sequence: TokenSequence, rows: Range<Int>)? {
    running.first { !$0.isDecoding }.map {
      ($0, $0.computed..<min($0.computed + settings.prefillRows, $0.tokens.count))
    }
  }

  private func promptWork(_ piece: (sequence: TokenSequence, rows: Range<Int>)) -> ModelRunner.Work? {
    let (sequence, rows) = piece
    guard makeRoom(for: sequence, upTo: rows.upperBound) else { return nil }
    totals.promptTokens += rows.count
    return ModelRunner.Work(
      sequence: sequence, rows: rows, isSampled: rows.upperBound == sequence.tokens.count)
  }

  private func answerWork() -> [ModelRunner.Work] {
    var work: [ModelRunner.Work] = []
    for sequence in running where sequence.isDecoding {
      guard makeRoom(for: sequence, upTo: sequence.tokens.count) else { continue }
      work.append(
        ModelRunner.Work(
          sequence: sequence, rows: sequence.computed..<sequence.tokens.count, isSampled: true))
    }
    // Some may have given their pages to others meanwhile.
    return work.filter { $0.sequence.computed == $0.rows.lowerBound }
  }

  /// Gives `sequence` pages for its first `count` tokens. Those that came after it give theirs for it and start over later; it does
  /// so itself when it is the last.
  ///
  /// - Returns: whether it can go on now.
  private func makeRoom(for sequence: TokenSequence, upTo count: Int) -> Bool {
    while sequence.pages.count < pool.pages(for: count) {
      if let page = pool.take() {
        sequence.pages.append(page)
        continue
      }
      guard running.count > 1, let last = running.max(by: { $0.number < $1.number }) else {
        sequence.fail(
          SwiftletError(
            .outOfMemory,
            "the cache of keys and values holds \(pool.limit * pool.pageSize) tokens, the request has \(count)",
            remedy: "Give the cache more memory, or shorten the prompt."))
        return false
      }
      totals.preemptions += 1
      giveBack(last)
      running.removeAll { $0 === last }
      waiting.insert(last, at: 0)
      if last === sequence { return false }
    }
    return true
  }

  /// Tells the pool what the sequence's full pages hold.
  private func remember(_ sequence: TokenSequence) {
    while (sequence.remembered + 1) * pool.pageSize <= sequence.computed {
      let index = sequence.remembered
      let tokens = sequence.tokens[index * pool.pageSize..<(index + 1) * pool.pageSize]
      pool.remember(
        sequence.pages[index], tokens: tokens, after: index > 0 ? sequence.pages[index - 1] : nil,
        root: root(sequence))
      sequence.remembered += 1
    }
  }

  private func root(_ sequence: TokenSequence) -> Int { -Int(sequence.adapter) }
}

/// What a generator has done.
public struct GeneratorTotals: Sendable, Equatable {
  /// Of prompts, tokens that went through the model, and tokens that need not.
  public internal(set) var promptTokens = 0
  public internal(set) var reusedTokens = 0
  public internal(set) var newTokens = 0
  /// How often a request had to give its pages to another.
  public internal(set) var preemptions = 0
}

/// What a generator has to do.
public struct GeneratorLoad: Sendable, Equatable {
  public let running: Int
  public let waiting: Int
  /// Pages of keys and values that requests hold, and that there may be.
  public let pagesInUse: Int
  public let pages: Int
  /// Tokens of a page.
  public let pageSize: Int
  public let bytesPerPage: Int
}
