import Compute

/// What a part of a step costs a device.
public struct Work: Sendable {
  /// Floating-point operations of products, as many as take the time; attention's are slower and count for more.
  public var operations: Double
  /// Bytes that all operations read and write.
  public var bytes: Double

  public init(operations: Double, bytes: Double) {
    self.operations = operations
    self.bytes = bytes
  }

  public func seconds(_ rates: DeviceRates) -> Double {
    operations / rates.operations + bytes / rates.memory
  }
}

/// What a layer costs under each policy.
public struct LayerCosts: Sendable {
  public struct Choice: Sendable {
    public var forward: Work
    /// Bytes that live at most in the forward pass, the layer's input and output included.
    public var forwardPeak: Int
    /// Bytes that are left for the backward pass.
    public var saved: Int
    public var backward: Work
    /// Bytes that live at most in the backward pass, those saved included.
    public var backwardPeak: Int
  }

  /// In the order of `Checkpointing.allCases`.
  let choices: [Choice]

  public subscript(_ checkpointing: Checkpointing) -> Choice { choices[checkpointing.cost] }
}

/// What the parts of a model's training step cost, for choosing policies without planning each choice.
public struct DecoderCosts: Sendable {
  /// Those that have a backward pass, from the lowest.
  public var layers: [LayerCosts]
  /// Bytes that live at most in final norm, head and loss, the last layer's output included.
  public var headPeak: Int
}

extension Decoder {
  /// - Parameter weigh: see `lossAndGradients`.
  public func costs(
    _ batch: TrainingBatch, compute dtype: DType, into loss: Tensor, weigh: (() -> Void)? = nil
  ) -> DecoderCosts {
    let head = Step.plan(on: backend) { s in
      _ = headGradient(
        s.make(batch.ids.columns, spec.hiddenSize, dtype.arithmetic), batch, s, compute: dtype, into: loss,
        weigh)
    }
    return DecoderCosts(
      layers: blocks[lowestTrained...].map { block in
        LayerCosts(choices: Checkpointing.allCases.map { costs(of: block, $0, batch, dtype) })
      }, headPeak: head.bytes)
  }

  /// Records one layer alone.
  private func costs(
    of block: Block, _ checkpointing: Checkpointing, _ batch: TrainingBatch, _ dtype: DType
  ) -> LayerCosts.Choice {
    let rows = batch.ids.columns
    var between = 0
    let plan = Step.plan(on: backend) { s in
      func stream() -> Tensor { s.make(rows, spec.hiddenSize, dtype.arithmetic) }
      let inSlices = checkpointing == .sliced
      let (y, saved) = block.forward(stream(), batch.rows, s, compute: dtype, inSlices: inSlices)
      let state = block.state(saved, checkpointing, s)
      s.keep(y)
      // An operation at which nothing lives but what is saved.
      between = s.operation
      s.keep(batch.ids)
      let again = state.saved { block.again($0, batch.rows, s, compute: dtype, inSlices: inSlices) }
      if let dx = block.backward(stream(), again, batch.rows, s) { s.keep(dx) }
    }
    let live = plan.liveBytes
    func bytes(_ operations: Range<Int>) -> Double { Double(plan.traffic[operations].reduce(0, +)) }
    let forward = block.forwardOperations(rows, batch.rows.segments)
    return LayerCosts.Choice(
      forward: Work(operations: forward, bytes: bytes(0..<between)),
      forwardPeak: live[..<between].max() ?? 0, saved: live[between],
      backward: Work(
        operations: block.backwardOperations(checkpointing, rows, batch.rows.segments),
        bytes: bytes(between..<plan.operations)),
      backwardPeak: live[between...].max() ?? 0)
  }
}

extension Checkpointing {
  /// Its place in `allCases`.
  fileprivate var cost: Int {
    switch self {
    case .keep: 0
    case .elementwise: 1
    case .narrow: 2
    case .full: 3
    case .sliced: 4
    }
  }
}

extension Block {
  private var linears: [Linear] { [qkv, output, gateUp, down] }

  fileprivate func forwardOperations(_ rows: Int, _ segments: Segments) -> Double {
    linears.reduce(attentionOperations(rows, segments)) { $0 + $1.operations(rows) }
  }

  fileprivate func backwardOperations(
    _ checkpointing: Checkpointing, _ rows: Int, _ segments: Segments
  ) -> Double {
    let again =
      switch checkpointing {
      case .keep, .elementwise: 0.0
      case .narrow: gateUp.operations(rows)
      case .full, .sliced: forwardOperations(rows, segments) - down.operations(rows)
      }
    // Attention's gradient: five products where attention has two.
    return linears.reduce(again + 2.5 * attentionOperations(rows, segments)) {
      $0 + $1.operations(rows) + $1.gradientOperations(rows)
    }
  }

  /// The two products of attention, in those of a linear layer that take as long: fused attention reaches 60% of their
  /// rate (docs/LOG.md).
  private func attentionOperations(_ rows: Int, _ segments: Segments) -> Double {
    let (length, shape) = (Double(segments.longest), attention)
    let window = min(length, shape.window.map(Double.init) ?? length)
    let keys = window - window * window / (2 * length)
    return 4 * Double(rows) * keys * Double(shape.heads * shape.headSize) / 0.6
  }
}

extension Linear {
  /// Of the forward product, in those of bf16, two of which take as long as one of float8; that of the input's gradient has
  /// as many.
  fileprivate func operations(_ rows: Int) -> Double {
    let elements = Double(inputs) * Double(outputs) / (float8 == nil ? 1 : 2)
    return 2 * Double(rows) * (elements + adapterElements)
  }

  /// Of the products for the gradients of what is trained.
  fileprivate func gradientOperations(_ rows: Int) -> Double {
    let elements = parts.reduce(0) { $0 + ($1.weightGradient == nil ? 0 : $1.weight.rows * inputs) }
    return 2 * Double(rows) * (Double(elements) + adapterElements)
  }

  private var adapterElements: Double {
    guard let down else { return 0 }
    let up = parts.reduce(0) { $0 + ($1.adapter.map(\.columns.count) ?? 0) * $1.weight.rows }
    return Double(down.weight.rows * inputs + up)
  }
}
