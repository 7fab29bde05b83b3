import Compute

/// How fast a case ran.
public struct OpSpeed: Sendable, CustomStringConvertible {
  public let name: String
  public let dtype: DType
  /// Of one run: the fastest of those made.
  public let seconds: Double
  /// Bytes of all operands and results: the least that memory has to move.
  public let bytes: Int
  public let flops: Double

  public var description: String {
    let rate =
      flops > 0
      ? "\((flops / seconds / 1e9).rounded(to: 1)) GFLOP/s"
      : "\((Double(bytes) / seconds / 1e9).rounded(to: 1)) GB/s"
    return "\(name), \(dtype): \((seconds * 1e6).rounded(to: 1)) µs, \(rate)"
  }
}

extension OpCase {
  /// Runs the case again and again for about `duration`.
  public func measure(
    on backend: any Backend, _ dtype: DType, duration: Duration = .milliseconds(200)
  ) throws -> OpSpeed {
    let prepared = try PreparedCase(self, HostOperands(self, dtype, seed: 0), on: backend)
    let results = prepared.start().values.compactMap { $0 as? Tensor }
    try prepared.synchronize()
    let bytes = results.reduce(prepared.bytes) { $0 + $1.rows * $1.columns * $1.dtype.size }
    let clock = ContinuousClock()
    let end = clock.now + duration
    var best = Double.infinity
    repeat {
      let elapsed = try clock.measure {
        _ = prepared.start()
        try prepared.synchronize()
      }
      best = Swift.min(best, elapsed / .seconds(1))
    } while clock.now < end
    return OpSpeed(name: name, dtype: dtype, seconds: best, bytes: bytes, flops: flops)
  }
}

extension Double {
  fileprivate func rounded(to digits: Int) -> Double {
    let scale = (0..<digits).reduce(1.0) { scale, _ in scale * 10 }
    return (self * scale).rounded() / scale
  }
}
