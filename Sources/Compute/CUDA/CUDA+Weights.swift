import Basics
import CKernels

extension CUDA {
  public func place(_ weight: Weight, as target: WeightConverter.Target?) throws(SwiftletError) -> Weight {
    let copy = try copy(weight)
    return try target.map { target throws(SwiftletError) in try quantize(copy, to: target) } ?? copy
  }

  /// Copies a weight of the host's and its tables to the GPU, into one piece of memory.
  private func copy(_ weight: Weight) throws(SwiftletError) -> Weight {
    var layout = weight.layout
    let pieces = weight.pieces
    let memory = try allocate(bytes: pieces.reduce(0) { $0 + Plan.aligned($1.bytes) })
    var offset = 0
    for piece in pieces {
      guard let source = piece.source(layout) else { preconditionFailure("a weight lacks a table") }
      try write(UnsafeRawBufferPointer(start: source, count: piece.bytes), to: memory.base + offset)
      piece.move(&layout, UnsafeRawPointer(memory.base + offset))
      offset += Plan.aligned(piece.bytes)
    }
    return Weight(layout: layout, owner: memory)
  }
}

/// Memory that a weight's layout points to.
private struct WeightPiece {
  let bytes: Int
  let source: (sw_weight) -> UnsafeRawPointer?
  let move: (inout sw_weight, UnsafeRawPointer) -> Void

  init<Element>(_ field: WritableKeyPath<sw_weight, UnsafePointer<Element>?>, _ count: Int) {
    bytes = count * MemoryLayout<Element>.stride
    source = { $0[keyPath: field].map { UnsafeRawPointer($0) } }
    move = { $0[keyPath: field] = $1.assumingMemoryBound(to: Element.self) }
  }

  init(_ field: WritableKeyPath<sw_weight, UnsafeRawPointer?>, bytes: Int) {
    self.bytes = bytes
    source = { $0[keyPath: field] }
    move = { $0[keyPath: field] = $1 }
  }
}

extension Weight {
  fileprivate var pieces: [WeightPiece] {
    let elements = rows * columns
    let data = WeightPiece(
      \.data, bytes: (elements + format.blockSize - 1) / format.blockSize * format.bytesPerBlock)
    switch format {
    case .int8: return [data, WeightPiece(\.row_scale, rows)]
    case .nf4:
      let scales = NF4.scaleCount(elements: elements)
      let code = WeightPiece(\.code, NF4.table.count)
      guard layout.absmax == nil else { return [data, code, WeightPiece(\.absmax, scales)] }
      return [
        data, code, WeightPiece(\.absmax_codes, scales), WeightPiece(\.absmax_map, 256),
        WeightPiece(\.nested_absmax, NF4.nestedScaleCount(elements: elements)),
      ]
    default: return [data]
    }
  }
}
