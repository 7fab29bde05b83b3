/// Dropout whose mask is a function of seed, micro-batch, layer, row and column alone (Philox, Salmon et al. 2011): the
/// gradient makes the same mask again, and so do a resumed run and slices of the rows.
public struct Dropout: Sendable {
  public var probability: Float
  /// Tells apart the layers of a step; below 2^16.
  public var layer: UInt64
  /// (1, 2), f64's size: the bits of the seed, and the micro-batch's number. They lie in memory, so that a recorded step
  /// can be repeated with other masks.
  public var counter: Tensor
  /// The number that the first row has in the micro-batch; below 2^32, as all rows' numbers are.
  public var firstRow: Int

  public init(probability: Float, layer: UInt64, counter: Tensor, firstRow: Int = 0) {
    precondition((0..<1).contains(probability) && layer < 1 << 16)
    precondition(counter.shape == (1, 2) && counter.dtype == .f64)
    self.probability = probability
    self.layer = layer
    self.counter = counter
    self.firstRow = firstRow
  }
}

extension Step {
  /// a + b
  public func add(_ a: Tensor, _ b: Tensor, into: Tensor? = nil) -> Tensor {
    precondition(a.shape == b.shape && a.dtype == b.dtype)
    let y = into ?? make(a.rows, a.columns, a.dtype)
    perform([a, b, y]) { _ in backend.add(a, b, y: y) }
    return y
  }

  /// A copy of x as `dtype`.
  public func convert(_ x: Tensor, to dtype: DType) -> Tensor {
    let y = make(x.rows, x.columns, dtype)
    copy(x, into: y)
    return y
  }

  /// y = x, rounded to y's dtype.
  public func copy(_ x: Tensor, into y: Tensor) {
    precondition(x.shape == y.shape)
    perform([x, y]) { _ in backend.convert(x, y: y) }
  }

  /// x * mask / (1 - p). On a gradient, with the same dropout: the gradient of itself.
  public func dropout(_ x: Tensor, _ dropout: Dropout, into: Tensor? = nil) -> Tensor {
    let y = into ?? make(x.rows, x.columns, x.dtype)
    perform([x, dropout.counter, y]) { _ in backend.dropout(x, dropout, y: y) }
    return y
  }

  /// x = 0
  public func zero(_ x: Tensor) {
    perform([x]) { _ in backend.zero(x) }
  }

  /// sum += the sum of x's rows, (T, C) to (1, C), f32: the gradient of a bias.
  public func columnSum(_ x: Tensor, addingTo sum: Tensor) {
    precondition(sum.columns == x.columns && sum.dtype == .f32)
    perform([x, sum]) { _ in backend.columnSum(x, sum: sum) }
  }
}
