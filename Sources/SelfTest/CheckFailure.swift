import Compute

/// A check that did not find what it should.
public struct CheckFailure: Sendable, Equatable, CustomStringConvertible {
  public let description: String

  init(_ name: String, _ dtype: DType, seed: UInt64? = nil, _ what: String) {
    description = "\(name), \(dtype)\(seed.map { ", seed \($0)" } ?? ""): \(what)"
  }
}
