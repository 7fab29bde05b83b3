import Basics
import Compute
import Models
import Text

/// A model that continues token sequences, one at a time.
///
/// It remembers the keys and values of the tokens it saw last. A sequence that starts as those do, like the next
/// turn of a conversation, is computed only from where it differs: the cache decides how fast an answer comes, never
/// what it is. Belongs to one thread at a time, as its backend does.
///
/// ```swift
/// let generator = try Generator(model, tokenizer: tokenizer, on: backend)
/// var answer = try generator.generate(tokenizer.encode("The capital of France is"))
/// while let token = try answer.next() { print(token.text, terminator: "") }
/// ```
public final class Generator {
  public let model: Decoder
  public let tokenizer: Tokenizer?
  /// The most tokens that the model sees: a prompt, and all of its answer but the last token.
  public let contextLength: Int

  private let backend: any Backend
  private let compute: DType
  private let prefillRows: Int
  private let rotary: RotaryTable
  private let cache: KeyValueCache
  /// The tokens of the cache's rows.
  private var cached: [Int32] = []
  private let inputs: Inputs
  private let logits: HostRow
  /// Plans of the steps that recur: one token, and a whole chunk of a prompt.
  private var plans: [StepShape: Plan] = [:]
  private var arena: Buffer

  /// - Parameters:
  ///   - model: adapters that are attached to it take part.
  ///   - tokenizer: without it, answers have no text.
  ///   - compute: the type of activations, keys and values.
  ///   - contextLength: at most the model's own, which it is when nil. Memory for keys and values grows with use.
  ///   - prefillRows: how many tokens of a prompt go through the model at once: more take more memory.
  /// - Throws: `.outOfMemory`, or `.invalidConfiguration` for a size that is out of range.
  public init(
    _ model: Decoder, tokenizer: Tokenizer? = nil, on backend: any Backend, compute: DType = .f32,
    contextLength: Int? = nil, prefillRows: Int = 512
  ) throws {
    let contextLength = min(contextLength ?? .max, model.spec.maximumPositions)
    guard contextLength > 0, prefillRows > 0 else {
      throw SwiftletError(.invalidConfiguration, "context length and prefill rows must be at least 1")
    }
    self.model = model
    self.tokenizer = tokenizer
    self.contextLength = contextLength
    self.backend = backend
    self.compute = compute
    self.prefillRows = prefillRows
    rotary = try model.spec.rotary.table(positions: contextLength, headSize: model.spec.headSize, on: backend)
    cache = KeyValueCache(model.spec, dtype: compute, on: backend)
    inputs = try Inputs(rows: min(prefillRows, contextLength), on: backend)
    logits = try HostRow(columns: model.spec.vocabularySize, on: backend)
    arena = try backend.allocate(bytes: 0)
  }

  /// Begins an answer to `prompt`; `Generation.next` does the work.
  ///
  /// - Throws: `.invalidConfiguration` when the prompt is empty or longer than the context, or an option is out of
  ///   range; `.mismatch` when it holds tokens that the model does not know.
  public func generate(
    _ prompt: [Int32], _ options: GenerationOptions = GenerationOptions()
  ) throws(SwiftletError) -> Generation {
    try check(prompt)
    return try Generation(of: self, prompt, options)
  }

  /// The logits, (vocabulary), of the token that follows `tokens`.
  ///
  /// - Throws: as `generate` does, or `.outOfMemory`.
  public func logits(after tokens: [Int32]) throws(SwiftletError) -> [Float] {
    try check(tokens)
    let known = reusable(tokens)
    cache.truncate(to: known)
    cached.removeLast(cached.count - known)
    try cache.reserve(tokens.count)
    for start in stride(from: known, to: tokens.count, by: prefillRows) {
      let end = min(start + prefillRows, tokens.count)
      try run(tokens[start..<end], isLast: end == tokens.count)
    }
    return try logits.floats(on: backend)
  }

  /// How many tokens need not be computed again: the common start of `tokens` and what is cached, without the last
  /// token, whose logits are wanted.
  func reusable(_ tokens: [Int32]) -> Int {
    let most = min(cached.count, tokens.count - 1)
    return (0..<most).first { cached[$0] != tokens[$0] } ?? most
  }

  private func check(_ tokens: [Int32]) throws(SwiftletError) {
    guard !tokens.isEmpty else {
      throw SwiftletError(
        .invalidConfiguration, "the prompt is empty",
        remedy: "A model continues at least one token, such as its begin-of-text token.")
    }
    guard tokens.count <= contextLength else {
      throw SwiftletError(
        .invalidConfiguration, "the prompt has \(tokens.count) tokens, the context \(contextLength)",
        remedy: contextLength < model.spec.maximumPositions
          ? "The model's own context has \(model.spec.maximumPositions): ask for more of it, or shorten the prompt."
          : "The model was made for no more: shorten the prompt.")
    }
    let vocabulary = 0..<Int32(model.spec.vocabularySize)
    if let stranger = tokens.first(where: { !vocabulary.contains($0) }) {
      throw SwiftletError(
        .mismatch,
        "the prompt holds token \(stranger), the model's vocabulary has \(vocabulary.count) tokens",
        remedy: "Use the tokenizer that came with the model.")
    }
  }

  // MARK: Steps

  /// What a step's plan depends on.
  private struct StepShape: Hashable {
    var rows: Int
    var hasLogits: Bool
    /// Whether the cache holds rows before these: a device may have other attention, with other memory, where keys are
    /// as many as queries.
    var hasPast: Bool
  }

  /// Takes `tokens` into the cache; of the last chunk of a sequence leaves the last row's logits.
  private func run(_ tokens: ArraySlice<Int32>, isLast: Bool) throws(SwiftletError) {
    let shape = StepShape(rows: tokens.count, hasLogits: isLast, hasPast: cache.count > 0)
    try inputs.set(tokens, at: cache.count, on: backend)
    let plan = plans[shape] ?? Step.plan(on: backend) { forward(shape, $0) }
    if shape.rows == 1 || shape.rows == prefillRows { plans[shape] = plan }
    if arena.count < plan.bytes { arena = try backend.allocate(bytes: plan.bytes) }
    Step.run(plan, in: arena, on: backend) { forward(shape, $0) }
    cache.advance(by: shape.rows)
    cached += tokens
  }

  private func forward(_ shape: StepShape, _ s: Step) {
    let (ids, rows) = inputs.rows(shape.rows, rotary, longest: contextLength)
    let hidden = model.hidden(ids, rows, s, compute: compute, cache: cache)
    guard shape.hasLogits else { return }
    s.copy(model.logits(hidden.rows(shape.rows - 1..<shape.rows), s), into: logits.tensor)
  }
}

/// What a step reads besides the model: the host writes it before, so that one plan serves all steps of a shape.
private struct Inputs {
  private let ids: Tensor  // (1, rows), i32
  private let positions: Tensor  // (1, rows), i32
  private let segments: Tensor  // (1, 4), i32
  private let memory: Buffer

  init(rows: Int, on backend: any Backend) throws(SwiftletError) {
    let size = DType.i32.size
    memory = try backend.allocate(bytes: (2 * rows + 4) * size)
    segments = Tensor(memory, rows: 1, columns: 4, dtype: .i32)
    ids = Tensor(memory, offset: 4 * size, rows: 1, columns: rows, dtype: .i32)
    positions = Tensor(memory, offset: (4 + rows) * size, rows: 1, columns: rows, dtype: .i32)
  }

  /// `tokens` stand at positions from `start` on and see everything before them.
  func set(_ tokens: ArraySlice<Int32>, at start: Int, on backend: any Backend) throws(SwiftletError) {
    let segment = [0, tokens.count, 0, start + tokens.count].map(Int32.init)
    try segments.write(segment, on: backend)
    try ids.columns(0..<tokens.count).write(Array(tokens), on: backend)
    let places = (start..<start + tokens.count).map(Int32.init)
    try positions.columns(0..<tokens.count).write(places, on: backend)
  }

  func rows(_ count: Int, _ rotary: RotaryTable, longest: Int) -> (ids: Tensor, rows: Rows) {
    let segments = Segments(table: segments, longest: longest)
    return (
      ids.columns(0..<count),
      Rows(positions: positions.columns(0..<count), segments: segments, rotary: rotary)
    )
  }
}

/// A row of results that outlives its step.
private struct HostRow {
  let tensor: Tensor  // (1, columns), f32
  private let memory: Buffer

  init(columns: Int, on backend: any Backend) throws(SwiftletError) {
    memory = try backend.allocate(bytes: columns * DType.f32.size)
    tensor = Tensor(memory, rows: 1, columns: columns, dtype: .f32)
  }

  func floats(on backend: any Backend) throws(SwiftletError) -> [Float] { try tensor.read(on: backend) }
}
