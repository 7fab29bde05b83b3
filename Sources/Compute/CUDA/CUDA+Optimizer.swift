/// The struct of the same name in optimizer.cu.
private struct AdamWConstants: BitwiseCopyable {
  let beta1, beta2, epsilon, weightDecay, maximumNorm: Double

  init(_ update: AdamW) {
    beta1 = update.beta1
    beta2 = update.beta2
    epsilon = update.epsilon
    weightDecay = update.weightDecay
    maximumNorm = update.maximumNorm ?? 0
  }
}

extension CUDA {
  /// Partial sums: SUM_BLOCKS of optimizer.cu.
  private static let sumBlocks = 1024

  public var sumOfSquaresWorkspaceBytes: Int { Self.sumBlocks * MemoryLayout<Double>.size }

  public func sumOfSquares(_ x: Tensor, sum: Tensor, workspace: Tensor?) {
    let partial = workspace?.address ?? 0
    launch(
      .optimizer, "sum_squares_partial", grid: Grid(x: Self.sumBlocks), threads: 256, x.address,
      Int64(x.columns), partial)
    launch(.optimizer, "sum_squares_total", grid: Grid(x: 1), threads: 256, partial, sum.address)
  }

  public func adamW(
    _ update: AdamW, numbers: Tensor, parameters: Tensor, gradients: Tensor, m: Tensor, v: Tensor
  ) {
    launch(
      .optimizer, "adamw_f32", grid: Grid(x: min(4096, (parameters.columns + 255) / 256)), threads: 256,
      AdamWConstants(update), numbers.address, parameters.address, gradients.address, m.address, v.address,
      Int64(parameters.columns))
  }

  public func adamW8bit(
    _ update: AdamW, numbers: Tensor, parameters: Tensor, gradients: Tensor, state: AdamW8bitState
  ) {
    launch(
      .optimizer, "adamw_8bit", grid: Grid(x: min(8192, (parameters.columns + 255) / 256)), threads: 256,
      AdamWConstants(update), numbers.address, parameters.address, gradients.address, state.m.address,
      state.v.address, state.mScale.address, state.vScale.address, state.mMap.address, state.vMap.address,
      Int64(parameters.columns))
  }
}
