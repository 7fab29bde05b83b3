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
  let backend: any Backend
  /// (1, 4), f64: see `AdamW.numbers`.
  private let numbers: Tensor
  /// The 8-bit codes' values, and `numbers`.
  private let constants: Buffer
  private let plan: Plan
  private let arena: Buffer

  /// Plans the update and takes its memory; moments start at zero.
  public init(_ settings: Settings, for parameters: Parameters, on backend: any Backend) throws(SwiftletError)
  {
    self.settings = settings
    self.parameters = parameters
    self.backend = backend
    memory = try backend.allocate(bytes: Self.bytes(settings.kind, count: parameters.count))
    let maps = 2 * DynamicMap.signed.count * MemoryLayout<Float>.size
    constants = try backend.allocate(bytes: maps + 4 * MemoryLayout<Double>.size)
    numbers = Tensor(constants, offset: maps, rows: 1, columns: 4, dtype: .f64)
    let update = Update(settings, parameters, memory, constants, numbers)
    plan = Step.plan(on: backend) { update.run($0) }
    arena = try backend.allocate(bytes: max(plan.bytes, 1))
    try update.maps.write(DynamicMap.signed + DynamicMap.unsigned, on: backend)
    backend.zero(moments)
  }

  /// Bytes of the moments of `count` parameters.
  public static func bytes(_ kind: Kind, count: Int) -> Int { Update.bytes(kind, count: count) }

  /// Everything that is kept from update to update, as bytes.
  var moments: Tensor { Tensor(memory, rows: 1, columns: memory.count, dtype: .u8) }

  /// Clips the gradients, updates the parameters and clears the gradients.
  ///
  /// - Returns: the gradients' norm before clipping.
  public func update(learningRate: Double) throws(SwiftletError) -> Double {
    try begin(learningRate: learningRate)
    start()
    return try norm()
  }

  /// Sets what the next update reads.
  func begin(learningRate: Double) throws(SwiftletError) {
    step += 1
    let constants = AdamW(beta1: settings.beta1, beta2: settings.beta2)
    try numbers.columns(0..<3).write(constants.numbers(learningRate: learningRate, step: step), on: backend)
  }

  /// Starts the update.
  func start() {
    let update = Update(settings, parameters, memory, constants, numbers)
    Step.run(plan, in: arena, on: backend) { update.run($0) }
  }

  /// The gradients' norm of the last update, before clipping.
  func norm() throws(SwiftletError) -> Double {
    try numbers.columns(3..<4).read(as: Double.self, on: backend)[0].squareRoot()
  }
}

/// The operations of an update, and where what they need lies.
private struct Update {
  private let settings: Optimizer.Settings
  private let parameters: Parameters
  private let memory: Buffer
  private let numbers: Tensor
  /// (1, 512), f32: values of the codes of first moments, then of second ones.
  let maps: Tensor

  init(
    _ settings: Optimizer.Settings, _ parameters: Parameters, _ memory: Buffer, _ constants: Buffer,
    _ numbers: Tensor
  ) {
    self.settings = settings
    self.parameters = parameters
    self.memory = memory
    self.numbers = numbers
    maps = Tensor(constants, rows: 1, columns: 512, dtype: .f32)
  }

  static func bytes(_ kind: Optimizer.Kind, count: Int) -> Int {
    switch kind {
    case .adamW: 2 * count * MemoryLayout<Float>.size
    case .adamW8bit: 2 * (scales(count) * MemoryLayout<Float>.size + padded(count))
    }
  }

  func run(_ s: Step) {
    s.sumOfSquares(parameters.allGradients, into: numbers.columns(3..<4))
    for range in parameters.runs {
      let update = AdamW(
        beta1: settings.beta1, beta2: settings.beta2, epsilon: settings.epsilon,
        weightDecay: range.decays ? settings.weightDecay : 0, maximumNorm: settings.maximumNorm)
      apply(update, to: range.elements, s)
    }
    s.zero(parameters.allGradients)
  }

  private func apply(_ update: AdamW, to range: Range<Int>, _ s: Step) {
    let values = parameters.allValues.columns(range)
    let gradients = parameters.allGradients.columns(range)
    let count = parameters.count
    switch settings.kind {
    case .adamW:
      let moments = Tensor(memory, rows: 2, columns: count, dtype: .f32)
      s.adamW(
        update, numbers: numbers, parameters: values, gradients: gradients,
        m: moments.rows(0..<1).columns(range), v: moments.rows(1..<2).columns(range))
    case .adamW8bit:
      let blocks = range.lowerBound / AdamW8bitState.block..<Self.scales(range.upperBound)
      let state = AdamW8bitState(
        m: codes(0).columns(range), v: codes(1).columns(range), mScale: scales(0).columns(blocks),
        vScale: scales(1).columns(blocks), mMap: maps.columns(0..<256), vMap: maps.columns(256..<512))
      s.adamW8bit(update, numbers: numbers, parameters: values, gradients: gradients, state: state)
    }
  }

  // MARK: 8-bit state: two rows of scales, then two rows of codes. With scales of zero, codes mean nothing.

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
}
