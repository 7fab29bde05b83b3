import CKernels

/// How the kernels on tensor cores take a layer. What decides the order of a row's sums depends on the layer and the device
/// alone, never on how many rows there are.
struct FewRowsLaunch {
  let source: KernelSource
  let kernel: String
  /// Rows of x at a time.
  let rows: Int
  /// Of weight rows: all, or in NF4 those of a thread block.
  let tiles: Int
  /// Ranges of the weight's columns: of different thread blocks, or in few_rows_nf4.cu of different warps.
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
  /// In a kernel for few rows of the weight, how many rows of x a thread block takes.
  var shortRows: Int?
  /// Where a second kernel finishes what few_rows_nf4_batch.cu leaves, how many rows of x its threads take.
  var finishRows: Int?

  /// For so many rows of x.
  func grid(_ rows: Int) -> CUDA.Grid {
    CUDA.Grid(x: blocks, y: shortRows.map { (rows + $0 - 1) / $0 } ?? (finishRows == nil ? 1 : splits))
  }

  /// nil where the operands are not what tensor cores, or wide loads, take.
  init?(_ layer: FewRows, _ device: CUDADevice) {
    let weight = layer.layer.parts[0].weight
    guard device.computeCapability.major >= 8, layer.x.dtype == .bf16, layer.isAligned,
      let format = Self.formatName(weight),
      layer.layer.parts.allSatisfy({ Self.formatName($0.weight) == format })
    else { return nil }
    if weight.format == .nf4 {
      let few = FewRowsLaunch(nf4: layer, format, device)
      self = FewRowsLaunch(nf4Batch: layer, format, splits: few.splits, device) ?? few
    } else if weight.format == .f32, layer.activation == nil, layer.out.columns <= 128 {
      self.init(short: layer)
    } else {
      self.init(wide: layer, format, device)
    }
  }

  /// few_rows.cu's for few rows of the weight.
  private init(short layer: FewRows) {
    let count = layer.x.rows == 1 ? 1 : 8
    (source, kernel, rows, shortRows) = (.fewRows, "few_rows_short_\(count)", 64, count)
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
