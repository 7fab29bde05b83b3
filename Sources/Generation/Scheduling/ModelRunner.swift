import Basics
import Compute
import Models

/// Takes rows of sequences through the model and samples their next tokens.
final class ModelRunner {
  /// Rows of one sequence, which go through the model together.
  struct Work {
    let sequence: TokenSequence
    /// Places of the rows' tokens in the sequence.
    let rows: Range<Int>
    /// Whether a token is sampled after the last.
    var isSampled: Bool
  }

  /// What came out for a piece of work that was sampled.
  struct Sample {
    let token: Int32
    let logProbability: Float
    /// (vocabulary), when the sequence wants them.
    let logits: [Float]?
  }

  var model: Decoder {
    didSet {
      forget()
      sharing = [:]
    }
  }
  let backend: any Backend
  let compute: DType
  /// Told how long each operation takes; steps are not recorded then.
  var timer: StepTimer?
  private let pool: PagePool
  private let rotary: RotaryTable
  /// By a prompt's rows: see `sharesWeights`.
  private var sharing: [Int: Bool] = [:]
  private var plans: [StepShape: Plan] = [:]
  /// Steps that came before, as one: see `Backend.record`. nil for shapes that came once.
  private var recordings: [StepShape: (any Recording)?] = [:]
  private var arena: Buffer
  private var inputs: Buffer
  private var outputs: Buffer
  private var words: [Int32] = []

  init(
    _ model: Decoder, _ pool: PagePool, contextLength: Int, compute: DType, on backend: any Backend
  ) throws(SwiftletError) {
    self.model = model
    self.pool = pool
    self.backend = backend
    self.compute = compute
    rotary = try model.spec.rotary.table(
      positions: contextLength, headSize: model.spec.headSize, on: backend)
    arena = try backend.allocate(bytes: 0)
    inputs = try backend.allocate(bytes: 4 << 10)
    outputs = try backend.allocate(bytes: 4 << 10)
  }

  private var vocabulary: Int { model.spec.vocabularySize }

  /// Plans and recordings hold addresses of the model's and of buffers.
  private func forget() {
    plans = [:]
    recordings = [:]
  }

  /// Whether a prompt of so many tokens, none of them computed yet, may go through the model together with others like it.
  func sharesWeights(_ tokens: Int) -> Bool {
    let rows = filledRows(tokens)
    if let known = sharing[rows] { return known }
    let shares = model.sharesWeights(amongPromptsOf: rows, on: backend)
    sharing[rows] = shares
    return shares
  }

  /// Rows that a step has for so many of a prompt's: the others only fill it up.
  func filledRows(_ count: Int) -> Int {
    // They cost a GPU nothing, the CPU as much as others.
    backend.hasHostMemory ? count : StepShape.bucket(count)
  }

  /// Runs `work`: a row each of several sequences, rows of one, or several prompts as a whole (`sharesWeights`).
  ///
  /// - Returns: an entry for each piece of work that is sampled.
  /// - Throws: `.outOfMemory`; what failed on the device.
  func run(_ work: [Work]) throws(SwiftletError) -> [Sample] {
    let edits = work.filter(\.isSampled).enumerated().flatMap { $1.sequence.edits(row: $0) }
    let shape = shape(work, edits: edits.count / LogitEditColumn.count)
    let layout = StepInputs.Layout(shape, pageSize: pool.pageSize, vocabulary: vocabulary)
    let outputBytes = 4 * shape.samples * (shape.keepsLogits ? 2 + vocabulary : 2)
    let plan = try prepare(shape, layout, outputBytes: outputBytes)
    fill(work, shape, layout)
    words.replace(edits, at: layout.edits.lowerBound)
    try writeInputs()
    try start(shape, layout, plan)
    return try read(work, shape)
  }

  // MARK: Shapes

  private func shape(_ work: [Work], edits: Int) -> StepShape {
    let rows = work.reduce(0) { $0 + $1.rows.count }
    let isDecoding = work.allSatisfy { $0.rows.count == 1 }
    let areSeveral = !isDecoding && work.count > 1
    precondition(!areSeveral || work.allSatisfy { $0.rows.lowerBound == 0 && $0.isSampled })
    let filled = areSeveral ? work.reduce(0) { $0 + filledRows($1.rows.count) } : filledRows(rows)
    let sequences = isDecoding ? filled : work.count
    let keys = work.map(\.rows.upperBound).max() ?? 1
    let sampled = work.filter(\.isSampled)
    let longest = StepShape.power(keys, least: 256)
    // In a decoding step selecting costs nothing, and a second recording memory.
    let selects = isDecoding || work.contains { $0.sequence.adapter != model.onlyAdapter }
    let isWhole =
      !isDecoding && work[0].rows.lowerBound == 0 && filled >= 64 && backend.attendsFasterOutsidePages
    return StepShape(
      rows: filled, sequences: sequences, queries: isDecoding ? 1 : filled,
      longest: pool.pages(for: longest) * pool.pageSize,
      samples: sampled.isEmpty ? 0 : isDecoding ? filled : sampled.count,
      keepsLogits: sampled.contains { $0.sequence.wantsLogits }, selectsAdapters: selects,
      prompts: areSeveral || isWhole ? work.map { filledRows($0.rows.count) } : [],
      edits: edits == 0 ? 0 : StepShape.power(edits, least: 64),
      masks: sampled.contains { $0.sequence.request.constraint != nil })
  }

  private func prepare(
    _ shape: StepShape, _ layout: StepInputs.Layout, outputBytes: Int
  ) throws(SwiftletError) -> Plan {
    if inputs.count < 4 * layout.words || outputs.count < outputBytes {
      forget()
      inputs = try backend.allocate(bytes: max(inputs.count, 8 * layout.words))
      outputs = try backend.allocate(bytes: max(outputs.count, outputBytes))
    }
    if let plan = plans[shape] { return plan }
    let plan = Step.plan(on: backend) { forward(shape, layout, $0) }
    if arena.count < plan.bytes {
      recordings = [:]
      arena = try backend.allocate(bytes: plan.bytes)
    }
    // Prompts are of any length: only the shapes that recur are worth keeping, which those of several do not.
    if shape.prompts.count > 1 { return plan }
    if plans.count >= 256 { forget() }
    plans[shape] = plan
    return plan
  }

  // MARK: Inputs

  private func fill(_ work: [Work], _ shape: StepShape, _ layout: StepInputs.Layout) {
    words = [Int32](repeating: 0, count: layout.words)
    for index in layout.slots { words[index] = -1 }
    for edit in 0..<shape.edits { words[layout.edits.lowerBound + edit * LogitEditColumn.count] = -1 }
    // Rows that are sampled are the last: fillers of a prompt's rows come first.
    let isDecoding = shape.queries == 1
    var (row, sample) = (0, 0)
    let pagesEach = shape.longest / pool.pageSize
    for (index, item) in work.enumerated() {
      let sequence = item.sequence
      let fillers =
        isDecoding ? 0 : (shape.prompts.isEmpty ? shape.rows : shape.prompts[index]) - item.rows.count
      let entry = layout.table.lowerBound + 4 * index
      // Of one sequence in attention, where several prompts go one by one.
      words[entry] = Int32(isDecoding ? row : fillers)
      words[entry + 1] = Int32(item.rows.count)
      words[entry + 2] = shape.prompts.isEmpty ? 0 : Int32(fillers)
      words[entry + 3] = Int32(item.rows.upperBound)
      let first = layout.pages.lowerBound + index * pagesEach
      for (offset, page) in sequence.pages.prefix(pagesEach).enumerated() { words[first + offset] = page }
      row += fillers
      for place in item.rows {
        words[layout.ids.lowerBound + row] = sequence.tokens[place]
        words[layout.positions.lowerBound + row] = Int32(place)
        words[layout.slots.lowerBound + row] =
          sequence.pages[place / pool.pageSize] * Int32(pool.pageSize) + Int32(place % pool.pageSize)
        words[layout.adapters.lowerBound + row] = sequence.adapter
        row += 1
      }
      guard item.isSampled else { continue }
      words[layout.sampledAdapters.lowerBound + sample] = sequence.adapter
      let (numbers, seed) = sequence.samplingWords
      words.replace(numbers, at: layout.numbers.lowerBound + sample * numbers.count)
      words.replace(seed, at: layout.seeds.lowerBound + sample * seed.count)
      if shape.masks {
        let all = [UInt32](repeating: .max, count: layout.masks.count / shape.samples)
        let mask = (sequence.mask ?? all).map { Int32(bitPattern: $0) }
        words.replace(mask, at: layout.masks.lowerBound + sample * mask.count)
      }
      sample += 1
    }
  }

  private func writeInputs() throws(SwiftletError) {
    try Tensor(inputs, rows: 1, columns: words.count, dtype: .i32).write(words, on: backend)
  }

  // MARK: The step

  private func forward(_ shape: StepShape, _ layout: StepInputs.Layout, _ s: Step) {
    let inputs = StepInputs(shape, layout, in: inputs)
    var (prompts, end): ([GenerationRows.Prompt], Int) = ([], 0)
    for (index, rows) in shape.prompts.enumerated() {
      let segment = Segments(table: inputs.table.rows(index..<index + 1), longest: rows)
      prompts.append(GenerationRows.Prompt(rows: end..<end + rows, segment: segment))
      end += rows
    }
    let rows = GenerationRows(
      positions: inputs.positions, rotary: rotary, slots: inputs.slots,
      sequences: PagedSequences(
        table: inputs.table, pages: inputs.pages, longest: shape.longest, queries: shape.queries),
      prompts: prompts, pages: pool.layers, adapters: shape.selectsAdapters ? inputs.adapters : nil,
      wanted: shape.samples, wantedAdapters: shape.selectsAdapters ? inputs.sampledAdapters : nil)
    guard let hidden = model.hidden(inputs.ids, rows, s, compute: compute) else { return }
    let logits = model.logits(hidden, adapters: inputs.sampledAdapters, s, compute: compute)
    if shape.keepsLogits { s.copy(logits, into: keptLogits(shape)) }
    var edited = logits
    if inputs.edits != nil || inputs.masks != nil { edited = s.convert(logits, to: .f32) }
    if let edits = inputs.edits { s.editLogits(edited, edits) }
    if let masks = inputs.masks { s.maskLogits(edited, masks) }
    s.sample(
      logits, edited: edited, numbers: inputs.numbers, seeds: inputs.seeds,
      tokens: Tensor(outputs, rows: 1, columns: shape.samples, dtype: .i32),
      logProbabilities: Tensor(
        outputs, offset: 4 * shape.samples, rows: 1, columns: shape.samples, dtype: .f32))
  }

  private func keptLogits(_ shape: StepShape) -> Tensor {
    Tensor(outputs, offset: 8 * shape.samples, rows: shape.samples, columns: vocabulary, dtype: .f32)
  }

  private func start(_ shape: StepShape, _ layout: StepInputs.Layout, _ plan: Plan) throws(SwiftletError) {
    if timer == nil, case .some(.some(let recording)) = recordings[shape] { return recording.start() }
    let isRecurring = shape.queries == 1 && recordings[shape] != nil && timer == nil
    if isRecurring {
      let recording: (any Recording)?
      do {
        recording = try backend.record { run(shape, layout, plan) }
      } catch let error as SwiftletError { throw error } catch { preconditionFailure("\(error)") }
      if let recording {
        recordings[shape] = .some(recording)
        return recording.start()
      }
    }
    run(shape, layout, plan)
    if shape.queries == 1 { recordings[shape] = .some(nil) }
  }

  private func run(_ shape: StepShape, _ layout: StepInputs.Layout, _ plan: Plan) {
    Step.run(plan, in: arena, on: backend, timer: timer) { forward(shape, layout, $0) }
  }

  // MARK: Outputs

  private func read(_ work: [Work], _ shape: StepShape) throws(SwiftletError) -> [Sample] {
    guard shape.samples > 0 else { return [] }
    let tokens: [Int32] = try Tensor(outputs, rows: 1, columns: 2 * shape.samples, dtype: .i32).read(
      on: backend)
    return try work.filter(\.isSampled).enumerated().map { index, item throws(SwiftletError) in
      Sample(
        token: tokens[index],
        logProbability: Float(bitPattern: UInt32(bitPattern: tokens[shape.samples + index])),
        logits: item.sequence.wantsLogits
          ? try keptLogits(shape).rows(index..<index + 1).read(on: backend) : nil)
    }
  }
}

extension [Int32] {
  /// Writes `values` over the elements from `start` on.
  fileprivate mutating func replace(_ values: [Int32], at start: Int) {
    for (offset, value) in values.enumerated() { self[start + offset] = value }
  }
}
