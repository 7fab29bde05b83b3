import CKernels

/// Layers for few rows by kernels that read weights once: on tensor cores where the operands allow, else by plain sums.
extension CUDA {
  public func servesFewRows(_ layer: LinearExpansion, rows: Int, isDecoding: Bool) -> Bool {
    guard rows <= 64, let first = layer.parts.first?.weight else { return false }
    return FewRowsLaunch.formatName(first) != nil
      && layer.parts.allSatisfy {
        FewRowsLaunch.formatName($0.weight) == FewRowsLaunch.formatName(first)
          && $0.weight.layout.interleaved_head == 0
      }
  }

  public func workspaceBytes(_ layer: FewRows) -> Int { FewRowsLaunch(layer, device)?.partialBytes ?? 0 }

  public func run(_ layer: FewRows, workspace: Tensor?) {
    let operands = FewRowsOperands(layer)
    guard let plan = FewRowsLaunch(layer, device) else {
      return launch(
        .fewRows, "few_rows_\(layer.x.dtype)", grid: Grid(x: (layer.out.columns + 7) / 8), threads: 256,
        operands)
    }
    for first in stride(from: 0, to: layer.x.rows, by: plan.rows) {
      var part = operands.rows(first..<min(first + plan.rows, layer.x.rows))
      part.tiles = Int32(plan.tiles)
      part.splits = Int32(plan.splits)
      part.partials = workspace?.address ?? 0
      part.arrivals = UInt(arrivals)
      launch(
        plan.source, plan.kernel, grid: Grid(x: plan.blocks), threads: plan.warps * 32,
        shared: plan.sharedBytes,
        overlapping: true,
        part)
    }
  }

  public func selectAdapters(_ h: Tensor, owners: Tensor, adapters: Tensor) {
    launch(
      .fewRows, "select_adapters_\(h.dtype)", grid: Grid(x: (h.rows * h.columns + 255) / 256), threads: 256,
      overlapping: true, h.matrix, owners.address, adapters.address)
  }
}

/// How few_rows_mma.cuh takes a layer. What decides the order of a row's sums depends on the layer alone, never on how
/// many rows there are.
private struct FewRowsLaunch {
  let source: KernelSource
  let kernel: String
  /// Rows of x at a time.
  let rows: Int
  /// Of weight rows.
  let tiles: Int
  /// Ranges of the weight's columns, of different blocks.
  let splits: Int
  /// Of a block.
  let warps: Int
  let blocks: Int
  let sharedBytes: Int
  let partialBytes: Int

  /// nil where the operands are not what tensor cores, or wide loads, take.
  init?(_ layer: FewRows, _ device: CUDADevice) {
    let weight = layer.layer.parts[0].weight
    guard device.computeCapability.major >= 8, layer.x.dtype == .bf16, layer.isAligned,
      let format = Self.formatName(weight),
      layer.layer.parts.allSatisfy({ Self.formatName($0.weight) == format })
    else { return nil }
    let isNF4 = weight.format == .nf4
    source = isNF4 ? .fewRowsNF4 : weight.format == .int8 ? .fewRowsINT8 : .fewRowsFloat
    let isGated = layer.activation != nil

    // Two times 16 weight rows a warp read x half as often as one, but leave half as many tiles.
    let pairs = layer.layer.parts.reduce(0) { $0 + ($1.weight.rows + 31) / 32 }
    let isTall = isGated || pairs >= 4 * device.multiprocessors || isNF4 && layer.x.rows > 8
    let height = isTall ? 32 : 16
    tiles =
      isGated
      ? (weight.rows + 15) / 16
      : layer.layer.parts.reduce(0) { $0 + ($1.weight.rows + height - 1) / height }

    // Groups of 64 columns, as group_width() has them, shared out to blocks and warps. NF4's are the same for both
    // heights.
    let words = isNF4 ? 2 : weight.format == .int8 ? 4 : weight.format == .f32 ? 16 : 8
    let width = isNF4 ? 4 : max(1, 32 * 8 / (height * words))
    let groups = (weight.columns / 64 + width - 1) / width
    splits = max(1, min(2 * device.multiprocessors / pairs, groups / 8))
    let share = groups / splits
    warps =
      (1...8).filter { $0 <= share }.min {
        // The fewest turns; of equals, the fewest warps that wait in the last.
        ((share + $0 - 1) / $0, $0) < ((share + $1 - 1) / $1, $1)
      } ?? 1

    // Rows of x, in eights: what shared memory holds.
    var eights = layer.x.rows <= 8 ? 1 : layer.x.rows <= 16 ? 2 : layer.x.rows <= 32 ? 4 : 8
    func shared(_ eights: Int, _ warps: Int) -> Int {
      let sums = (eights <= 2 ? 2 : 1) * warps * 8 * eights * (height + 4) * 4
      guard isNF4 else { return sums }
      // Up to the tables, 31 KB: the scales' maps, and sums of up to 28 KB.
      return (isGated ? 3 : 2) << 15 + (sums <= 28 << 10 ? 0 : sums)
    }
    while eights > 1, shared(eights, warps) > device.sharedBytes { eights /= 2 }
    sharedBytes = shared(eights, warps)
    rows = 8 * eights
    let perMultiprocessor = eights <= 2 && 2 * (sharedBytes + 1024) <= device.sharedBytes + 1024 ? 2 : 1
    blocks = min(tiles * splits, perMultiprocessor * device.multiprocessors)
    partialBytes = splits == 1 ? 0 : tiles * splits * min(rows, layer.x.rows) * height * DType.f32.size
    kernel = "few_rows_\(format)_m\(height / 16)_n\(eights)"
  }

  /// In the kernels' names; nil for formats that they do not read.
  static func formatName(_ weight: Weight) -> String? {
    switch weight.format {
    case .f32, .f16, .bf16, .int8: "\(weight.format)"
    case .nf4: weight.layout.absmax == nil ? "nf4_twice" : "nf4"
    case .q4_0, .q4_1, .q5_0, .q5_1, .q8_0, .q4_K, .q5_K, .q6_K: nil
    }
  }
}

extension FewRows {
  /// Whether rows are whole blocks of 64 columns that wide loads can read.
  fileprivate var isAligned: Bool {
    layer.inputs % 64 == 0 && Tensor.areAligned([x])
      && layer.parts.allSatisfy {
        let layout = $0.weight.layout
        return layout.interleaved_head == 0 && UInt(bitPattern: layout.data) % 16 == 0
          && UInt(bitPattern: layout.absmax_codes) % 4 == 0
      }
  }
}

/// The struct few_rows of few_rows_operands.cuh.
private struct FewRowsOperands: BitwiseCopyable {
  struct Part: BitwiseCopyable {
    var weight = sw_weight()
    var bias: UInt = 0
    var up: UInt = 0
    var scale: Float = 0
    var column: Int32 = 0
    var rank: Int32 = 0
    var first: Int32 = 0
  }

  var part: (Part, Part, Part, Part) = (Part(), Part(), Part(), Part())
  var x: sw_matrix
  var h = sw_matrix()
  var addend = sw_matrix()
  var out: sw_matrix
  var parts: Int32
  /// Of activation_kind.
  var activation: Int32
  var tiles: Int32 = 0
  var splits: Int32 = 1
  var partials: UInt = 0
  var arrivals: UInt = 0

  init(_ layer: FewRows) {
    x = layer.x.matrix
    if let tensor = layer.h { h = tensor.matrix }
    if let tensor = layer.addend { addend = tensor.matrix }
    out = layer.out.matrix
    parts = Int32(layer.layer.parts.count)
    activation =
      switch layer.activation {
      case nil: -1
      case .silu: 0
      case .geluTanh: 1
      case .gelu: 2
      }
    var first = 0
    for (index, part) in layer.layer.parts.enumerated() {
      var operand = Part()
      operand.weight = part.weight.layout
      operand.bias = layer.biases[index]?.address ?? 0
      operand.first = Int32(first)
      if let up = part.up {
        precondition(up.weight.format == .f32, "adapters are float32")
        operand.up = UInt(bitPattern: up.weight.layout.data)
        operand.scale = up.scale
        operand.column = Int32(up.columns.lowerBound)
        operand.rank = Int32(up.columns.count)
      }
      set(operand, index)
      first += part.weight.rows
    }
  }

  private mutating func set(_ operand: Part, _ index: Int) {
    switch index {
    case 0: part.0 = operand
    case 1: part.1 = operand
    case 2: part.2 = operand
    case 3: part.3 = operand
    default: preconditionFailure("at most four layers share an input")
    }
  }

  /// The same for some rows of x.
  func rows(_ range: Range<Int>) -> FewRowsOperands {
    func rows(_ matrix: sw_matrix) -> sw_matrix {
      var part = matrix
      let size = matrix.dtype == SW_BF16 ? 2 : 4
      part.data = matrix.data.map { $0 + range.lowerBound * Int(matrix.stride) * size }
      part.rows = Int64(range.count)
      return part
    }
    var operands = self
    (operands.x, operands.h, operands.addend, operands.out) = (rows(x), rows(h), rows(addend), rows(out))
    return operands
  }
}
