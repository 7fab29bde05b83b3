import Foundation

/// The learning rate over a run: a linear warm-up, then one of transformers' shapes, named as there.
public struct LearningRateSchedule: Sendable, Equatable {
  public enum Shape: String, Sendable, CaseIterable, Codable {
    case constant
    case constantWithWarmup = "constant_with_warmup"
    /// Down to zero in a line.
    case linear
    /// Down to zero along half a cosine.
    case cosine
  }

  public var shape: Shape
  public var peak: Double
  public var warmupSteps: Int
  public var totalSteps: Int

  public init(_ shape: Shape, peak: Double, warmupSteps: Int, totalSteps: Int) {
    self.shape = shape
    self.peak = peak
    self.warmupSteps = warmupSteps
    self.totalSteps = totalSteps
  }

  /// The rate of the update that follows `step` earlier ones.
  public func rate(after step: Int) -> Double {
    if shape == .constant { return peak }
    if step < warmupSteps { return peak * Double(step) / Double(max(1, warmupSteps)) }
    let decay = max(1, totalSteps - warmupSteps)
    let progress = min(1, Double(step - warmupSteps) / Double(decay))
    switch shape {
    case .constant, .constantWithWarmup: return peak
    case .linear: return peak * (1 - progress)
    case .cosine: return peak * 0.5 * (1 + cos(.pi * progress))
    }
  }
}
