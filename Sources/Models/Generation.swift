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
  /// (1, T), i32: each row's adapter, when the model has several: see `AdapterSet`.
  public var adapters: Tensor

  /// Whether each row is a sequence's next.
  var isDecoding: Bool { sequences.queries == 1 }

  public init(
    positions: Tensor, rotary: RotaryTable, slots: Tensor, sequences: PagedSequences, pages: [KeyValuePages],
    adapters: Tensor
  ) {
    self.positions = positions
    self.rotary = rotary
    self.slots = slots
    self.sequences = sequences
    self.pages = pages
    self.adapters = adapters
  }
}

extension Decoder {
  /// The hidden states of all rows after the last block, (T, C): see `logits(_:_:_:compute:)`. Keys and values go to their
  /// pages.
  public func hidden(_ ids: Tensor, _ rows: GenerationRows, _ s: Step, compute dtype: DType) -> Tensor {
    var x = s.embedding(ids, embedding, dtype: dtype.arithmetic)
    for block in blocks { x = block.forward(x, rows, s, compute: dtype) }
    return x
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
  /// `forward` without what backward needs, for rows whose earlier keys and values are in pages.
  func forward(_ x: Tensor, _ rows: GenerationRows, _ s: Step, compute: DType) -> Tensor {
    let n1 = self.qkv.makeInput(x.rows, compute, s)
    _ = s.rmsNorm(x, inputNorm.weight, epsilon: inputNorm.epsilon, output: compute, into: n1.main)
    let qkv = self.qkv.generate(n1, adapters: rows.adapters, isDecoding: rows.isDecoding, s)
    let heads = normaliseHeads(qkv, s)
    let (q, k) = (heads?.q ?? qkv.columns(queries), heads?.k ?? qkv.columns(keys))
    s.rotateIntoPages(
      q: q, k: k, v: qkv.columns(values), positions: rows.positions, rows.rotary, slots: rows.slots,
      rows.pages[layer])
    let mix = output.makeInput(x.rows, compute, s)
    s.attention(q, rows.pages[layer], attention, rows.sequences, into: mix.main)
    let middle = output.generate(mix, adapters: rows.adapters, isDecoding: rows.isDecoding, s, adding: x)

    let n2 = gateUp.makeInput(x.rows, compute, s)
    _ = s.rmsNorm(
      middle, postAttentionNorm.weight, epsilon: postAttentionNorm.epsilon, output: compute, into: n2.main)
    let activated = down.makeInput(x.rows, compute, s)
    _ = gateUp.generate(
      n2, adapters: rows.adapters, isDecoding: rows.isDecoding, s, activation: activation,
      into: activated.main)
    return down.generate(activated, adapters: rows.adapters, isDecoding: rows.isDecoding, s, adding: middle)
  }
}

extension Linear {
  /// `forward` for generation: rows may be of several adapters, and where they are few the weights are read only once.
  ///
  /// - Parameters:
  ///   - adapters: (1, T), i32: the rows' adapters.
  ///   - isDecoding: whether each row is a sequence's next.
  ///   - activation: of the first of two parts: y is then act(gate) * up.
  ///   - into: where y is written, with an activation.
  func generate(
    _ input: Operand, adapters: Tensor, isDecoding: Bool, _ s: Step, adding residual: Tensor? = nil,
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
