import Foundation

/// AdamW (Loshchilov & Hutter, arXiv:1711.05101), its constants named as in torch.optim.AdamW.
///
/// What changes from update to update lies in memory, so that a recorded step can be repeated: see `numbers`.
public struct AdamW: Sendable, Equatable {
  public var beta1: Double
  public var beta2: Double
  public var epsilon: Double
  public var weightDecay: Double
  /// Gradients are scaled by min(1, maximumNorm / (norm + 1e-6)), as torch.nn.utils.clip_grad_norm_ does; nil: never.
  public var maximumNorm: Double?

  public init(
    beta1: Double = 0.9, beta2: Double = 0.999, epsilon: Double = 1e-8, weightDecay: Double = 0,
    maximumNorm: Double? = nil
  ) {
    self.beta1 = beta1
    self.beta2 = beta2
    self.epsilon = epsilon
    self.weightDecay = weightDecay
    self.maximumNorm = maximumNorm
  }

  /// What update `step`, from 1, reads: the learning rate and both bias corrections, 1 - betaᵗ. The sum of the
  /// gradients' squares is the fourth number; `Step.sumOfSquares` writes it.
  public func numbers(learningRate: Double, step: Int) -> [Double] {
    [learningRate, 1 - pow(beta1, Double(step)), 1 - pow(beta2, Double(step))]
  }
}

/// Both moments as 8-bit codes, one scale per 256 elements (Dettmers et al., arXiv:2110.02861).
public struct AdamW8bitState: Sendable {
  /// (1, n), u8
  public var m, v: Tensor
  /// (1, n / 256 rounded up), f32
  public var mScale, vScale: Tensor
  /// (1, 256), f32: the codes' values, `DynamicMap.signed` and `.unsigned`.
  public var mMap, vMap: Tensor

  /// Elements that share a scale.
  public static let block = 256

  public init(m: Tensor, v: Tensor, mScale: Tensor, vScale: Tensor, mMap: Tensor, vMap: Tensor) {
    precondition(mMap.columns == 256 && vMap.columns == 256)
    self.m = m
    self.v = v
    self.mScale = mScale
    self.vScale = vScale
    self.mMap = mMap
    self.vMap = vMap
  }
}

extension Step {
  /// sum = the sum of x's squares, (1, n), f32, to (1, 1), f64.
  public func sumOfSquares(_ x: Tensor, into sum: Tensor) {
    precondition(x.dtype == .f32 && x.rows == 1 && sum.shape == (1, 1) && sum.dtype == .f64)
    perform([x, sum], workspace: backend.sumOfSquaresWorkspaceBytes) {
      backend.sumOfSquares(x, sum: sum, workspace: $0)
    }
  }

  /// One update of `parameters` by `gradients`; all are (1, n), f32.
  ///
  /// - Parameter numbers: (1, 4), f64: see `AdamW.numbers`.
  public func adamW(
    _ update: AdamW, numbers: Tensor, parameters: Tensor, gradients: Tensor, m: Tensor, v: Tensor
  ) {
    precondition(numbers.shape == (1, 4) && numbers.dtype == .f64)
    precondition(gradients.shape == parameters.shape && m.shape == parameters.shape && v.shape == m.shape)
    perform([numbers, parameters, gradients, m, v]) { _ in
      backend.adamW(update, numbers: numbers, parameters: parameters, gradients: gradients, m: m, v: v)
    }
  }

  /// The same with moments in 8 bits.
  public func adamW8bit(
    _ update: AdamW, numbers: Tensor, parameters: Tensor, gradients: Tensor, state: AdamW8bitState
  ) {
    precondition(numbers.shape == (1, 4) && numbers.dtype == .f64)
    precondition(gradients.shape == parameters.shape && state.m.columns >= parameters.columns)
    perform([numbers, parameters, gradients, state.m, state.v, state.mScale, state.vScale]) { _ in
      backend.adamW8bit(update, numbers: numbers, parameters: parameters, gradients: gradients, state: state)
    }
  }
}
