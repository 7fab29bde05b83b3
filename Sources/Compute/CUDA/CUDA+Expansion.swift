import CKernels

/// The struct of the same fields in expand.cu.
private struct Adapters: BitwiseCopyable {
  typealias Four<T: BitwiseCopyable> = (T, T, T, T)

  var up: Four<UInt> = (0, 0, 0, 0)
  var scale: Four<Float> = (0, 0, 0, 0)
  var rows: Four<Int32> = (0, 0, 0, 0)
  var column: Four<Int32> = (0, 0, 0, 0)
  var rank: Four<Int32> = (0, 0, 0, 0)
  var parts: Int32
  var ranks: Int32
  var inputs: Int64
  var outputs: Int64
  var down: UInt

  init(_ layer: LinearExpansion, down: Weight) {
    parts = Int32(layer.parts.count)
    ranks = Int32(layer.ranks)
    inputs = Int64(layer.inputs)
    outputs = Int64(layer.outputs)
    self.down = down.address
    for (index, part) in layer.parts.enumerated() {
      Self.set(&rows, index, Int32(part.weight.rows))
      guard let adapter = part.up else { continue }
      Self.set(&up, index, adapter.weight.address)
      Self.set(&scale, index, adapter.scale)
      Self.set(&column, index, Int32(adapter.columns.lowerBound))
      Self.set(&rank, index, Int32(adapter.columns.count))
    }
  }

  private static func set<T>(_ four: inout Four<T>, _ index: Int, _ value: T) {
    switch index {
    case 0: four.0 = value
    case 1: four.1 = value
    case 2: four.2 = value
    case 3: four.3 = value
    default: preconditionFailure("at most four layers are merged")
    }
  }
}

extension CUDA {
  public var mergesLinears: Bool { true }

  public func expand(_ layer: LinearExpansion, into out: Tensor) {
    var first = 0
    for part in layer.parts {
      dequantize(part.weight, into: out.rows(first..<first + part.weight.rows).columns(0..<layer.inputs))
      first += part.weight.rows
    }
    guard layer.down != nil else { return }
    let ranks = layer.inputs..<layer.inputs + layer.ranks
    expandUps(layer, into: out.rows(0..<layer.outputs).columns(ranks))
    start("expand_down", of: layer, elements: layer.ranks * ranks.upperBound, into: out)
  }

  public func expandUps(_ layer: LinearExpansion, into out: Tensor) {
    start("expand_up", of: layer, elements: layer.outputs * layer.ranks, into: out)
  }

  /// A thread an element.
  private func start(_ kernel: String, of layer: LinearExpansion, elements: Int, into out: Tensor) {
    guard let down = layer.down else { preconditionFailure("a layer without adapters") }
    let threads = 256
    launch(
      .expand, "\(kernel)_\(out.dtype)", grid: Grid(x: (elements + threads - 1) / threads), threads: threads,
      out.matrix, Adapters(layer, down: down))
  }
}

extension Weight {
  /// Of a matrix of float32, such as a trained one.
  fileprivate var address: UInt {
    precondition(format == .f32)
    return UInt(bitPattern: layout.data)
  }
}
