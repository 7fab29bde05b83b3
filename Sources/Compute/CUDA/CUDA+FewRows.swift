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
      part.copiesX = plan.copiesX ? 1 : 0
      let turns = plan.isShort ? (Int(part.x.rows) + plan.shortRows - 1) / plan.shortRows : 1
      launch(
        plan.source, plan.kernel, grid: Grid(x: plan.blocks, y: turns), threads: plan.warps * 32,
        shared: plan.sharedBytes,
        overlapping: true,
        part)
    }
  }

  public func selectAdapters(_ h: Tensor, _ selection: AdapterSelection) {
    launch(
      .fewRows, "select_adapters_\(h.dtype)", grid: Grid(x: (h.rows * h.columns + 255) / 256), threads: 256,
      overlapping: true, h.matrix, selection.owners.address, selection.adapters.address)
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
  /// Whether x is copied to shared memory first.
  let copiesX: Bool
  let sharedBytes: Int
  let partialBytes: Int
  /// Whether it is a kernel for few rows of the weight, and how many rows of x its blocks take.
  let isShort: Bool
  let shortRows: Int

  /// nil where the operands are not what tensor cores, or wide loads, take.
  init?(_ layer: FewRows, _ device: CUDADevice) {
    let weight = layer.layer.parts[0].weight
    guard device.computeCapability.major >= 8, layer.x.dtype == .bf16, layer.isAligned,
      let format = Self.formatName(weight),
      layer.layer.parts.allSatisfy({ Self.formatName($0.weight) == format })
    else { return nil }
    let isNF4 = weight.format == .nf4
    let isGated = layer.activation != nil

    isShort = weight.format == .f32 && !isGated && layer.out.columns <= 128
    shortRows = layer.x.rows == 1 ? 1 : 8
    if isShort {
      (source, kernel, rows) = (.fewRows, "few_rows_short_\(shortRows)", 64)
      (tiles, splits, warps, blocks) = (1, 1, 16, layer.out.columns)
      (copiesX, sharedBytes, partialBytes) = (false, 0, 0)
      return
    }
    source = isNF4 ? .fewRowsNF4 : weight.format == .int8 ? .fewRowsINT8 : .fewRowsFloat

    // Two times 16 weight rows a warp read x half as often as one, but leave half as many tiles.
    let pairs = layer.layer.parts.reduce(0) { $0 + ($1.weight.rows + 31) / 32 }
    let isTall = isGated || isNF4 || pairs >= 4 * device.multiprocessors
    let height = isTall ? 32 : 16
    tiles =
      isGated
      ? (weight.rows + 15) / 16
      : layer.layer.parts.reduce(0) { $0 + ($1.weight.rows + height - 1) / height }

    // Where shared memory is large, NF4 has one block of many warps a multiprocessor, which bring their weights there
    // first; elsewhere two of few. (WIDE_TABLE and NF4_THREADS of few_rows_formats.cuh; the devices that these name have
    // 100 KB.)
    let isWide = isNF4 && device.sharedBytes > 132 << 10
    let most = isWide ? 15 : 8

    // Groups of 64 columns, as group_width() has them, shared out to blocks and warps.
    let words = isNF4 ? 2 : weight.format == .int8 ? 4 : weight.format == .f32 ? 16 : 8
    let width = isNF4 ? 4 : max(1, 32 * 8 / (height * words))
    let groups = (weight.columns / 64 + width - 1) / width
    splits = max(1, min((isWide ? 1 : 2) * device.multiprocessors / pairs, groups / most))
    let share = groups / splits
    // The fewest turns; of equals, the fewest warps that wait in the last.
    let turns = (share + most - 1) / most
    let workers = (share + turns - 1) / turns
    // One more than there are groups for finishes a tile while the others have the next.
    let warpCount = isWide && workers == share ? min(workers + 1, most) : workers
    warps = warpCount

    // Rows of x, in eights: what shared memory holds.
    func shared(_ eights: Int) -> Int {
      let turns = eights <= (isNF4 ? 1 : 2) ? 2 : 1
      let sums = turns * warpCount * min(8 * eights, layer.x.rows) * (height + 4) * 4
      guard isNF4 else { return sums }
      // Up to the tables, 63 KB: the scales' maps, and the warps' stages.
      if isWide { return 128 << 10 + sums }
      // Or 31 KB: the maps, and sums of up to 28 KB.
      return (isGated ? 3 : 2) << 15 + (sums <= 28 << 10 ? 0 : sums)
    }
    var eights = layer.x.rows <= 8 ? 1 : layer.x.rows <= 16 ? 2 : layer.x.rows <= 32 || isNF4 ? 4 : 8
    let room = device.sharedBytes - 1024
    while eights > 1, shared(eights) > room { eights /= 2 }
    rows = 8 * eights
    let copy = min(rows, layer.x.rows) * (weight.columns * 2 + 16)
    copiesX = isWide && eights == 1 && shared(eights) + copy <= room
    sharedBytes = shared(eights) + (copiesX ? copy : 0)
    let perMultiprocessor =
      !isWide && eights <= 2 && 2 * (sharedBytes + 1024) <= device.sharedBytes + 1024 ? 2 : 1
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
  var owners: UInt
  var adapters: UInt
  var parts: Int32
  /// Of activation_kind.
  var activation: Int32
  var tiles: Int32 = 0
  var splits: Int32 = 1
  var partials: UInt = 0
  var arrivals: UInt = 0
  var copiesX: Int = 0

  init(_ layer: FewRows) {
    x = layer.x.matrix
    if let tensor = layer.h { h = tensor.matrix }
    if let tensor = layer.addend { addend = tensor.matrix }
    out = layer.out.matrix
    owners = layer.selection?.owners.address ?? 0
    adapters = layer.selection?.adapters.address ?? 0
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
    if adapters != 0 { operands.adapters += UInt(range.lowerBound * DType.i32.size) }
    return operands
  }
}
