import CKernels

extension CUDA {
  // MARK: Normalisation

  public func rmsNorm(
    _ x: Tensor, residual: Tensor?, weight: Tensor, epsilon: Float, h: Tensor?, y: Tensor, rstd: Tensor
  ) {
    let width = weight.columns
    let shape = NormLaunch(x, width, [x, residual, weight, h, y])
    launch(
      .rmsNorm, "rms_norm_\(x.dtype)_\(y.dtype)_\(shape.suffix)", grid: shape.grid, threads: 256,
      overlapping: x.rows <= 64,  // a decoding step: nothing else is between its kernels
      x.matrix, residual.kernel, weight.address, epsilon, Int64(width), h.kernel, y.matrix, rstd.address)
  }

  public func rmsNormBackward(
    _ dy: Tensor, h: Tensor, weight: Tensor, rstd: Tensor, adding: Tensor?, dh: Tensor, dWeight: Tensor?
  ) {
    let width = weight.columns
    // First, for dh may be dy.
    if let dWeight {
      launch(
        .rmsNorm, "rms_norm_backward_weight_\(h.dtype)_\(dy.dtype)", grid: Grid(x: (width + 31) / 32),
        threads: 1024, dy.matrix, h.matrix, rstd.address, Int64(width), dWeight.address)
    }
    let shape = NormLaunch(h, width, [dy, h, weight, adding, dh])
    launch(
      .rmsNorm, "rms_norm_backward_\(h.dtype)_\(dy.dtype)_\(shape.suffix)", grid: shape.grid, threads: 256,
      dy.matrix, h.matrix, weight.address, rstd.address, Int64(width), adding.kernel, dh.matrix)
  }

  // MARK: Element-wise

  public func rotary(
    _ x: Tensor, positions: Tensor, table: RotaryTable, direction: RotaryDirection, y: Tensor
  ) {
    let (head, half) = (table.headSize, table.cosine.columns)
    let aligned = Tensor.areAligned([x, y, table.cosine, table.sine])
    let wide = x.dtype == .bf16 ? 8 : 4
    let vector = aligned && half % wide == 0 && (head - 2 * half) % wide == 0 ? wide : 1
    let items = x.columns / head * (half + head - 2 * half) / vector
    launch(
      .elementwise, "rotary_\(x.dtype)_x\(vector)", grid: Self.grid(items: items, rows: x.rows), threads: 128,
      x.matrix, positions.address, table.cosine.address, table.sine.address, Int64(head), Int64(2 * half),
      direction == .forward ? Float(1) : -1, y.matrix)
  }

  public func gatedActivation(_ activation: Activation, gate: Tensor, up: Tensor, y: Tensor) {
    let vector = vectorWidth([gate, up, y])
    launch(
      .elementwise, "gated_\(activation.kernelName)_\(y.dtype)_x\(vector)",
      grid: Self.grid(items: (y.columns + vector - 1) / vector, rows: y.rows), threads: 128,
      gate.matrix, up.matrix, y.matrix)
  }

  public func gatedActivationBackward(
    _ activation: Activation, gate: Tensor, up: Tensor, dy: Tensor, dGate: Tensor, dUp: Tensor
  ) {
    let vector = vectorWidth([gate, up, dy, dGate, dUp])
    launch(
      .elementwise, "gated_\(activation.kernelName)_backward_\(dy.dtype)_x\(vector)",
      grid: Self.grid(items: (dy.columns + vector - 1) / vector, rows: dy.rows), threads: 128,
      gate.matrix, up.matrix, dy.matrix, dGate.matrix, dUp.matrix)
  }

  public func add(_ a: Tensor, _ b: Tensor, y: Tensor) {
    let vector = vectorWidth([a, b, y])
    launch(
      .elementwise, "add_\(y.dtype)_x\(vector)",
      grid: Self.grid(items: (y.columns + vector - 1) / vector, rows: y.rows), threads: 128, a.matrix,
      b.matrix, y.matrix)
  }

  public func convert(_ x: Tensor, y: Tensor) {
    let vector = Tensor.areAligned([x, y]) && x.columns % 4 == 0 ? 4 : 1
    launch(
      .elementwise, "convert_\(x.dtype)_\(y.dtype)_x\(vector)",
      grid: Self.grid(items: (y.columns + vector - 1) / vector, rows: y.rows), threads: 128, x.matrix,
      y.matrix)
  }

  public func dropout(_ x: Tensor, _ dropout: Dropout, y: Tensor) {
    let probability = Double(dropout.probability)
    let perThread = 16 / x.dtype.size
    launch(
      .dropout, "dropout_\(x.dtype)_x\(vectorWidth([x, y]))",
      grid: Self.grid(items: (x.columns + perThread - 1) / perThread, rows: x.rows), threads: 128, x.matrix,
      UInt32(probability * 0x1p32), Float(1 / (1 - probability)), dropout.layer, dropout.counter.address,
      Int64(dropout.firstRow), y.matrix)
  }

  public func zero(_ x: Tensor) {
    let (pitch, width) = (x.stride * x.dtype.size, x.columns * x.dtype.size)
    let address = sw_device_address(x.address)
    start("clearing a tensor") {
      x.isContiguous
        ? $0.cuMemsetD8Async(address, 0, width * x.rows, stream)
        : $0.cuMemsetD2D8Async(address, pitch, 0, width, x.rows, stream)
    }
  }

  // MARK: Vocabulary

  public func embedding(ids: Tensor, weight: Weight, y: Tensor) {
    launch(
      .embedding, "embedding_\(y.dtype)", grid: Self.grid(items: (y.columns + 7) / 8, rows: y.rows),
      threads: 128, ids.address, weight.layout, y.matrix)
  }

  public func embeddingBackward(_ dy: Tensor, ids: Tensor, dWeight: Tensor) {
    let vector = Tensor.areAligned([dWeight]) ? vectorWidth([dy]) : 1
    // A thread for each piece of a row, as far as the kernel goes (EMBEDDING_THREADS).
    let pieces = dy.columns / vector
    let threads = min((pieces + 31) / 32 * 32, 256)
    launch(
      .embedding, "embedding_backward_\(dy.dtype)_x\(vector)",
      grid: Grid(x: dy.rows, y: (pieces + threads - 1) / threads), threads: threads, dy.matrix, ids.address,
      dWeight.address)
  }

  public func columnSum(_ x: Tensor, sum: Tensor) {
    launch(
      .embedding, "column_sum_\(x.dtype)", grid: Grid(x: (x.columns + 31) / 32), threads: 1024, x.matrix,
      sum.address)
  }

  public func crossEntropy(
    _ logits: Tensor, _ slice: VocabularySlice, labels: Tensor, logsumexp: Tensor, loss: Tensor
  ) {
    launch(
      .crossEntropy, "cross_entropy_\(logits.dtype)_x\(vectorWidth([logits]))",
      grid: Grid(x: logits.rows), threads: 512, logits.matrix, slice.kernel, labels.address,
      logsumexp.address, loss.address)
  }

  public func crossEntropyBackward(
    _ logits: Tensor, firstColumn: Int, labels: Tensor, logsumexp: Tensor, rowWeight: Tensor,
    dLogits: Tensor
  ) {
    let vector = vectorWidth([logits, dLogits])
    launch(
      .crossEntropy, "cross_entropy_backward_\(logits.dtype)_\(dLogits.dtype)_x\(vector)",
      grid: Grid(x: logits.rows), threads: 512, logits.matrix, Int64(firstColumn), labels.address,
      logsumexp.address, rowWeight.address, dLogits.matrix)
  }

  // MARK: Launches

  /// Blocks of 128 threads for `items` of each row; more rows than blocks may be counted by take turns.
  private static func grid(items: Int, rows: Int) -> Grid {
    Grid(x: (items + 127) / 128, y: min(rows, 65_535))
  }

  /// Elements that a thread of the kernels of one dtype takes: 16 bytes where every row allows it.
  private func vectorWidth(_ tensors: [Tensor]) -> Int {
    let wide = 16 / tensors[0].dtype.size
    return Tensor.areAligned(tensors) && tensors[0].columns % wide == 0 ? wide : 1
  }
}

/// How a normalisation is split: narrow groups get a warp each, others a block.
private struct NormLaunch {
  let suffix: String
  let grid: CUDA.Grid

  init(_ x: Tensor, _ width: Int, _ tensors: [Tensor?]) {
    let groups = x.rows * x.columns / width
    let isNarrow = width <= 512
    let isAligned = width % 4 == 0 && Tensor.areAligned(tensors.compactMap(\.self))
    suffix = (isAligned ? "x4" : "x1") + (isNarrow ? "_warp" : "_block")
    grid = CUDA.Grid(x: isNarrow ? (groups + 7) / 8 : groups)
  }
}

extension Tensor {
  /// Whether rows of all of them start at multiples of 16 bytes.
  static func areAligned(_ tensors: [Tensor]) -> Bool {
    tensors.allSatisfy {
      $0.address % 16 == 0 && ($0.rows == 1 || $0.stride * $0.dtype.size % 16 == 0)
    }
  }
}

extension Tensor? {
  /// The kernels' matrix, absent when nil.
  fileprivate var kernel: sw_matrix { self?.matrix ?? sw_matrix() }
}

extension Activation {
  fileprivate var kernelName: String {
    switch self {
    case .silu: "silu"
    case .geluTanh: "gelu_tanh"
    case .gelu: "gelu"
    }
  }
}
