import Basics
import CKernels
import Compute

/// How a case stores a weight matrix.
struct WeightKind: Sendable, CustomStringConvertible {
  var format: StorageFormat
  /// NF4's scales themselves in 8 bits.
  var isDoubleQuantised = false
  /// NF4's values as everybody has them, rather than others for each weight.
  var hasStandardCode = false
  /// Head size when the rows of each head lie in GGUF's rotary order; 0 otherwise.
  var interleavedHead: Int32 = 0

  var description: String {
    "\(format)" + (isDoubleQuantised ? " twice" : "") + (hasStandardCode ? " as it is" : "")
      + (interleavedHead > 0 ? " interleaved by \(interleavedHead)" : "")
  }
}

/// A random weight matrix: the bytes of its codes and of the tables beside them.
struct HostWeight {
  private let kind: WeightKind
  private let rows: Int
  private let columns: Int
  /// Codes and, where the format has them, its tables; each becomes a buffer.
  private var data: [UInt8]
  private var code: [Float] = []
  private var absmax: [Float] = []
  private var absmaxCodes: [UInt8] = []
  private var absmaxMap: [Float] = []
  private var nestedAbsmax: [Float] = []
  private var nestedOffset: Float = 0
  private var rowScale: [Float] = []

  /// Elements of a magnitude around 0.1.
  init(_ kind: WeightKind, rows: Int, columns: Int, using random: inout RandomStream) {
    self.kind = kind
    self.rows = rows
    self.columns = columns
    let format = kind.format
    let blocks = (rows * columns + format.blockSize - 1) / format.blockSize
    switch format {
    case .f32, .f16, .bf16:
      data = [UInt8](repeating: 0, count: blocks * format.bytesPerBlock)
      let values = (0..<rows * columns).map { _ in Float(random.uniform()) * 0.2 }
      sw_encode(values, Int64(values.count), format.kernel, &data)
    default:
      data = (0..<blocks * format.bytesPerBlock).map { _ in UInt8.random(in: 0...255, using: &random) }
      for block in 0..<blocks {
        for (offset, magnitude) in format.halfScales {
          var value = Float(random.uniform()) * magnitude
          sw_encode(&value, 1, SW_W_F16, &data[block * format.bytesPerBlock + offset])
        }
      }
    }
    switch format {
    case .int8: rowScale = (0..<rows).map { _ in Float(0.2 + 0.1 * random.uniform()) }
    case .nf4: scaleNF4(blocks, using: &random)
    default: break
    }
  }

  private mutating func scaleNF4(_ blocks: Int, using random: inout RandomStream) {
    code = kind.hasStandardCode ? NF4.table : (0..<16).map { _ in Float(random.uniform()) }.sorted()
    guard kind.isDoubleQuantised else {
      absmax = (0..<blocks).map { _ in Float(0.2 + 0.1 * random.uniform()) }
      return
    }
    absmaxCodes = (0..<blocks).map { _ in UInt8.random(in: 0...255, using: &random) }
    absmaxMap = DynamicMap.signed
    nestedAbsmax = (0..<(blocks + 255) / 256).map { _ in Float(0.1 + 0.05 * random.uniform()) }
    nestedOffset = 0.2
  }

  /// Every element, decoded one row at a time. (Decoding itself is checked against other projects' values in
  /// the tests of Compute's Quantization.)
  func decoded() throws -> Matrix<Double> {
    let floats = try upload(to: CPU(threads: 1)).floats()
    return Matrix(rows: rows, columns: columns, elements: floats.map(Double.init))
  }

  /// The matrix in the device's memory.
  func upload(to backend: any Backend) throws(SwiftletError) -> Weight {
    // Tables that weights have in common are one there.
    guard backend.hasHostMemory else { return try backend.place(upload(to: CPU(threads: 1)), as: nil) }
    let owner = Owner()
    func copy<T: BitwiseCopyable>(_ table: [T]) throws(SwiftletError) -> UnsafeRawPointer? {
      guard !table.isEmpty else { return nil }
      let buffer = try backend.upload(table.withUnsafeBytes(Array.init))
      owner.buffers.append(buffer)
      return UnsafeRawPointer(buffer.base)
    }
    var layout = shape
    layout.data = try copy(data)
    layout.code = try copy(code)?.assumingMemoryBound(to: Float.self)
    layout.absmax = try copy(absmax)?.assumingMemoryBound(to: Float.self)
    layout.absmax_codes = try copy(absmaxCodes)?.assumingMemoryBound(to: UInt8.self)
    layout.absmax_map = try copy(absmaxMap)?.assumingMemoryBound(to: Float.self)
    layout.nested_absmax = try copy(nestedAbsmax)?.assumingMemoryBound(to: Float.self)
    layout.row_scale = try copy(rowScale)?.assumingMemoryBound(to: Float.self)
    return Weight(layout: layout, owner: owner)
  }

  private final class Owner {
    var buffers: [Buffer] = []
  }

  /// The layout without addresses.
  private var shape: sw_weight {
    var layout = sw_weight()
    layout.rows = Int64(rows)
    layout.columns = Int64(columns)
    layout.format = kind.format.kernel
    layout.interleaved_head = kind.interleavedHead
    layout.nested_offset = nestedOffset
    return layout
  }
}

extension StorageFormat {
  fileprivate var kernel: sw_format { sw_format(rawValue: rawValue) }

  /// Where a block holds its scales as half floats, and their magnitude here. All other bytes are codes, and
  /// any code is valid.
  fileprivate var halfScales: [(offset: Int, magnitude: Float)] {
    switch self {
    case .f32, .f16, .bf16, .nf4, .int8: []
    case .q4_0: [(0, 0.02)]
    case .q5_0: [(0, 0.01)]
    case .q8_0: [(0, 0.001)]
    case .q4_1: [(0, 0.02), (2, 0.1)]
    case .q5_1: [(0, 0.01), (2, 0.1)]
    case .q4_K: [(0, 0.0003), (2, 0.003)]
    case .q5_K: [(0, 0.00015), (2, 0.003)]
    case .q6_K: [(208, 0.00005)]
    }
  }
}
