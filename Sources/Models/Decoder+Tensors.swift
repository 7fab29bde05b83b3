import Compute

/// Where a decoder holds one of a checkpoint's tensors.
enum TensorSite {
  case embedding
  case weight(WritableKeyPath<Decoder, Linear>, part: Int)
  case bias(WritableKeyPath<Decoder, Linear>, part: Int)
  case norm(WritableKeyPath<Decoder, Norm>)
}

extension Decoder {
  /// Every linear layer in the order of the forward pass, with its block's number, nil for the head.
  var linears: [(path: WritableKeyPath<Decoder, Linear>, layer: Int?)] {
    var linears: [(WritableKeyPath<Decoder, Linear>, Int?)] = []
    for index in blocks.indices {
      let block: WritableKeyPath<Decoder, Block> = \.blocks[index]
      for (path, _) in Block.modules { linears.append((block.appending(path: path), blocks[index].layer)) }
    }
    return linears + [(\.head, nil)]
  }

  /// Whether the head is a matrix of its own: not tied, or no longer.
  var hasOwnHead: Bool {
    !spec.tiesHead || head.down != nil || head.parts[0].weight.layout.data != embedding.layout.data
  }

  /// Every tensor of a checkpoint, with its name there.
  var tensors: [(name: TensorName, site: TensorSite)] {
    var tensors: [(TensorName, TensorSite)] = [(.embedding, .embedding)]
    for index in blocks.indices { tensors += self.tensors(ofBlock: index) }
    tensors.append((.finalNorm, .norm(\.finalNorm)))
    if hasOwnHead { tensors.append((.head, .weight(\.head, part: 0))) }
    return tensors
  }

  private func tensors(ofBlock index: Int) -> [(TensorName, TensorSite)] {
    let block = blocks[index]
    let layer = block.layer
    let path: WritableKeyPath<Decoder, Block> = \.blocks[index]
    var tensors: [(TensorName, TensorSite)] = [
      (.inputNorm(layer: layer), .norm(path.appending(path: \.inputNorm))),
      (.postAttentionNorm(layer: layer), .norm(path.appending(path: \.postAttentionNorm))),
    ]
    // A path through an optional is only taken where there is something.
    if block.queryNorm != nil {
      tensors.append((.queryNorm(layer: layer), .norm(path.appending(path: \.queryNorm!))))
    }
    if block.keyNorm != nil {
      tensors.append((.keyNorm(layer: layer), .norm(path.appending(path: \.keyNorm!))))
    }
    for (linear, kinds) in Block.modules {
      let path = path.appending(path: linear)
      for (part, kind) in kinds.enumerated() {
        tensors.append((.weight(kind, layer: layer), .weight(path, part: part)))
      }
      for (part, kind) in kinds.enumerated() where block[keyPath: linear].parts[part].bias != nil {
        tensors.append((.bias(kind, layer: layer), .bias(path, part: part)))
      }
    }
    return tensors
  }
}

extension Block {
  /// The block's linear layers in the order of the forward pass, with the modules that each computes.
  static var modules: [(path: WritableKeyPath<Block, Linear>, kinds: [ModuleKind])] {
    [(\.qkv, [.q, .k, .v]), (\.output, [.o]), (\.gateUp, [.gate, .up]), (\.down, [.down])]
  }
}
