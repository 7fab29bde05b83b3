/// 4-bit NormalFloat: sixteen values of which each stands for an equal share of a normal distribution, scaled
/// so that the outermost are -1 and 1.
///
/// Source: Dettmers et al., QLoRA, arXiv:2305.14314, appendix E; bitsandbytes' float32 values.
public enum NF4 {
  /// Elements that share one scale.
  static let blockSize = 64
  /// Scales that share one scale of their own in double quantisation.
  static let scalesPerBlock = 256

  /// The values of the codes 0 to 15.
  public static let table: [Float] = [
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
    -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0,
    0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
  ]

  /// The number of scales of a matrix with so many elements.
  public static func scaleCount(elements: Int) -> Int { (elements + blockSize - 1) / blockSize }

  /// The number of second-level scales of a matrix with so many elements.
  public static func nestedScaleCount(elements: Int) -> Int {
    (scaleCount(elements: elements) + scalesPerBlock - 1) / scalesPerBlock
  }

  /// What double quantisation takes off the scales before it rounds them: their mean.
  ///
  /// torch sums in float, in an order that depends on the machine; a double's mean is at most some units in the last
  /// place from it.
  static func nestedOffset(_ scales: some Collection<Float>) -> Float {
    Float(scales.reduce(0.0) { $0 + Double($1) } / Double(scales.count))
  }

  /// The scales of a matrix: the largest magnitude of each 64 elements.
  public enum Scales {
    case plain([Float])
    /// Double-quantised: scale i = map[codes[i]] * absmax[i / 256] + offset. The weight's owners keep the
    /// memory at `codes`.
    case nested(codes: UnsafeRawPointer, map: [Float], absmax: [Float], offset: Float)
  }
}
