import Basics
import Compute
import Models
import Text
import Training

/// A case's model in a device's memory.
struct PreparedModel {
  let decoder: Decoder
  let parameters: Parameters
  let backend: any Backend

  init(_ modelCase: ModelCase, seed: UInt64, on backend: any Backend) throws {
    let spec = try modelCase.spec
    var decoder = try Decoder(
      spec, from: RandomTensors(spec: spec, stored: modelCase.stored, seed: seed), weights: modelCase.weights,
      streamsHead: modelCase.streamsHead, on: backend)
    switch modelCase.trained {
    case .everything: parameters = try decoder.trainAll(on: backend)
    case .adapters(let lora):
      parameters = try decoder.addLoRA(lora, seed: seed, on: backend)
      try Self.fillAdapters(parameters, seed: seed)
    }
    // Several slices of a batch and of the vocabulary, the last ones shorter.
    if modelCase.streamsHead {
      try decoder.placeHead(onDevice: false)
      decoder.headStream = HeadStream(rows: spec.vocabularySize / 3)
    }
    for block in decoder.blocks.indices { decoder.blocks[block].sliceRows = RandomTexts.rowLength / 3 }
    self.decoder = decoder
    self.backend = backend
  }

  /// B starts as zeros, which would hide A's gradient.
  private static func fillAdapters(_ parameters: Parameters, seed: UInt64) throws {
    for (index, entry) in parameters.entries.enumerated() where entry.name.contains("lora_B") {
      var random = RandomStream(seed: seed, entry.name)
      try parameters.setValues(of: index, to: (0..<entry.count).map { _ in Float(random.uniform()) * 0.2 })
    }
  }

  /// The mean loss of the batches' labels, and its gradient.
  func gradients(
    of batches: [PackedBatch], compute: DType, _ checkpointing: Checkpointing = .keep,
    isOffloaded: Bool = false
  ) throws -> [Outcome] {
    let length = RandomTexts.rowLength
    let step = try GradientStep(
      decoder, compute: compute, lines: batches[0].labels.count / length, length: length,
      checkpointing: checkpointing, isOffloaded: isOffloaded, on: backend)
    let labels = batches.reduce(0) { $0 + $1.labelCount }
    parameters.clearGradients()
    var loss = 0.0
    for (index, batch) in batches.enumerated() {
      loss += try step.run(batch, scale: 1 / Float(labels), seed: 5, microBatch: index)
    }
    return try [Outcome("loss", [loss / Double(labels)])]
      + parameters.outcomes { try parameters.gradientValues(of: $0) }
  }
}

extension Parameters {
  /// An outcome for each entry, of the elements that `values` gives.
  func outcomes(_ values: (_ index: Int) throws -> [Float]) rethrows -> [Outcome] {
    try entries.enumerated().map { index, entry in
      Outcome(entry.name, try values(index).map(Double.init), columns: entry.columns)
    }
  }
}
