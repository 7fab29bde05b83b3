import Basics
import CKernels

extension CUDA {
  /// The same matrix in another format, in memory of its own, rows in Hugging Face's order; codes and scales are
  /// those of `Weight.converted`. Waits for the GPU: for loading, not for steps.
  ///
  /// - Parameter source: a weight of any format in the GPU's memory.
  /// - Throws: `.outOfMemory` when the result does not fit, or what failed on the GPU.
  public func quantize(
    _ source: Weight, to target: WeightConverter.Target
  ) throws(SwiftletError) -> Weight {
    switch target {
    case .nf4: try quantizeToNF4(source)
    case .int8: try quantizeToInt8(source)
    case .bf16: try copy(source, as: .bf16, .bf16)
    case .f32: try copy(source, as: .f32, .f32)
    }
  }

  /// Double-quantised: see `WeightConverter`.
  private func quantizeToNF4(_ source: Weight) throws(SwiftletError) -> Weight {
    let elements = source.rows * source.columns
    let scales = NF4.scaleCount(elements: elements)
    let nested = NF4.nestedScaleCount(elements: elements)
    let floatBytes = MemoryLayout<Float>.size
    var size = 0
    let codes = Plan.place((elements + 1) / 2, in: &size)
    let scaleCodes = Plan.place(scales, in: &size)
    let nestedAbsmax = Plan.place(nested * floatBytes, in: &size)
    let memory = try allocate(bytes: size)
    let base = memory.base
    let table = try sharedTable(NF4.table).base
    let map = try sharedTable(DynamicMap.signed).base

    let absmax = try allocate(bytes: scales * floatBytes)
    launch(
      .quantize, "quantize_nf4", grid: Grid(x: (elements + 2047) / 2048), threads: 256,
      source.layout, table, base + codes, absmax.base)
    let offset = NF4.nestedOffset(try floats(absmax.base, count: scales))
    launch(
      .quantize, "quantize_dynamic", grid: Grid(x: nested), threads: 256,
      absmax.base, Int64(scales), offset, map, base + scaleCodes, base + nestedAbsmax)
    try withExtendedLifetime(absmax) { () throws(SwiftletError) in try synchronize() }

    var layout = Weight.layout(.nf4, source.rows, source.columns, base + codes)
    layout.code = UnsafePointer(table.assumingMemoryBound(to: Float.self))
    layout.absmax_codes = UnsafePointer((base + scaleCodes).assumingMemoryBound(to: UInt8.self))
    layout.absmax_map = UnsafePointer(map.assumingMemoryBound(to: Float.self))
    layout.nested_absmax = UnsafePointer((base + nestedAbsmax).assumingMemoryBound(to: Float.self))
    layout.nested_offset = offset
    return Weight(layout: layout, owner: memory)
  }

  private func quantizeToInt8(_ source: Weight) throws(SwiftletError) -> Weight {
    var size = 0
    let codes = Plan.place(source.rows * source.columns, in: &size)
    let scales = Plan.place(source.rows * MemoryLayout<Float>.size, in: &size)
    let memory = try allocate(bytes: size)
    launch(
      .quantize, "quantize_int8", grid: Grid(x: source.rows), threads: 256,
      source.layout, memory.base + codes, memory.base + scales)
    try synchronize()
    var layout = Weight.layout(.int8, source.rows, source.columns, memory.base + codes)
    layout.row_scale = UnsafePointer((memory.base + scales).assumingMemoryBound(to: Float.self))
    return Weight(layout: layout, owner: memory)
  }

  private func copy(
    _ source: Weight, as format: StorageFormat, _ dtype: DType
  ) throws(SwiftletError) -> Weight {
    let (rows, columns) = (source.rows, source.columns)
    let memory = try allocate(bytes: rows * columns * dtype.size)
    dequantize(source, into: Tensor(memory, rows: rows, columns: columns, dtype: dtype))
    try synchronize()
    return Weight(layout: Weight.layout(format, rows, columns, memory.base), owner: memory)
  }

  private func sharedTable(_ floats: [Float]) throws(SwiftletError) -> Buffer {
    let host = try Buffer(count: floats.count * MemoryLayout<Float>.size)
    host.pointer().update(from: floats, count: floats.count)
    return try withExtendedLifetime(host) { () throws(SwiftletError) in
      try sharedTable(UnsafeRawBufferPointer(start: host.base, count: host.count))
    }
  }

  private func floats(
    _ source: UnsafeRawPointer, count: Int
  ) throws(SwiftletError) -> [Float] {
    let host = try Buffer(count: count * MemoryLayout<Float>.size)
    try read(source, into: UnsafeMutableRawBufferPointer(start: host.base, count: host.count))
    return Array(UnsafeBufferPointer(start: host.pointer(), count: count))
  }
}
