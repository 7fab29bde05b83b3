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
  /// The same sequences where the rows are all that they have, and attention to rows side by side is the faster: see
  /// `Backend.attendsFasterOutsidePages`.
  public var wholeSequences: Segments?
  /// (1, T), i32: each row's adapter; nil when all have the model's only one.
  public var adapters: Tensor?
  /// How many rows, the last ones, are wanted after the last block.
  public var wanted: Int

  /// Whether each row is a sequence's next.
  var isDecoding: Bool { sequences.queries == 1 }

  public init(
    positions: Tensor, rotary: RotaryTable, slots: Tensor, sequences: PagedSequences,
    wholeSequences: Segments? = nil, pages: [KeyValuePages], adapters: Tensor?, wanted: Int
  ) {
    self.positions = positions
    self.rotary = rotary
    self.slots = slots
    self.sequences = sequences
    self.wholeSequences = wholeSequences
    self.pages = pages
    self.adapters = adapters
    self.wanted = wanted
  }
}

extension Decoder {
  /// The hidden states of the rows that are wanted after the last block, (wanted, C): see `logits(_:_:_:compute:)`. Keys
  /// and values of all go to their pages.
  ///
  /// - Returns: nil when none is wanted.
  public func hidden(_ ids: Tensor, _ rows: GenerationRows, _ s: Step, compute dtype: DType) -> Tensor? {
    var x = s.embedding(ids, embedding, dtype: dtype.arithmetic)
    for block in blocks.dropLast() { x = block.forward(x, rows, wanted: x.rows, s, compute: dtype) }
    guard rows.wanted > 0 else {
      _ = blocks.last?.query(x, rows, s, compute: dtype)
      return nil
    }
    return blocks.last?.forward(x, rows, wanted: rows.wanted, s, compute: dtype)
  }

  /// Logits for rows x of such hidden states, (n, C) to (n, vocabulary), in the arithmetic type.
  ///
  /// - Parameter adapters: (1, n), i32: the rows' adapters.
  public func logits(_ x: Tensor, adapters: Tensor, _ s: Step, compute dtype: DType) -> Tensor {
    let hidden = head.makeInput(x.rows, dtype, s)
    _ = s.rmsNorm(x, finalNorm.weight, epsilon: finalNorm.epsilon, output: dtype, into: hidden.main)
    return head.generate(hidden, adapters: adapters, isDecoding: true, s, output: dtype.arithmetic)
  }
}

extension Block {
  /// `forward` without what backward needs, for rows whose earlier keys and values are in pages: (T, C) to (wanted, C).
  ///
  /// - Parameter wanted: how many rows, the last ones, are wanted of the result.
  func forward(_ x: Tensor, _ rows: GenerationRows, wanted: Int, _ s: Step, compute: DType) -> Tensor {
    let mix = attend(x, rows, s, compute: compute)
    let last = x.rows - wanted..<x.rows
    let adapters = rows.adapters?.columns(last)
    let middle = output.generate(
      mix.rows(last), adapters: adapters, isDecoding: rows.isDecoding, s, adding: x.rows(last))

    let n2 = gateUp.makeInput(wanted, compute, s)
    _ = s.rmsNorm(
      middle, postAttentionNorm.weight, epsilon: postAttentionNorm.epsilon, output: compute, into: n2.main)
    let activated = down.makeInput(wanted, compute, s)
    _ = gateUp.generate(
      n2, adapters: adapters, isDecoding: rows.isDecoding, s, activation: activation, into: activated.main)
    return down.generate(activated, adapters: adapters, isDecoding: rows.isDecoding, s, adding: middle)
  }

  /// attention(q, k, v), (T, C) to (T, H D).
  private func attend(_ x: Tensor, _ rows: GenerationRows, _ s: Step, compute: DType) -> Linear.Operand {
    let (q, k, v) = query(x, rows, s, compute: compute)
    let mix = output.makeInput(x.rows, compute, s)
    if let sequences = rows.wholeSequences {
      s.rotate(k, positions: rows.positions, rows.rotary)
      _ = s.attention(q, k, v, attention, sequences, into: mix.main)
    } else {
      s.attention(q, rows.pages[layer], attention, rows.sequences, into: mix.main)
    }
    return mix
  }

  /// q, rotated, and k and v as they go to their pages, but k is rotated only there.
  func query(
    _ x: Tensor, _ rows: GenerationRows, _ s: Step, compute: DType
  ) -> (q: Tensor, k: Tensor, v: Tensor) {
    let n1 = self.qkv.makeInput(x.rows, compute, s)
    _ = s.rmsNorm(x, inputNorm.weight, epsilon: inputNorm.epsilon, output: compute, into: n1.main)
    let qkv = self.qkv.generate(n1, adapters: rows.adapters, isDecoding: rows.isDecoding, s)
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
  ///   - adapters: (1, T), i32: the rows' adapters; nil when all have the model's only one.
  ///   - isDecoding: whether each row is a sequence's next.
  ///   - activation: of the first of two parts: y is then act(gate) * up.
  ///   - into: where y is written, with an activation.
  func generate(
    _ input: Operand, adapters: Tensor?, isDecoding: Bool, _ s: Step, adding residual: Tensor? = nil,
    output: DType? = nil,
    activation: Activation? = nil, into: Tensor? = nil
  ) -> Tensor {
    let expansion = expansion
    guard s.backend.servesFewRows(expansion, rows: input.main.rows, isDecoding: isDecoding) else {
      let y = forward(input, s, adding: residual, adapters: adapters, output: output)
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
