import CKernels

extension CUDA {
  public var mergesLinears: Bool { true }

  public func expand(_ layer: LinearExpansion, into out: Tensor) {
    var first = 0
    let weights = layer.parts.map { part in
      defer { first += part.weight.rows }
      return (weight: part.weight, row: first)
    }
    expand(weights, layer.down.map { Adapters(layer, down: $0) }, into: out)
  }

  public func expandUps(_ layer: LinearExpansion, into out: Tensor) {
    guard let down = layer.down else { preconditionFailure("a layer without adapters") }
    launch(
      .expand, "expand_ups_\(out.dtype)", grid: Grid(x: (layer.outputs * layer.ranks + 255) / 256),
      threads: 256, out.matrix, Adapters(layer, down: down))
  }

  /// out = scale * weight: each element decoded to float, times `scale`, rounded to out's dtype.
  ///
  /// - Parameters:
  ///   - weight: of any format, in the GPU's memory. Plain floats need their own alignment, blocks none.
  ///   - out: the weight's shape, bf16 or f32; any stride, so that it may be a part of a larger matrix.
  public func dequantize(_ weight: Weight, scale: Float = 1, into out: Tensor) {
    precondition(out.shape == (weight.rows, weight.columns))
    expand([(weight, 0)], scale: scale, nil, into: out)
  }

  /// Decodes weights of as many columns each to the rows of `out` from `row` on, with what adapters add beside and below
  /// them: at one go, but for NF4 beside other formats.
  private func expand(
    _ weights: [(weight: Weight, row: Int)], scale: Float = 1, _ adapters: Adapters?, into out: Tensor
  ) {
    let inWords = weights.filter { $0.weight.isNF4InWords && out.hasAlignedRows }
    let others = weights.filter { !($0.weight.isNF4InWords && out.hasAlignedRows) }
    var adapters = adapters
    for (group, kernel, unitsEach) in [(inWords, "expand_nf4", 4 * 256), (others, "expand", 256)]
    where !group.isEmpty {
      let stack = Stack(group, scale: scale, into: out)
      let blocks = group.reduce(0) { $0 + ($1.weight.rows * Int(stack.units) + unitsEach - 1) / unitsEach }
      launch(
        .expand, "\(kernel)_\(out.dtype)", grid: Grid(x: blocks + (adapters?.blocks ?? 0)), threads: 256,
        stack, adapters ?? Adapters())
      adapters = nil
    }
  }
}

extension Weight {
  /// Whether rows are NF4 in whole 32-bit words of eight codes.
  var isNF4InWords: Bool {
    format == .nf4 && columns % 8 == 0 && layout.interleaved_head == 0
      && UInt(bitPattern: layout.data) % 4 == 0
  }

  /// Of a matrix of float32, such as a trained one.
  fileprivate var address: UInt {
    precondition(format == .f32)
    return UInt(bitPattern: layout.data)
  }
}

extension Tensor {
  /// Whether every row starts at a multiple of 16 bytes.
  fileprivate var hasAlignedRows: Bool { address % 16 == 0 && stride * dtype.size % 16 == 0 }
}

// MARK: Operands

/// The struct stack of expand.cu.
private struct Stack: BitwiseCopyable {
  var weights = Four(sw_weight())
  var first = Four<Int64>(0)
  var out: sw_matrix
  /// A thread makes eight elements of a row.
  var units: UInt32
  var parts: Int32
  var scale: Float

  init(_ parts: [(weight: Weight, row: Int)], scale: Float, into out: Tensor) {
    precondition(out.dtype == .bf16 || out.dtype == .f32, "no weights of \(out.dtype)")
    let columns = parts[0].weight.columns
    units = UInt32((columns + 7) / 8)
    self.out = out.matrix
    self.parts = Int32(parts.count)
    self.scale = scale
    for (index, part) in parts.enumerated() {
      precondition(
        part.weight.rows * Int(units) < 1 << 31, "a weight of \(part.weight.rows) x \(columns)")
      weights.set(index, part.weight.layout)
      first.set(index, Int64(part.row))
    }
  }
}

/// The struct adapters of expand.cu.
private struct Adapters: BitwiseCopyable {
  var up = Four<UInt>(0)
  var scale = Four<Float>(0)
  var rows = Four<Int32>(0)
  var column = Four<Int32>(0)
  var rank = Four<Int32>(0)
  var parts: Int32 = 0
  var ranks: Int32 = 0
  var inputs: Int64 = 0
  var outputs: Int64 = 0
  var down: UInt = 0

  /// None.
  init() {}

  init(_ layer: LinearExpansion, down: Weight) {
    parts = Int32(layer.parts.count)
    ranks = Int32(layer.ranks)
    inputs = Int64(layer.inputs)
    outputs = Int64(layer.outputs)
    self.down = down.address
    precondition(elements < 1 << 32, "adapters of \(outputs) outputs and \(ranks) ranks")
    for (index, part) in layer.parts.enumerated() {
      rows.set(index, Int32(part.weight.rows))
      guard let adapter = part.up else { continue }
      up.set(index, adapter.weight.address)
      scale.set(index, adapter.scale)
      column.set(index, Int32(adapter.columns.lowerBound))
      rank.set(index, Int32(adapter.columns.count))
    }
  }

  /// What a merged layer's matrix has besides weights.
  private var elements: Int { Int(ranks) * Int(outputs + inputs + Int64(ranks)) }

  /// Of ADAPTER_ELEMENTS each.
  var blocks: Int { (elements + 1023) / 1024 }
}
