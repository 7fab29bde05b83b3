import Basics
import Compute

/// What the base model's matrices are held as.
public enum BaseWeights: String, Sendable, CaseIterable {
  /// As they lie in the file, mapped: 16 or 32 bits, GGUF's blocks, bitsandbytes' codes.
  case file
  case float32
  case bfloat16
  /// 4-bit NormalFloat, double-quantised (QLoRA).
  case nf4
  /// 8-bit integers, a scale per row (LLM.int8).
  case int8

  /// The format to convert a matrix to; nil to leave it.
  func target(for weight: Weight) -> WeightConverter.Target? {
    switch self {
    case .file: nil
    case .float32: weight.format == .f32 ? nil : .f32
    case .bfloat16: weight.format == .bf16 ? nil : .bf16
    case .nf4: weight.format == .nf4 ? nil : .nf4
    case .int8: weight.format == .int8 ? nil : .int8
    }
  }
}

extension Decoder {
  /// Loads a model. Matrices that keep their format stay in the mapped file; others are converted one after
  /// another.
  ///
  /// - Parameters:
  ///   - weights: the format of the blocks' linear layers. Embedding and head, which quantise badly, go to
  ///     16 bits where those go to 4 or 8.
  ///   - streamsHead: whether the head waits in the host's memory (`HeadStream`), or may: `placeHead` decides. Means nothing
  ///     for a head that is the embedding, too, nor where the host's memory is the device's.
  ///   - progress: called with the number of tensors done and of all.
  public init(
    _ file: ModelFile, weights: BaseWeights = .file, streamsHead: Bool = false, on backend: any Backend,
    progress: (Int, Int) -> Void = { _, _ in }
  ) throws(SwiftletError) {
    let spec = try file.spec()
    try self.init(
      spec, from: FileTensors(file: file, spec: spec), weights: weights, streamsHead: streamsHead,
      on: backend,
      progress: progress)
  }

  /// Makes a model of `source`'s tensors, as above.
  public init(
    _ spec: ModelSpec, from source: some TensorSource, weights: BaseWeights = .file,
    streamsHead: Bool = false, on backend: any Backend,
    progress: (Int, Int) -> Void = { _, _ in }
  ) throws(SwiftletError) {
    var loader = Loader(source: source, spec: spec, weights: weights, backend: backend)
    var blocks: [Block] = []
    for layer in 0..<spec.layers {
      blocks.append(try loader.block(layer))
      progress(layer + 1, spec.layers + 1)
    }
    let streamsHead = streamsHead && !backend.hasHostMemory
    let embedding = try loader.vocabularyMatrix(.embedding, onDevice: spec.tiesHead)
    let (head, stream) = spec.tiesHead ? (embedding, nil) : try loader.head(mayStream: streamsHead)
    let finalNorm = try loader.norm(.finalNorm, width: spec.hiddenSize)
    progress(spec.layers + 1, spec.layers + 1)
    self.init(
      spec: spec, embedding: embedding, blocks: blocks, finalNorm: finalNorm,
      head: Linear([Linear.Part(name: "lm_head", weight: head)]), vectors: loader.vectors, backend: backend)
    headStream = stream
  }
}

/// Reads a model's tensors, converts them and brings them to the device.
private struct Loader<Source: TensorSource> {
  let source: Source
  let spec: ModelSpec
  let weights: BaseWeights
  let backend: any Backend
  /// Memory of norms and biases.
  var vectors: [Buffer] = []

  mutating func block(_ layer: Int) throws(SwiftletError) -> Block {
    let (C, F) = (spec.hiddenSize, spec.intermediateSize)
    let queries = spec.heads * spec.headSize
    let keys = spec.keyValueHeads * spec.headSize
    let qkv = try linear(
      [(.q, queries), (.k, keys), (.v, keys)], layer, columns: C, bias: spec.hasAttentionBias)
    let gateUp = try linear([(.gate, F), (.up, F)], layer, columns: C, bias: spec.hasFeedForwardBias)
    var block = Block(
      layer: layer, attention: spec.attention(layer: layer), activation: spec.activation,
      inputNorm: try norm(.inputNorm(layer: layer), width: C), qkv: qkv,
      output: try linear([(.o, C)], layer, columns: queries, bias: spec.hasOutputBias),
      postAttentionNorm: try norm(.postAttentionNorm(layer: layer), width: C), gateUp: gateUp,
      down: try linear([(.down, C)], layer, columns: F, bias: spec.hasFeedForwardBias))
    if spec.normalisesHeads {
      block.queryNorm = try norm(.queryNorm(layer: layer), width: spec.headSize)
      block.keyNorm = try norm(.keyNorm(layer: layer), width: spec.headSize)
    }
    return block
  }

  /// Embedding or head, or both in one.
  func vocabularyMatrix(_ name: TensorName, onDevice: Bool) throws(SwiftletError) -> Weight {
    let (weight, target) = try vocabularyWeight(name)
    return try onDevice ? backend.place(weight, as: target) : backend.placeForLookup(weight, as: target)
  }

  /// One that may be streamed, as its rows stand alone, stays in its file for now if it need not be converted.
  func head(mayStream: Bool) throws(SwiftletError) -> (Weight, HeadStream?) {
    let (weight, target) = try vocabularyWeight(.head)
    guard mayStream, target != nil || weight.rowBytes != nil else {
      return (try backend.place(weight, as: target), nil)
    }
    var stream = HeadStream()
    stream.isPlaced = target != nil || weight.file == nil
    return (stream.isPlaced ? try backend.placeForLookup(weight, as: target) : weight, stream)
  }

  private func vocabularyWeight(
    _ name: TensorName
  ) throws(SwiftletError) -> (Weight, WeightConverter.Target?) {
    let format: BaseWeights = weights == .nf4 || weights == .int8 ? .bfloat16 : weights
    let weight = try source.weight(name, rows: spec.vocabularySize, columns: spec.hiddenSize)
    return (weight, format.target(for: weight))
  }

  mutating func norm(_ name: TensorName, width: Int) throws(SwiftletError) -> Norm {
    Norm(weight: try vectors([(name, width)])[0], epsilon: spec.normEpsilon)
  }

  /// Layers that share an input.
  private mutating func linear(
    _ layers: [(kind: ModuleKind, rows: Int)], _ layer: Int, columns: Int, bias: Bool
  ) throws(SwiftletError) -> Linear {
    let biases = bias ? try vectors(layers.map { (.bias($0.kind, layer: layer), $0.rows) }) : []
    var parts: [Linear.Part] = []
    for (kind, rows) in layers {
      parts.append(
        Linear.Part(
          name: TensorName.module(kind, layer: layer),
          weight: try matrix(.weight(kind, layer: layer), rows: rows, columns: columns, as: weights),
          bias: bias ? biases[parts.count] : nil))
    }
    return Linear(parts)
  }

  private func matrix(
    _ name: TensorName, rows: Int, columns: Int, as format: BaseWeights
  ) throws(SwiftletError) -> Weight {
    let weight = try source.weight(name, rows: rows, columns: columns)
    return try backend.place(weight, as: format.target(for: weight))
  }

  /// Vectors side by side.
  private mutating func vectors(_ names: [(name: TensorName, width: Int)]) throws(SwiftletError) -> [Tensor] {
    var values: [Float] = []
    for (name, width) in names { values += try source.vector(name, count: width) }
    let buffer = try backend.allocate(bytes: values.count * MemoryLayout<Float>.size)
    let all = Tensor(buffer, rows: 1, columns: values.count, dtype: .f32)
    try all.write(values, on: backend)
    vectors.append(buffer)
    var start = 0
    return names.map { _, width in
      defer { start += width }
      return all.columns(start..<start + width)
    }
  }
}
