/// Random numbers that a seed and a name fix: SplitMix64 (Steele, Lea & Flood, OOPSLA 2014).
struct RandomStream: RandomNumberGenerator {
  private var state: UInt64

  /// Streams of different names are independent, so that a case's numbers do not hang on the cases before it.
  init(seed: UInt64, _ name: String) {
    // FNV-1a; Swift's own hash differs from run to run.
    state = name.utf8.reduce(0xCBF2_9CE4_8422_2325 ^ seed) { ($0 ^ UInt64($1)) &* 0x100_0000_01B3 }
  }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }

  /// Uniform in [-1, 1], on a grid of 2^-12 if `onGrid`: then a small power of two can be added without
  /// rounding, in float too.
  mutating func uniform(onGrid: Bool = false) -> Double {
    onGrid
      ? Double(Int.random(in: -4096...4096, using: &self)) * 0x1p-12
      : Double.random(in: -1...1, using: &self)
  }
}
