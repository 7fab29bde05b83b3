import Basics
import Compute
import Models

/// AdamW over a block of parameters, with its moments in float32 or in 8 bits.
public final class Optimizer {
  public enum Kind: String, Sendable, CaseIterable, Codable {
    case adamW = "adamw_torch"
    case adamW8bit = "adamw_8bit"
  }

  public struct Settings: Sendable, Equatable {
    public var kind: Kind
    public var beta1: Double
    public var beta2: Double
    public var epsilon: Double
    public var weightDecay: Double
    /// The gradients' norm is scaled down to this; nil: never.
    public var maximumNorm: Double?

    public init(
      kind: Kind = .adamW, beta1: Double = 0.9, beta2: Double = 0.999, epsilon: Double = 1e-8,
      weightDecay: Double = 0, maximumNorm: Double? = 1
    ) {
      self.kind = kind
      self.beta1 = beta1
      self.beta2 = beta2
      self.epsilon = epsilon
      self.weightDecay = weightDecay
      self.maximumNorm = maximumNorm
    }
  }

  public let settings: Settings
  /// Updates done.
  public internal(set) var step = 0
  let parameters: Parameters
  let memory: Buffer
  private let backend: any Backend

  /// Moments start at zero.
  public init(_ settings: Settings, for parameters: Parameters, on backend: any Backend) throws(SwiftletError)
  {
    self.settings = settings
    self.parameters = parameters
    self.backend = backend
    memory = try backend.allocate(bytes: Self.bytes(settings.kind, count: parameters.count))
    switch settings.kind {
    case .adamW: backend.zero(Tensor(memory, rows: 1, columns: 2 * parameters.count, dtype: .f32))
    case .adamW8bit: reset8bit()
    }
  }

  /// Bytes of the moments of `count` parameters.
  public static func bytes(_ kind: Kind, count: Int) -> Int {
    switch kind {
    case .adamW: 2 * count * MemoryLayout<Float>.size
    case .adamW8bit: 2 * (scales(count) * MemoryLayout<Float>.size + padded(count))
    }
  }

  /// Clips the gradients, updates the parameters and clears the gradients.
  ///
  /// - Returns: the gradients' norm before clipping.
  public func update(learningRate: Double) -> Double {
    step += 1
    let gradients = parameters.allGradients
    let norm = backend.sumOfSquares(gradients).squareRoot()
    var scale = 1.0
    // torch.nn.utils.clip_grad_norm_ adds the same small number.
    if let maximum = settings.maximumNorm { scale = min(1, maximum / (norm + 1e-6)) }
    for range in parameters.runs {
      let update = AdamWUpdate(
        learningRate: learningRate, beta1: settings.beta1, beta2: settings.beta2, epsilon: settings.epsilon,
        weightDecay: range.decays ? settings.weightDecay : 0, step: step, gradientScale: scale)
      apply(update, to: range.elements)
    }
    backend.zero(gradients)
    return norm
  }

  private func apply(_ update: AdamWUpdate, to range: Range<Int>) {
    let values = parameters.allValues.columns(range)
    let gradients = parameters.allGradients.columns(range)
    let count = parameters.count
    switch settings.kind {
    case .adamW:
      let moments = Tensor(memory, rows: 2, columns: count, dtype: .f32)
      backend.adamW(
        update, parameters: values, gradients: gradients, m: moments.rows(0..<1).columns(range),
        v: moments.rows(1..<2).columns(range))
    case .adamW8bit:
      let blocks = range.lowerBound / AdamW8bitState.block..<Self.scales(range.upperBound)
      let state = AdamW8bitState(
        m: codes(0).columns(range), v: codes(1).columns(range), mScale: scales(0).columns(blocks),
        vScale: scales(1).columns(blocks))
      backend.adamW8bit(update, parameters: values, gradients: gradients, state: state)
    }
  }

  // MARK: 8-bit state: two rows of scales, then two rows of codes

  private static func scales(_ count: Int) -> Int {
    (count + AdamW8bitState.block - 1) / AdamW8bitState.block
  }
  private static func padded(_ count: Int) -> Int { scales(count) * AdamW8bitState.block }

  private func scales(_ index: Int) -> Tensor {
    let count = Self.scales(parameters.count)
    return Tensor(
      memory, offset: index * count * MemoryLayout<Float>.size, rows: 1, columns: count, dtype: .f32)
  }

  private func codes(_ index: Int) -> Tensor {
    let first = 2 * Self.scales(parameters.count) * MemoryLayout<Float>.size
    let count = Self.padded(parameters.count)
    return Tensor(memory, offset: first + index * count, rows: 1, columns: count, dtype: .u8)
  }

  /// With scales of zero, codes mean nothing.
  private func reset8bit() {
    for index in 0..<2 {
      backend.zero(scales(index))
      backend.zero(codes(index))
    }
  }
}
