/// Linear layers that share an input, and their low-rank adapters, as one matrix (out + R, in + R):
///
///         ⎡ W₁  s₁B₁  0    ⎤
///     E = ⎢ W₂  0     s₂B₂ ⎥
///         ⎣ A   0     0    ⎦
///
/// With h beside x and dh beside dy, a layer is then one product where adapters else cost a pass over y and one over dx
/// (Hu et al., arXiv:2106.09685, eq. 3, for all parts at once):
///
///     h = x Aᵀ          y = [x h] E[..<out]ᵀ
///     dh = dy [sB]      dx = [dy dh] E[.., ..<in]
public struct LinearExpansion {
  /// One of the layers.
  public struct Part {
    /// W, (out, in)
    public let weight: Weight
    public let up: Up?

    public init(weight: Weight, up: Up?) {
      self.weight = weight
      self.up = up
    }
  }

  /// The second half of an adapter.
  public struct Up {
    /// B, (out, rank)
    public let weight: Weight
    /// The columns of h that are this layer's.
    public let columns: Range<Int>
    public let scale: Float

    public init(weight: Weight, columns: Range<Int>, scale: Float) {
      self.weight = weight
      self.columns = columns
      self.scale = scale
    }
  }

  public let parts: [Part]
  /// A of all parts, one above the other, (R, in).
  public let down: Weight?

  public init(_ parts: [Part], down: Weight?) {
    precondition(parts.allSatisfy { $0.weight.columns == parts[0].weight.columns })
    self.parts = parts
    self.down = down
  }

  public var inputs: Int { parts[0].weight.columns }
  public var outputs: Int { parts.reduce(0) { $0 + $1.weight.rows } }
  /// R
  public var ranks: Int { down?.rows ?? 0 }
}

extension Step {
  /// The matrix E of `layer`, rounded to `dtype`.
  public func expand(_ layer: LinearExpansion, dtype: DType) -> Tensor {
    let out = make(layer.outputs + layer.ranks, layer.inputs + layer.ranks, dtype)
    perform([out]) { _ in backend.expand(layer, into: out) }
    return out
  }

  /// The adapters' second halves alone, [sB] of E: (out, R), rounded to `dtype`.
  public func expandUps(_ layer: LinearExpansion, dtype: DType) -> Tensor {
    let out = make(layer.outputs, layer.ranks, dtype)
    perform([out]) { _ in backend.expandUps(layer, into: out) }
    return out
  }
}
