import Compute

/// What a pass over the rows of several sequences must know, during generation.
public struct GenerationRows {
  /// (1, T), i32
  public var positions: Tensor
  public var rotary: RotaryTable
  /// (1, T), i32: where each row's keys and values go; negative for rows that only fill up the step.
  public var slots: Tensor
  public var sequences: PagedSequences
  /// One entry a layer.
  public var pages: [KeyValuePages]
  /// The sequences one after the other where the rows are all that they have, and attention to rows side by side is the
  /// faster: see `Backend.attendsFasterOutsidePages`. Empty elsewhere.
  public var prompts: [Prompt]
  /// (1, T), i32: each row's adapter; nil when all have the model's only one.
  public var adapters: Tensor?
  /// How many rows are wanted after the last block: the last ones, or each of several prompts' last.
  public var wanted: Int
  /// (1, wanted), i32: their adapters.
  public var wantedAdapters: Tensor?

  /// All rows of one sequence. What comes out for it is what would come out if it were alone.
  public struct Prompt {
    public let rows: Range<Int>
    /// The sequence, counted from the first of these rows on.
    public let segment: Segments

    public init(rows: Range<Int>, segment: Segments) {
      self.rows = rows
      self.segment = segment
    }
  }

  /// Whether each row is a sequence's next.
  var isDecoding: Bool { sequences.queries == 1 }

  /// Rows that products take for themselves, for a product's rows may depend on how many there are; empty when it is all.
  var pieces: [Range<Int>] { prompts.count > 1 ? prompts.map(\.rows) : [] }

  /// The same for the wanted rows alone.
  func ofWanted() -> GenerationRows {
    var rows = self
    (rows.adapters, rows.prompts) = (wantedAdapters, [])
    return rows
  }

  public init(
    positions: Tensor, rotary: RotaryTable, slots: Tensor, sequences: PagedSequences,
    prompts: [Prompt] = [], pages: [KeyValuePages], adapters: Tensor?, wanted: Int, wantedAdapters: Tensor?
  ) {
    self.positions = positions
    self.rotary = rotary
    self.slots = slots
    self.sequences = sequences
    self.prompts = prompts
    self.pages = pages
    self.adapters = adapters
    self.wanted = wanted
    self.wantedAdapters = wantedAdapters
  }
}

extension Decoder {
  /// The hidden states of the rows that are wanted after the last block, (wanted, C): see `logits(_:_:_:compute:)`. Keys
  /// and values of all go to their pages.
  ///
  /// - Returns: nil when none is wanted.
  public func hidden(_ ids: Tensor, _ rows: GenerationRows, _ s: Step, compute dtype: DType) -> Tensor? {
    var x = s.embedding(ids, embedding, dtype: dtype.arithmetic)
    for block in blocks.dropLast() { x = block.forward(x, rows, s, compute: dtype) }
    guard rows.wanted > 0 else {
      _ = blocks.last?.query(x, rows, s, compute: dtype)
      return nil
    }
    return blocks.last?.forward(x, rows, isLast: true, s, compute: dtype)
  }

  /// Logits for rows x of such hidden states, (n, C) to (n, vocabulary), in the arithmetic type.
  ///
  /// - Parameter adapters: (1, n), i32: the rows' adapters.
  public func logits(_ x: Tensor, adapters: Tensor, _ s: Step, compute dtype: DType) -> Tensor {
    let hidden = head.makeInput(x.rows, dtype, s)
    _ = s.rmsNorm(x, finalNorm.weight, epsilon: finalNorm.epsilon, output: dtype, into: hidden.main)
    return head.generate(
      hidden, adapters: adapters, isDecoding: true, pieces: [], s, output: dtype.arithmetic)
  }

  /// Whether prompts of so many rows each may go through the model together, at less cost than one by one as merged layers'
  /// weights are expanded once for all of them, and each gets what it gets alone: outside pages, by products of its own, and
  /// at the end, where there is a row of each, by `fewRows`.
  public func sharesWeights(amongPromptsOf rows: Int, on backend: any Backend) -> Bool {
    backend.attendsFasterOutsidePages && backend.mergesLinears && rows >= 64
      && linears.allSatisfy {
        let layer = self[keyPath: $0.path].expansion
        return backend.servesFewRows(layer, rows: 1, isDecoding: false)
          && !backend.servesFewRows(layer, rows: rows, isDecoding: false)
      }
  }
}

extension Block {
  /// `forward` without what backward needs, for rows whose earlier keys and values are in pages: (T, C) to (T, C).
  ///
  /// - Parameter isLast: whether only the wanted rows matter: to (wanted, C).
  func forward(_ x: Tensor, _ rows: GenerationRows, isLast: Bool = false, _ s: Step, compute: DType) -> Tensor
  {
    var (x, rows, mix) = (x, rows, attend(x, rows, s, compute: compute))
    if isLast {
      (mix, x) = wanted(mix, x, rows, s)
      rows = rows.ofWanted()
    }
    let middle = output.generate(mix, rows, s, adding: x)

    let n2 = gateUp.makeInput(x.rows, compute, s)
    _ = s.rmsNorm(
      middle, postAttentionNorm.weight, epsilon: postAttentionNorm.epsilon, output: compute, into: n2.main)
    let activated = down.makeInput(x.rows, compute, s)
    _ = gateUp.generate(n2, rows, s, activation: activation, into: activated.main)
    return down.generate(activated, rows, s, adding: middle)
  }

  /// The wanted rows of attention's result and of x.
  private func wanted(
    _ mix: Linear.Operand, _ x: Tensor, _ rows: GenerationRows, _ s: Step
  ) -> (mix: Linear.Operand, x: Tensor) {
    guard rows.prompts.count > 1 else {
      let last = x.rows - rows.wanted..<x.rows
      return (mix.rows(last), x.rows(last))
    }
    precondition(rows.wanted == rows.prompts.count)
    let taken = output.makeInput(rows.wanted, mix.main.dtype, s)
    let residual = s.make(rows.wanted, x.columns, x.dtype)
    for (index, prompt) in rows.prompts.enumerated() {
      let last = prompt.rows.upperBound - 1..<prompt.rows.upperBound
      s.copy(mix.main.rows(last), into: taken.main.rows(index..<index + 1))
      s.copy(x.rows(last), into: residual.rows(index..<index + 1))
    }
    return (taken, residual)
  }

  /// attention(q, k, v), (T, C) to (T, H D).
  private func attend(_ x: Tensor, _ rows: GenerationRows, _ s: Step, compute: DType) -> Linear.Operand {
    let (q, k, v) = query(x, rows, s, compute: compute)
    let mix = output.makeInput(x.rows, compute, s)
    guard !rows.prompts.isEmpty else {
      s.attention(q, rows.pages[layer], attention, rows.sequences, into: mix.main)
      return mix
    }
    s.rotate(k, positions: rows.positions, rows.rotary)
    for prompt in rows.prompts {
      _ = s.attention(
        q.rows(prompt.rows), k.rows(prompt.rows), v.rows(prompt.rows), attention, prompt.segment,
        into: mix.main.rows(prompt.rows))
    }
    return mix
  }

  /// q, rotated, and k and v as they go to their pages, but k is rotated only there.
  func query(
    _ x: Tensor, _ rows: GenerationRows, _ s: Step, compute: DType
  ) -> (q: Tensor, k: Tensor, v: Tensor) {
    let n1 = self.qkv.makeInput(x.rows, compute, s)
    _ = s.rmsNorm(x, inputNorm.weight, epsilon: inputNorm.epsilon, output: compute, into: n1.main)
    let qkv = self.qkv.generate(n1, rows, s)
    let heads = normaliseHeads(qkv, s)
    let (q, k) = (heads?.q ?? qkv.columns(queries), heads?.k ?? qkv.columns(keys))
    let v = qkv.columns(values)
    s.rotateIntoPages(
      q: q, k: k, v: v, positions: rows.positions, rows.rotary, slots: rows.slots, rows.pages[layer])
    return (q, k, v)
  }
}

extension Linear {
  /// `forward` for generation: rows may be of several adapters, and where they are few the weights are read only once.
  ///
  /// - Parameters:
  ///   - activation: of the first of two parts: y is then act(gate) * up.
  ///   - into: where y is written, with an activation.
  func generate(
    _ input: Operand, _ rows: GenerationRows, _ s: Step, adding residual: Tensor? = nil,
    activation: Activation? = nil, into: Tensor? = nil
  ) -> Tensor {
    generate(
      input, adapters: rows.adapters, isDecoding: rows.isDecoding, pieces: rows.pieces, s, adding: residual,
      activation: activation, into: into)
  }

  /// - Parameters:
  ///   - adapters: (1, T), i32: the rows' adapters; nil when all have the model's only one.
  ///   - isDecoding: whether each row is a sequence's next.
  ///   - pieces: see `forward`.
  fileprivate func generate(
    _ input: Operand, adapters: Tensor?, isDecoding: Bool, pieces: [Range<Int>], _ s: Step,
    adding residual: Tensor? = nil, output: DType? = nil, activation: Activation? = nil, into: Tensor? = nil
  ) -> Tensor {
    let expansion = expansion
    guard s.backend.servesFewRows(expansion, rows: input.main.rows, isDecoding: isDecoding) else {
      let y = forward(input, s, adding: residual, adapters: adapters, output: output, pieces: pieces)
      guard let activation else { return y }
      return s.gatedActivation(
        activation, gate: y.columns(columns[0]), up: y.columns(columns[1]), into: into)
    }
    if let down, let h = input.side {
      // A kernel for other formats would let the next begin before x has come (few_rows_nf4.cu).
      precondition(down.weight.format == .f32, "adapters are float32")
      s.fewRows(
        input.main, LinearExpansion([LinearExpansion.Part(weight: down.weight, up: nil)], down: nil),
        selecting: selection(adapters), into: h)
    }
    return s.fewRows(
      input.main, h: input.side, expansion, biases: parts.map(\.bias), activation: activation,
      adding: residual,
      output: output, into: into)
  }

  /// Which columns of h rows of such adapters keep; nil for all.
  func selection(_ adapters: Tensor?) -> AdapterSelection? {
    guard let adapters, let owners = down?.owners else { return nil }
    return AdapterSelection(owners: owners.table, adapters: adapters)
  }
}

extension Decoder {
  /// Bytes of weights and adapters that a decoding step reads: all but the embedding, of which it reads some rows.
  public var generationBytes: Int {
    linears.reduce(0) { sum, linear in
      let linear = self[keyPath: linear.path]
      return linear.parts.reduce(sum + (linear.down?.weight.bytes ?? 0)) {
        $0 + $1.weight.bytes + ($1.adapter?.up.bytes ?? 0)
      }
    }
  }
}
