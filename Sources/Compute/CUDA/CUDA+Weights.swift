import Basics
import CKernels

extension CUDA {
  public func place(_ weight: Weight, as target: WeightConverter.Target?) throws(SwiftletError) -> Weight {
    let copy = try copy(weight, to: allocate(bytes:), upload)
    return try target.map { target throws(SwiftletError) in try quantize(copy, to: target) } ?? copy
  }

  public func placeForLookup(
    _ weight: Weight, as target: WeightConverter.Target?
  ) throws(SwiftletError) -> Weight {
    let converted =
      try target.map { target throws(SwiftletError) in try weight.converted(to: target) } ?? weight
    return try copy(converted, to: pinnedMemory) { source, place in
      // Several threads, as the pages come from the file.
      UploadStage.fill(UnsafeMutableRawBufferPointer(start: place, count: source.count), from: source)
    }
  }

  /// Host memory that the GPU reads at the same addresses (unified addressing).
  ///
  /// - Throws: `.outOfMemory` when the system locks no more pages.
  func pinnedMemory(bytes: Int) throws(SwiftletError) -> Buffer {
    // Here, where it may fail, and not while a graph is captured.
    if copyStream == nil { copyStream = try CopyStream(device) }
    device.makeCurrent()
    var memory: UnsafeMutableRawPointer?
    let status = driver.cuMemHostAlloc(&memory, max(bytes, 1), 3)  // CU_MEMHOSTALLOC_PORTABLE, _DEVICEMAP
    guard status == 0, let memory else {
      throw status == 2
        ? SwiftletError(
          .outOfMemory, "the system locks no \(bytes >> 20) MB of its memory for the GPU",
          remedy: "End what else uses it, or raise this process's limits (ulimit -l, the container's memory)."
        )
        : device.error(status, "locking \(bytes) bytes of memory")
    }
    let device = device
    return Buffer(base: memory, count: bytes) {
      device.makeCurrent()
      _ = device.driver.cuMemFreeHost($0)
    }
  }

  /// Copies a weight of the host's and its tables into one piece of memory.
  ///
  /// - Parameters:
  ///   - allocate: takes that memory.
  ///   - upload: copies to it.
  private func copy(
    _ weight: Weight, to allocate: (_ bytes: Int) throws(SwiftletError) -> Buffer,
    _ upload: (UnsafeRawBufferPointer, UnsafeMutableRawPointer) throws(SwiftletError) -> Void
  ) throws(SwiftletError) -> Weight {
    var layout = weight.layout
    let pieces = weight.pieces
    let memory = try allocate(pieces.reduce(0) { $0 + ($1.isShared ? 0 : Plan.aligned($1.bytes)) })
    var offset = 0
    for piece in pieces {
      guard let source = piece.source(layout) else { preconditionFailure("a weight lacks a table") }
      let bytes = UnsafeRawBufferPointer(start: source, count: piece.bytes)
      guard !piece.isShared else {
        piece.move(&layout, UnsafeRawPointer(try sharedTable(bytes).base))
        continue
      }
      try upload(bytes, memory.base + offset)
      piece.move(&layout, UnsafeRawPointer(memory.base + offset))
      offset += Plan.aligned(piece.bytes)
    }
    weight.forgetFile()
    return Weight(layout: layout, owner: memory)
  }
}

extension CUDA {
  /// A small table that weights have in common, kept as long as the backend is: kernels that read it again and again, for
  /// whichever weight, find it near.
  func sharedTable(_ table: UnsafeRawBufferPointer) throws(SwiftletError) -> Buffer {
    let bytes = Array(table)
    if let known = sharedTables[bytes] { return known }
    let memory = try allocate(bytes: bytes.count)
    try write(table, to: memory.base)
    sharedTables[bytes] = memory
    return memory
  }

  /// `write` for much at once.
  private func upload(
    _ source: UnsafeRawBufferPointer, _ target: UnsafeMutableRawPointer
  ) throws(SwiftletError) {
    guard source.count >= 1 << 20 else { return try write(source, to: target) }
    let stage = try uploadStage()
    start("copying to the GPU") { _ in stage.copy(source, to: target, on: stream) }
    if let failure { throw failure }
  }
}

/// Memory that a weight's layout points to.
private struct WeightPiece {
  let bytes: Int
  /// Whether it is the same in most weights.
  var isShared = false
  let source: (sw_weight) -> UnsafeRawPointer?
  let move: (inout sw_weight, UnsafeRawPointer) -> Void

  init<Element>(_ field: WritableKeyPath<sw_weight, UnsafePointer<Element>?>, _ count: Int) {
    bytes = count * MemoryLayout<Element>.stride
    source = { $0[keyPath: field].map { UnsafeRawPointer($0) } }
    move = { $0[keyPath: field] = $1.assumingMemoryBound(to: Element.self) }
  }

  var shared: WeightPiece {
    var piece = self
    piece.isShared = true
    return piece
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
      let code = WeightPiece(\.code, NF4.table.count).shared
      guard layout.absmax == nil else { return [data, code, WeightPiece(\.absmax, scales)] }
      return [
        data, code, WeightPiece(\.absmax_codes, scales), WeightPiece(\.absmax_map, 256).shared,
        WeightPiece(\.nested_absmax, NF4.nestedScaleCount(elements: elements)),
      ]
    default: return [data]
    }
  }
}
