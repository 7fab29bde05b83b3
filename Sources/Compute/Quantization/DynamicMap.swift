/// The 256 values of bitsandbytes' 8-bit "dynamic" data type, ascending.
///
/// The bits after the sign are a unary exponent (so many zeros and a one: a power of ten) and, in what is left,
/// a linear fraction of [0.1, 1]: small numbers get range, large ones precision.
///
/// Source: Dettmers, 8-Bit Approximations for Parallelism in Deep Learning, arXiv:1511.04561; bitsandbytes'
/// `create_dynamic_map`, whose float32 roundings are kept.
public enum DynamicMap {
  /// -0.993 ... 1: NF4's second quantisation, Adam's first moment.
  public static let signed = values(signed: true)
  /// 0 ... 1: Adam's second moment. No sign bit, hence one more bit of fraction.
  public static let unsigned = values(signed: false)

  private static func values(signed: Bool) -> [Float] {
    let powers: [Float] = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1]
    var values: [Float] = [0, 1]
    for (exponent, power) in powers.enumerated() {
      let fractions = centres(of: 1 << (signed ? exponent : exponent + 1))
      values += fractions.map { power * $0 }
      if signed { values += fractions.map { -power * $0 } }
    }
    return values.sorted()
  }

  /// The middles of `count` equal parts of [0.1, 1].
  private static func centres(of count: Int) -> [Float] {
    let (first, last): (Float, Float) = (0.1, 1)
    let step = (last - first) / Float(count)
    // From the nearer end and with one rounding, as torch.linspace counts.
    let edges = (0...count).map { i in
      i < (count + 1) / 2
        ? first.addingProduct(step, Float(i)) : last.addingProduct(-step, Float(count - i))
    }
    return zip(edges, edges.dropFirst()).map { ($0 + $1) / 2 }
  }
}
