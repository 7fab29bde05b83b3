import Compute

extension Decoder {
  /// Bytes of all weights that are not trained.
  public var frozenBytes: Int { frozen.reduce(0) { $0 + $1.bytes } }

  /// Bytes of frozen weights that still lie in the file alone: they come into memory with the first step.
  public var untouchedBytes: Int {
    frozen.filter { $0.file != nil }.reduce(0) { $0 + $1.bytes }
  }

  private var frozen: [Weight] {
    // A GPU leaves an embedding that is no head as well in the host's memory.
    let isOnDevice = backend.hasHostMemory || spec.tiesHead
    var weights = embeddingGradient == nil && isOnDevice ? [embedding] : []
    for block in blocks {
      for (path, _) in Block.modules {
        weights += block[keyPath: path].parts.filter { $0.weightGradient == nil }.map(\.weight)
      }
    }
    if !spec.tiesHead, headStream == nil, head.parts[0].weightGradient == nil {
      weights.append(head.parts[0].weight)
    }
    return weights
  }
}
