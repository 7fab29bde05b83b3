import Basics
import Compute

extension Decoder {
  /// Makes every weight, norm and bias a parameter: full fine-tuning. Quantised weights are trained from what
  /// they decode to.
  ///
  /// A tied head stays tied: one matrix, whose gradient gets both contributions.
  ///
  /// - Returns: the parameters to train, float32, named as in Hugging Face's checkpoints.
  /// - Precondition: nothing is trained yet.
  public mutating func trainAll(on backend: any Backend) throws(SwiftletError) -> Parameters {
    precondition(parameters == nil)
    try placeHead(onDevice: true)
    let (tensors, isTied) = (tensors, !hasOwnHead)
    var layout = Parameters.Layout()
    for (name, site) in tensors {
      let name = name.huggingFace ?? ""
      let (rows, columns) = shape(of: site)
      _ =
        site.isMatrix
        ? layout.add(name, rows: rows, columns: columns) : layout.addVector(name, count: columns)
    }
    let parameters = try Parameters(layout, on: backend)
    for (entry, (_, site)) in tensors.enumerated() { train(site, parameters, entry) }
    if isTied {
      head.parts[0].weight = embedding
      head.parts[0].weightGradient = embeddingGradient
    }
    self.parameters = parameters
    return parameters
  }

  /// Moves one tensor into the parameters, with its values.
  mutating func train(_ site: TensorSite, _ parameters: Parameters, _ entry: Int) {
    let range = entry..<entry + 1
    switch site {
    case .embedding:
      parameters.load(embedding, into: entry)
      embedding = parameters.weight(range)
      embeddingGradient = parameters.gradient(range)
    case .weight(let path, let part):
      parameters.load(self[keyPath: path].parts[part].weight, into: entry)
      self[keyPath: path].parts[part].weight = parameters.weight(range)
      self[keyPath: path].parts[part].weightGradient = parameters.gradient(range)
    case .bias(let path, let part):
      self[keyPath: path].parts[part].trainBias(parameters, range)
    case .norm(let path):
      parameters.load(self[keyPath: path].weight, into: entry)
      self[keyPath: path].weight = parameters.value(range)
      self[keyPath: path].gradient = parameters.gradient(range)
    }
  }

  /// A vector is one row.
  func shape(of site: TensorSite) -> (rows: Int, columns: Int) {
    switch site {
    case .embedding: (embedding.rows, embedding.columns)
    case .weight(let path, let part):
      (self[keyPath: path].parts[part].weight.rows, self[keyPath: path].inputs)
    case .bias(let path, let part): (1, self[keyPath: path].parts[part].weight.rows)
    case .norm(let path): (1, self[keyPath: path].weight.columns)
    }
  }
}

extension Linear.Part {
  /// Moves the bias, if there is one, into the parameters, with its values.
  mutating func trainBias(_ parameters: Parameters, _ range: Range<Int>) {
    guard let bias else { return }
    parameters.load(bias, into: range.lowerBound)
    self.bias = parameters.value(range)
    biasGradient = parameters.gradient(range)
  }
}

extension TensorSite {
  var isMatrix: Bool {
    switch self {
    case .embedding, .weight: true
    case .bias, .norm: false
    }
  }
}
