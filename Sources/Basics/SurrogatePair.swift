extension Unicode.Scalar {
  /// The scalar that a pair of surrogates stands for (The Unicode Standard, section 3.9, D91); nil when they are no pair.
  public init?(high: UInt32, low: UInt32) {
    guard (0xD800..<0xDC00).contains(high), (0xDC00..<0xE000).contains(low) else { return nil }
    self.init(0x10000 + (high - 0xD800) << 10 + (low - 0xDC00))
  }
}
