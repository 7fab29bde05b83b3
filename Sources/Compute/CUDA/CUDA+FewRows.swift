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
    let plan = FewRowsLaunch(layer, device)
    let operands = FewRowsOperands(layer, firstBlocks: plan?.firstBlocks ?? [])
    guard let plan else {
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
      part.rowsBefore = plan.rowsBefore ?? -1
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

/// How the kernels on tensor cores take a layer. What decides the order of a row's sums depends on the layer and the device
/// alone, never on how many rows there are.
private struct FewRowsLaunch {
  let source: KernelSource
  let kernel: String
  /// Rows of x at a time.
  let rows: Int
  /// Of weight rows: all, or in NF4 those of a thread block.
  let tiles: Int
  /// Ranges of the weight's columns: of different thread blocks, or in NF4 of different warps.
  let splits: Int
  /// Of a thread block.
  let warps: Int
  let blocks: Int
  let sharedBytes: Int
  var partialBytes = 0
  /// Where x is copied to shared memory first: how many of its rows lie there before the table (NF4).
  var rowsBefore: Int?
  /// In NF4 the parts' first thread blocks.
  var firstBlocks: [Int] = []
  /// Whether it is a kernel for few rows of the weight, and how many rows of x its blocks take.
  var isShort = false
  var shortRows = 0

  /// nil where the operands are not what tensor cores, or wide loads, take.
  init?(_ layer: FewRows, _ device: CUDADevice) {
    let weight = layer.layer.parts[0].weight
    guard device.computeCapability.major >= 8, layer.x.dtype == .bf16, layer.isAligned,
      let format = Self.formatName(weight),
      layer.layer.parts.allSatisfy({ Self.formatName($0.weight) == format })
    else { return nil }
    if weight.format == .nf4 {
      self.init(nf4: layer, format, device)
    } else if weight.format == .f32, layer.activation == nil, layer.out.columns <= 128 {
      self.init(short: layer)
    } else {
      self.init(wide: layer, format, device)
    }
  }

  /// few_rows.cu's for few rows of the weight.
  private init(short layer: FewRows) {
    (isShort, shortRows) = (true, layer.x.rows == 1 ? 1 : 8)
    (source, kernel, rows) = (.fewRows, "few_rows_short_\(shortRows)", 64)
    (tiles, splits, warps, blocks, sharedBytes) = (1, 1, 16, layer.out.columns, 0)
  }

  /// few_rows_mma.cuh's.
  private init(wide layer: FewRows, _ format: String, _ device: CUDADevice) {
    let weight = layer.layer.parts[0].weight
    let isGated = layer.activation != nil
    source = weight.format == .int8 ? .fewRowsINT8 : .fewRowsFloat

    // Two times 16 weight rows a warp read x half as often as one, but leave half as many tiles.
    let pairs = layer.layer.parts.reduce(0) { $0 + ($1.weight.rows + 31) / 32 }
    let height = isGated || pairs >= 4 * device.multiprocessors ? 32 : 16
    tiles =
      isGated
      ? (weight.rows + 15) / 16
      : layer.layer.parts.reduce(0) { $0 + ($1.weight.rows + height - 1) / height }

    // Groups of 64 columns, as group_width() has them, shared out to blocks and warps.
    let words = weight.format == .int8 ? 4 : weight.format == .f32 ? 16 : 8
    let width = max(1, 32 * 8 / (height * words))
    let groups = (weight.columns / 64 + width - 1) / width
    splits = max(1, min(2 * device.multiprocessors / pairs, groups / 8))
    warps = min(8, groups / splits)

    // Rows of x, in eights: what shared memory holds.
    let (count, warps) = (layer.x.rows, warps)
    func shared(_ eights: Int) -> Int {
      (eights <= 2 ? 2 : 1) * warps * min(8 * eights, count) * (height + 4) * DType.f32.size
    }
    var eights = count <= 8 ? 1 : count <= 16 ? 2 : count <= 32 ? 4 : 8
    while eights > 1, shared(eights) > device.sharedBytes - 1024 { eights /= 2 }
    rows = 8 * eights
    sharedBytes = shared(eights)
    let perMultiprocessor = eights <= 2 && 2 * (sharedBytes + 1024) <= device.sharedBytes + 1024 ? 2 : 1
    blocks = min(tiles * splits, perMultiprocessor * device.multiprocessors)
    partialBytes = splits == 1 ? 0 : tiles * splits * min(rows, count) * height * DType.f32.size
    kernel = "few_rows_\(format)_m\(height / 16)_n\(eights)"
  }

  /// few_rows_nf4.cu's.
  private init(nf4 layer: FewRows, _ format: String, _ device: CUDADevice) {
    let weight = layer.layer.parts[0].weight
    let isGated = layer.activation != nil
    // TABLE_PITCH, THREADS and what follows from them.
    let isWide = device.sharedBytes > 132 << 10
    let table = isWide ? 64 << 10 : 32 << 10
    let tablesEnd = (isGated && !isWide ? 3 : 2) * table
    let (reserved, maps, slot) = (1 << 10, 2 << 10, 2 << 10)
    let before = (table - reserved - maps) / slot
    let mostWarps = min(isWide ? 18 : 10, (before + (device.sharedBytes - tablesEnd) / slot) / 2)

    // Every multiprocessor has one thread block; with more tiles than that, they follow each other.
    let height = isGated ? 8 : 16
    let heights = (isGated ? [weight.rows] : layer.layer.parts.map(\.weight.rows))
      .map { ($0 + height - 1) / height }
    func blocks(_ heights: some Sequence<Int>, _ tiles: Int) -> Int {
      heights.reduce(0) { $0 + ($1 + tiles - 1) / tiles }
    }
    let tiles = (1...mostWarps).first { blocks(heights, $0) <= device.multiprocessors } ?? mostWarps
    self.tiles = tiles
    splits = min(mostWarps / tiles, (weight.columns + 255) / 256)
    warps = tiles * splits
    self.blocks = blocks(heights, tiles)
    firstBlocks = layer.layer.parts.indices.map { blocks(heights.prefix($0), tiles) }

    let eights = layer.x.rows <= 8 ? 1 : 2
    rows = 8 * eights
    let slots = (eights == 2 ? 1 : 2) * warps
    let pitch = weight.columns * DType.bf16.size + 16
    let beforeTable = (table - reserved - maps - min(slots, before) * slot) / pitch
    let used = tablesEnd + max(0, slots - before) * slot
    let copy = max(0, min(rows, layer.x.rows) - beforeTable) * pitch
    let copiesX = used + copy <= device.sharedBytes
    rowsBefore = copiesX ? beforeTable : nil
    sharedBytes = used + (copiesX ? copy : 0)
    (source, kernel) = (.fewRowsNF4, "few_rows_\(format)_n\(eights)")
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
    var firstBlock: Int32 = 0
  }

  var part = Four(Part())
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
  var rowsBefore: Int = -1

  init(_ layer: FewRows, firstBlocks: [Int]) {
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
      if firstBlocks.indices.contains(index) { operand.firstBlock = Int32(firstBlocks[index]) }
      if let up = part.up {
        precondition(up.weight.format == .f32, "adapters are float32")
        operand.up = UInt(bitPattern: up.weight.layout.data)
        operand.scale = up.scale
        operand.column = Int32(up.columns.lowerBound)
        operand.rank = Int32(up.columns.count)
      }
      self.part.set(index, operand)
      first += part.weight.rows
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
