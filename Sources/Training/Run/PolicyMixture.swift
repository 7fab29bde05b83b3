import Models

/// Policies for all layers, told by a few numbers: some layers offloaded, and of the others the lower ones dearer.
struct PolicyMixture {
  /// Of the layers that are offloaded, and how many those are.
  var offloaded: Checkpointing
  var offloadedCount: Int
  /// Of the lowest of the others, whose states live longest.
  var dear: Checkpointing
  var dearCount: Int
  /// Of the rest.
  var cheap: Checkpointing

  /// Offloaded layers are spread evenly, the last layer not among them: then each copy has as long as others.
  func policies(layers: Int) -> [LayerPolicy] {
    var dearLeft = dearCount
    return (0..<layers).map { layer in
      if layer < layers - 1, layer * offloadedCount % (layers - 1) < offloadedCount {
        return LayerPolicy(offloaded, isOffloaded: true)
      }
      dearLeft -= 1
      return LayerPolicy(dearLeft >= 0 ? dear : cheap)
    }
  }

  /// All mixtures of these, in order of cost; of models with many layers, those whose numbers are multiples.
  ///
  /// Layers in slices are not mixed with others, one of which would need the memory that slices save.
  static func all(layers: Int, _ checkpointing: [Checkpointing]) -> [PolicyMixture] {
    mixtures(layers, checkpointing.filter { $0 != .sliced })
      + mixtures(layers, checkpointing.filter { $0 == .sliced })
  }

  private static func mixtures(_ layers: Int, _ checkpointing: [Checkpointing]) -> [PolicyMixture] {
    let unit = (layers + 31) / 32
    func counts(to most: Int) -> [Int] { Array(stride(from: unit, to: most, by: unit)) + [most] }
    var mixtures: [PolicyMixture] = []
    for (index, cheap) in checkpointing.enumerated() {
      func add(_ offloaded: Checkpointing, _ offloadedCount: Int) {
        func add(_ dear: Checkpointing, _ dearCount: Int) {
          mixtures.append(
            PolicyMixture(
              offloaded: offloaded, offloadedCount: offloadedCount, dear: dear, dearCount: dearCount,
              cheap: cheap))
        }
        add(cheap, 0)
        let others = layers - offloadedCount
        for dear in checkpointing[(index + 1)...] where others > 1 {
          for count in counts(to: others - 1) { add(dear, count) }
        }
      }
      add(cheap, 0)
      for offloaded in checkpointing where layers > 1 {
        for count in counts(to: layers - 1) { add(offloaded, count) }
      }
    }
    return mixtures
  }
}
