import Basics
import Compute

/// A linear layer, or several that share an input and are computed as one: q, k and v; gate and up.
///
/// Adapters, trainable weights and the weights' formats end here: a block sees one product.
public struct Linear {
  /// One of the layers that share the input.
  public struct Part {
    /// Path in Hugging Face's models: `model.layers.0.self_attn.q_proj`.
    public let name: String
    /// (out, in)
    public var weight: Weight
    /// (1, out), f32
    public var bias: Tensor?
    /// Where the weight's gradient is added, (out, in), when the weight itself is trained.
    public var weightGradient: Tensor?
    /// (1, out)
    public var biasGradient: Tensor?
    public var adapter: LowRank?

    public init(name: String, weight: Weight, bias: Tensor? = nil) {
      self.name = name
      self.weight = weight
      self.bias = bias
    }
  }

  /// The second half of a low-rank adapter: y += scale * h[:, columns] Bᵀ with h = dropout(x) Aᵀ (Hu et al.,
  /// arXiv:2106.09685, eq. 3).
  public struct LowRank {
    /// The columns of h that are this layer's: its rank.
    public var columns: Range<Int>
    /// B, (out, rank)
    public var up: Weight
    /// nil when it is not trained.
    public var upGradient: Tensor?
    public var scale: Float
  }

  /// The first halves of all parts' adapters: A, one above the other, (sum of ranks, in).
  public struct Down {
    public var weight: Weight
    /// nil when they are not trained.
    public var gradient: Tensor?
    public var dropout: Float
    /// nil when all rows have the one adapter.
    public var owners: Owners?
  }

  /// Which of several adapters each column of h is of.
  public struct Owners {
    /// (1, R), i32
    public let table: Tensor
    let memory: Buffer
  }

  public var parts: [Part]
  public var down: Down?
  /// Tells this layer's dropout mask from others'.
  public var dropoutLayer: UInt64 = 0
  /// When the products with frozen weights are in float8.
  var float8: Float8?

  public init(_ parts: [Part]) {
    precondition(parts.allSatisfy { $0.weight.columns == parts[0].weight.columns })
    self.parts = parts
  }

  public var inputs: Int { parts[0].weight.columns }
  public var outputs: Int { parts.reduce(0) { $0 + $1.weight.rows } }

  /// The columns of y, or of dy, that belong to each part.
  public var columns: [Range<Int>] {
    var start = 0
    return parts.map { part in
      defer { start += part.weight.rows }
      return start..<start + part.weight.rows
    }
  }

  /// Whether training changes anything here.
  public var isTrained: Bool {
    down != nil || parts.contains { $0.weightGradient != nil || $0.biasGradient != nil }
  }

  // MARK: Operands

  /// An input x with h, or an output's gradient dy with dh: side by side in memory where a merged product takes both as
  /// one operand.
  public struct Operand {
    /// x, (T, in), or dy, (T, out).
    public let main: Tensor
    /// h or dh, (T, sum of ranks); nil without adapters.
    public let side: Tensor?
    /// Both, when they lie side by side.
    let both: Tensor?

    init(main: Tensor, side: Tensor?, both: Tensor? = nil) {
      self.main = main
      self.side = side
      self.both = both
    }

    public func rows(_ range: Range<Int>) -> Operand {
      Operand(main: main.rows(range), side: side?.rows(range), both: both?.rows(range))
    }
  }

  /// Room for an input, x to be written by the caller.
  public func makeInput(_ rows: Int, _ dtype: DType, _ s: Step) -> Operand {
    makeOperand(rows, inputs, dtype, s)
  }

  /// Room for the gradient of an output, dy to be written by the caller.
  public func makeOutputGradient(_ rows: Int, _ dtype: DType, _ s: Step) -> Operand {
    makeOperand(rows, outputs, dtype, s)
  }

  /// dy, which lies where it lies, with room for dh elsewhere.
  public func outputGradient(_ dy: Tensor, _ s: Step) -> Operand {
    Operand(main: dy, side: down.map { s.make(dy.rows, $0.weight.rows, dy.dtype) })
  }

  private func makeOperand(_ rows: Int, _ columns: Int, _ dtype: DType, _ s: Step) -> Operand {
    guard let ranks = down?.weight.rows else { return Operand(main: s.make(rows, columns, dtype), side: nil) }
    guard s.backend.mergesLinears else {
      return Operand(main: s.make(rows, columns, dtype), side: s.make(rows, ranks, dtype))
    }
    // Rows start where wide loads may begin.
    let both = s.make(rows, (columns + ranks + 7) / 8 * 8, dtype).columns(0..<columns + ranks)
    return Operand(
      main: both.columns(0..<columns), side: both.columns(columns..<columns + ranks), both: both)
  }

  // MARK: Forward

  /// y = x Wᵀ + bias + adapters + adding, (T, in) to (T, out). Writes h into the input's side.
  ///
  /// - Parameters:
  ///   - adding: (T, out): the residual stream.
  ///   - output: y's dtype; the residual's, or else x's, when nil.
  ///   - into: where y is written; a new tensor when nil.
  ///   - dropouts: nil outside training.
  ///   - adapters: (1, T), i32: the rows' adapters; nil when all have the only one.
  ///   - pieces: ranges of all rows that products take one by one, without dropouts; empty for all rows at once.
  public func forward(
    _ input: Operand, _ s: Step, adding residual: Tensor? = nil, dropouts: Dropouts? = nil,
    adapters: Tensor? = nil, output: DType? = nil, into: Tensor? = nil, pieces: [Range<Int>] = []
  ) -> Tensor {
    let x = input.main
    let y = into ?? s.make(x.rows, outputs, output ?? residual?.dtype ?? x.dtype)
    if !pieces.isEmpty {
      let expanded = merges(s) ? s.expand(expansion, dtype: x.dtype) : nil
      for piece in pieces {
        let (input, residual, y) = (input.rows(piece), residual?.rows(piece), y.rows(piece))
        if let expanded {
          multiply(input, expanded, s, adding: residual, adapters: adapters?.columns(piece), into: y)
        } else {
          _ = forward(input, s, adding: residual, adapters: adapters?.columns(piece), into: y)
        }
      }
      return y
    }
    if let float8 {
      forward(input, into: y, float8, s, adding: residual, dropouts: dropouts)
      return y
    }
    if merges(s) {
      multiply(
        input, s.expand(expansion, dtype: x.dtype), s, adding: residual, dropouts: dropouts,
        adapters: adapters, into: y)
      return y
    }
    project(input, s, dropouts: dropouts)
    if let h = input.side, let selection = selection(adapters) { s.selectAdapters(h, selection) }
    for (part, range) in zip(parts, columns) {
      let (out, adding) = (y.columns(range), residual?.columns(range))
      if let adapter = part.adapter, let h = input.side {
        s.linear(
          Factor(x, part.weight), Factor(h.columns(adapter.columns), adapter.up, scale: adapter.scale),
          bias: part.bias, adding: adding, into: out)
      } else {
        s.linear(Factor(x, part.weight), bias: part.bias, adding: adding, into: out)
      }
    }
    return y
  }

  /// `forward` with the matrix that all parts and adapters are together.
  private func multiply(
    _ input: Operand, _ e: Tensor, _ s: Step, adding residual: Tensor?, dropouts: Dropouts? = nil,
    adapters: Tensor?, into y: Tensor
  ) {
    let x = input.main
    if let down, let h = input.side {
      s.product(masked(x, down, s, dropouts), rowsOf: e.rows(outputs..<e.rows).columns(0..<inputs), into: h)
      if let selection = selection(adapters) { s.selectAdapters(h, selection) }
    }
    s.product(input.both ?? x, rowsOf: e.rows(0..<outputs), bias: bias(s), adding: residual, into: y)
  }

  /// Writes h = dropout(x) Aᵀ into the input's side: what backward needs of a forward pass whose y nobody does.
  func project(_ input: Operand, _ s: Step, dropouts: Dropouts?) {
    guard let down, let h = input.side else { return }
    s.linear(Factor(masked(input.main, down, s, dropouts), down.weight), into: h)
  }

  // MARK: Backward

  /// Adds the gradients of everything trained here, and returns dx = dy W + adapters, (T, in); nil when
  /// nobody needs it. Writes dh into the gradient's side.
  ///
  /// - Parameters:
  ///   - x: forward's input; nil when nothing here is trained.
  ///   - h: the side of forward's input.
  ///   - into: where dx is written; a new tensor when nil.
  public func backward(
    _ gradient: Operand, x: Tensor?, h: Tensor?, _ s: Step, dropouts: Dropouts? = nil,
    needsInputGradient: Bool = true, into: Tensor? = nil
  ) -> Tensor? {
    let dy = gradient.main
    for (part, range) in zip(parts, columns) {
      if let x, let gradient = part.weightGradient {
        s.linearWeightGradient(dy.columns(range), x, addingTo: gradient)
      }
      if let gradient = part.biasGradient { s.columnSum(dy.columns(range), addingTo: gradient) }
      if let adapter = part.adapter, let gradient = adapter.upGradient, let h {
        s.linearWeightGradient(
          dy.columns(range), h.columns(adapter.columns), alpha: adapter.scale, addingTo: gradient)
      }
    }
    let trainsAdapters = down != nil && x != nil
    let e = merges(s) && (needsInputGradient || trainsAdapters) ? s.expand(expansion, dtype: dy.dtype) : nil
    if let down, let x, let dh = gradient.side {
      if let e {
        s.product(dy, e.rows(0..<outputs).columns(inputs..<e.columns), into: dh)
      } else if float8 != nil {
        s.product(dy, s.expandUps(expansion, dtype: dy.dtype), into: dh)
      } else {
        backwardAdapters(dy, into: dh, s)
      }
      if let gradient = down.gradient {
        s.linearWeightGradient(dh, masked(x, down, s, dropouts), addingTo: gradient)
      }
    }
    guard needsInputGradient else { return nil }
    if let e { return mergedInputGradient(gradient, e, s, dropouts, into: into) }
    if let float8 { return inputGradient(gradient, float8, s, dropouts, into: into) }
    return inputGradient(gradient, s, dropouts, into: into)
  }

  /// dx = [dy dh] E, or with dropout the two products apart.
  private func mergedInputGradient(
    _ gradient: Operand, _ e: Tensor, _ s: Step, _ dropouts: Dropouts?, into: Tensor?
  ) -> Tensor {
    let wide = e.columns(0..<inputs)
    guard let down, let dh = gradient.side else { return s.product(gradient.main, wide, into: into) }
    let dropout = dropouts?.dropout(down.dropout, layer: dropoutLayer)
    if let both = gradient.both, dropout == nil { return s.product(both, wide, into: into) }
    let dx = s.product(gradient.main, wide.rows(0..<outputs), into: into)
    let a = wide.rows(outputs..<e.rows)
    guard let dropout else { return s.product(dh, a, adding: dx, into: dx) }
    let dMasked = s.product(dh, a)
    return s.add(s.dropout(dMasked, dropout, into: dMasked), dx, into: dx)
  }

  /// dx, part by part.
  private func inputGradient(
    _ gradient: Operand, _ s: Step, _ dropouts: Dropouts?, into: Tensor?
  ) -> Tensor {
    var factors = zip(parts, columns).map { Factor(gradient.main.columns($1), $0.weight) }
    guard let down, let dh = gradient.side else { return s.linearInputGradient(factors, into: into) }
    guard let dropout = dropouts?.dropout(down.dropout, layer: dropoutLayer) else {
      factors.append(Factor(dh, down.weight))
      return s.linearInputGradient(factors, into: into)
    }
    let dx = s.linearInputGradient(factors, into: into)
    let dMasked = s.linearInputGradient([Factor(dh, down.weight)])
    return s.add(s.dropout(dMasked, dropout, into: dMasked), dx, into: dx)
  }

  /// dh, part by part, (T, sum of ranks).
  private func backwardAdapters(_ dy: Tensor, into dh: Tensor, _ s: Step) {
    for (part, range) in zip(parts, columns) {
      guard let adapter = part.adapter else { continue }
      s.linearInputGradient(
        [Factor(dy.columns(range), adapter.up, scale: adapter.scale)], into: dh.columns(adapter.columns))
    }
  }

  // MARK: Merging

  /// Whether layers and adapters are one product: a single matrix without adapters is one as it is.
  func merges(_ s: Step) -> Bool {
    s.backend.mergesLinears && float8 == nil && (parts.count > 1 || down != nil)
  }

  var expansion: LinearExpansion {
    LinearExpansion(
      parts.map { part in
        LinearExpansion.Part(
          weight: part.weight,
          up: part.adapter.map { LinearExpansion.Up(weight: $0.up, columns: $0.columns, scale: $0.scale) })
      }, down: down?.weight)
  }

  /// The parts' biases as one, (1, out); nil when there are none.
  func bias(_ s: Step) -> Tensor? {
    guard parts.contains(where: { $0.bias != nil }) else { return nil }
    if let joined = Tensor.joined(parts.map(\.bias)) { return joined }
    let joint = s.make(1, outputs, .f32)
    for (part, range) in zip(parts, columns) {
      if let bias = part.bias {
        s.copy(bias, into: joint.columns(range))
      } else {
        s.zero(joint.columns(range))
      }
    }
    return joint
  }

  func masked(_ x: Tensor, _ down: Down, _ s: Step, _ dropouts: Dropouts?) -> Tensor {
    dropouts?.dropout(down.dropout, layer: dropoutLayer).map { s.dropout(x, $0) } ?? x
  }
}

/// The dropout masks of one micro-batch: the same in forward and backward, others in the next micro-batch.
public struct Dropouts: Sendable {
  private let counter: Tensor
  private let owner: Buffer
  /// The number that the first row has in the micro-batch.
  private var firstRow = 0

  /// - Parameters:
  ///   - counter: (1, 2), f64's size: the bits of the seed, and the number of the micro-batch over the whole run.
  ///   - owner: its memory.
  public init(counter: Tensor, owner: Buffer) {
    self.counter = counter
    self.owner = owner
  }

  /// Those of the micro-batch's rows from `row` on.
  func rows(from row: Int) -> Dropouts {
    var dropouts = self
    dropouts.firstRow = row
    return dropouts
  }

  func dropout(_ probability: Float, layer: UInt64) -> Dropout? {
    guard probability > 0 else { return nil }
    return Dropout(probability: probability, layer: layer, counter: counter, firstRow: firstRow)
  }
}
