import Compute
import Foundation

/// A number and how far a kernel may stray from it by rounding: running error analysis (Higham, Accuracy and
/// Stability of Numerical Algorithms, 2002, section 3.3).
///
/// References are written in this type, so each of their results brings its own tolerance. It follows from the
/// dtype and from what was computed: long sums get more, a cancellation gets what its terms had.
struct Uncertain: Sendable {
  var value: Double
  /// Bounds on the error's three sources, each in its own unit roundoff, so that a reference says nothing of
  /// dtypes: x, the arithmetic (float, or double for f64); y, intermediate and final results in the dtype of
  /// the activations; z, float memory whatever the dtype, such as a weight's gradient.
  var error: SIMD3<Double>

  static let arithmetic = SIMD3<Double>(1, 0, 0)
  static let storage = SIMD3<Double>(0, 1, 0)
  static let float = SIMD3<Double>(0, 0, 1)

  init(_ value: Double, error: SIMD3<Double> = .zero) {
    self.value = value
    self.error = error
  }

  /// A constant that the kernel rounds to its arithmetic.
  static func constant(_ value: Double) -> Uncertain { Uncertain(value, error: arithmetic * abs(value)) }

  /// The number as it is after a round trip through memory of the activations' dtype.
  var stored: Uncertain { Uncertain(value, error: error + Self.storage * abs(value)) }

  /// The number as it is after a round trip through float memory.
  var storedAsFloat: Uncertain { Uncertain(value, error: error + Self.float * abs(value)) }

  /// The number with an error of up to `bound` unit roundoffs of the arithmetic, from an approximation.
  func approximated(within bound: Double) -> Uncertain {
    Uncertain(value, error: error + Self.arithmetic * bound)
  }

  /// How far a result of `dtype` may lie from `value`.
  func tolerance(_ dtype: DType) -> Double {
    let arithmetic = dtype.arithmetic
    let units = SIMD3(arithmetic.unitRoundoff, dtype.unitRoundoff, DType.f32.unitRoundoff)
    // Kernels may flush what is below the least normal number. In double, the reference errs as much again.
    let flushed = arithmetic == .f64 ? Double.leastNormalMagnitude : Double(Float.leastNormalMagnitude)
    return (error * units).sum() * (dtype == .f64 ? 2 : 1) + flushed
  }
}

extension DType {
  /// Largest relative error of one rounding, half the distance from 1 to the next number.
  var unitRoundoff: Double {
    switch self {
    case .f64: 0x1p-53
    case .f32: 0x1p-24
    case .bf16: 0x1p-8
    case .i32, .u8, .f8: 0
    }
  }
}

extension Uncertain {
  static func + (a: Uncertain, b: Uncertain) -> Uncertain {
    rounded(a.value + b.value, error: a.error + b.error)
  }

  static func - (a: Uncertain, b: Uncertain) -> Uncertain {
    rounded(a.value - b.value, error: a.error + b.error)
  }

  static prefix func - (a: Uncertain) -> Uncertain { Uncertain(-a.value, error: a.error) }

  static func * (a: Uncertain, b: Uncertain) -> Uncertain {
    rounded(a.value * b.value, error: abs(a.value) * b.error + abs(b.value) * a.error)
  }

  /// The product with a constant that floats hold exactly.
  static func * (a: Double, b: Uncertain) -> Uncertain { rounded(a * b.value, error: abs(a) * b.error) }

  static func / (a: Uncertain, b: Uncertain) -> Uncertain {
    let value = a.value / b.value
    return rounded(value, error: (a.error + abs(value) * b.error) / abs(b.value))
  }

  var squareRoot: Uncertain {
    let root = value.squareRoot()
    return Self.rounded(root, error: root > 0 ? error / (2 * root) : .zero)
  }

  /// Exponentials and logarithms may err by two ulp, which is four unit roundoffs.
  var exponential: Uncertain {
    let value = exp(value)
    return Uncertain(value, error: (error + 4 * Self.arithmetic) * value)
  }

  var logarithm: Uncertain {
    Uncertain(log(value), error: error / abs(value) + 4 * Self.arithmetic * abs(log(value)))
  }

  private static func rounded(_ value: Double, error: SIMD3<Double>) -> Uncertain {
    Uncertain(value, error: error + arithmetic * abs(value))
  }

  /// The sum in an order the reference does not know. Roundings of random sign grow with the root of their
  /// number (Higham & Mary, A New Approach to Probabilistic Rounding Error Analysis, SISC 41, 2019).
  static func sum(_ count: Int, _ term: (Int) -> Uncertain) -> Uncertain {
    var value = 0.0
    var lost = 0.0
    var magnitude = 0.0
    var error = SIMD3<Double>.zero
    for i in 0..<count {
      let term = term(i)
      // Kahan's compensation: one order is as good as another only for the kernel.
      let next = term.value - lost
      let total = value + next
      lost = (total - value) - next
      value = total
      magnitude += abs(term.value)
      error += term.error
    }
    return Uncertain(value, error: error + arithmetic * (Double(count).squareRoot() * magnitude))
  }
}

func max(_ a: Uncertain, _ b: Uncertain) -> Uncertain { a.value >= b.value ? a : b }
