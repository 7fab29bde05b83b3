/// Cosines and sines of rotary position embedding, (positions, rotary / 2) each, f32.
public struct RotaryTable: Sendable {
  public let cosine: Tensor
  public let sine: Tensor
  /// Columns of a head.
  public let headSize: Int
  private let owner: Buffer

  /// - Parameter owner: the memory of both tensors.
  public init(cosine: Tensor, sine: Tensor, headSize: Int, owner: Buffer) {
    precondition(cosine.shape == sine.shape && cosine.dtype == .f32 && sine.dtype == .f32)
    precondition(cosine.columns * 2 <= headSize)
    self.cosine = cosine
    self.sine = sine
    self.headSize = headSize
    self.owner = owner
  }
}

public enum RotaryDirection: Sendable {
  case forward
  /// Turns back: the gradient, for a rotation's inverse is its transpose.
  case backward
}

extension Step {
  /// Rotates the column pairs (i, i + rotary / 2) of every head of x (T, heads * headSize) by the angle of the
  /// row's position (Su et al., arXiv:2104.09864, eq. 34, in rotate-half order). In place.
  ///
  /// - Parameter positions: (1, T), i32, each below the table's rows.
  public func rotate(
    _ x: Tensor, positions: Tensor, _ table: RotaryTable, _ direction: RotaryDirection = .forward
  ) {
    precondition(x.columns % table.headSize == 0 && positions.columns == x.rows && positions.dtype == .i32)
    perform([x, positions]) { _ in
      backend.rotary(x, positions: positions, table: table, direction: direction, y: x)
    }
  }
}
