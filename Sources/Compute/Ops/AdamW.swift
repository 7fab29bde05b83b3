/// The constants of one AdamW update (Loshchilov & Hutter, arXiv:1711.05101), named as in torch.optim.AdamW.
public struct AdamWUpdate: Sendable, Equatable {
  public var learningRate: Double
  public var beta1: Double
  public var beta2: Double
  public var epsilon: Double
  public var weightDecay: Double
  /// 1 for the first update.
  public var step: Int
  /// Multiplies every gradient first: gradient clipping.
  public var gradientScale: Double

  public init(
    learningRate: Double, beta1: Double = 0.9, beta2: Double = 0.999, epsilon: Double = 1e-8,
    weightDecay: Double = 0, step: Int, gradientScale: Double = 1
  ) {
    self.learningRate = learningRate
    self.beta1 = beta1
    self.beta2 = beta2
    self.epsilon = epsilon
    self.weightDecay = weightDecay
    self.step = step
    self.gradientScale = gradientScale
  }
}

/// Both moments as 8-bit codes, one scale per 256 elements (Dettmers et al., arXiv:2110.02861).
public struct AdamW8bitState: Sendable {
  /// (1, n), u8
  public var m, v: Tensor
  /// (1, n / 256 rounded up), f32
  public var mScale, vScale: Tensor

  /// Elements that share a scale.
  public static let block = 256

  public init(m: Tensor, v: Tensor, mScale: Tensor, vScale: Tensor) {
    self.m = m
    self.v = v
    self.mScale = mScale
    self.vScale = vScale
  }
}
