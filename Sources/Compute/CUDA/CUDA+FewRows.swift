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
      let rows = Int(part.x.rows)
      launch(
        plan.source, plan.kernel, grid: plan.grid(rows), threads: plan.warps * 32, shared: plan.sharedBytes,
        overlapping: true, part)
      guard let finishRows = plan.finishRows else { continue }
      launch(
        .fewRowsFinish, "few_rows_finish_\(finishRows)",
        grid: Grid(x: (layer.out.columns + 127) / 128, y: (rows + finishRows - 1) / finishRows), threads: 128,
        overlapping: true, part)
    }
  }

  public func selectAdapters(_ h: Tensor, _ selection: AdapterSelection) {
    launch(
      .fewRows, "select_adapters_\(h.dtype)", grid: Grid(x: (h.rows * h.columns + 255) / 256), threads: 256,
      overlapping: true, h.matrix, selection.owners.address, selection.adapters.address)
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
