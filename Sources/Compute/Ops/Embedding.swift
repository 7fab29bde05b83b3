extension Step {
  /// Row ids[t] of `weight` (vocabulary, C) for every t, as (T, C).
  ///
  /// - Parameter ids: (1, T), i32, each below the vocabulary's size.
  public func embedding(_ ids: Tensor, _ weight: Weight, dtype: DType) -> Tensor {
    precondition(ids.rows == 1 && ids.dtype == .i32)
    let y = make(ids.columns, weight.columns, dtype)
    perform([ids, y]) { _ in backend.embedding(ids: ids, weight: weight, y: y) }
    return y
  }

  /// dWeight[ids[t]] += dy[t] for every t in order.
  public func embeddingBackward(_ dy: Tensor, _ ids: Tensor, addingTo dWeight: Tensor) {
    precondition(ids.columns == dy.rows && dWeight.columns == dy.columns && dWeight.dtype == .f32)
    perform([dy, ids, dWeight]) { _ in backend.embeddingBackward(dy, ids: ids, dWeight: dWeight) }
  }
}
