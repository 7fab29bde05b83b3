import Compute
import Models

/// What a step's forward and backward passes would cost under some policies, by a walk through the layers as
/// `Decoder.lossAndGradients` makes it.
struct PolicyEstimate {
  /// Without embedding and head, which are the same under all.
  private(set) var seconds = 0.0
  /// Bytes that live at once at most; the arena's layout may need a few percent more.
  private(set) var bytes = 0
  private(set) var hostBytes = 0

  private var live = 0
  private var copyEnd = 0.0

  /// - Parameter policies: of the layers that have a backward pass.
  init(_ policies: some Sequence<LayerPolicy>, _ costs: DecoderCosts, _ rates: DeviceRates) {
    let layers = zip(costs.layers, policies).map { layer, policy in
      Layer(layer[policy.checkpointing], isOffloaded: policy.isOffloaded, rates)
    }
    forward(layers, rates)
    bytes = max(bytes, live + costs.headPeak)
    backward(layers, rates)
  }

  private struct Layer {
    let forward, backward: Double
    let forwardPeak, backwardPeak, saved: Int
    let isOffloaded: Bool

    init(_ choice: LayerCosts.Choice, isOffloaded: Bool, _ rates: DeviceRates) {
      // A copy takes its share of the device's memory from the operations beside it.
      let beside = isOffloaded ? Double(choice.saved) / rates.memory : 0
      forward = choice.forward.seconds(rates) + beside
      backward = choice.backward.seconds(rates) + beside
      (forwardPeak, backwardPeak, saved) = (choice.forwardPeak, choice.backwardPeak, choice.saved)
      self.isOffloaded = isOffloaded
    }
  }

  /// Up: what is on its way to the host lives until the next is.
  private mutating func forward(_ layers: [Layer], _ rates: DeviceRates) {
    var parking = 0
    for layer in layers {
      bytes = max(bytes, live + parking + layer.forwardPeak)
      seconds += layer.forward
      if layer.isOffloaded {
        seconds = max(seconds, copyEnd)
        copyEnd = seconds + Double(layer.saved) / rates.toHost
        parking = layer.saved
        hostBytes += layer.saved
      } else {
        live += layer.saved
      }
    }
    seconds = max(seconds, copyEnd)
  }

  /// Down: what comes back is there when its layer begins; then the next comes.
  private mutating func backward(_ layers: [Layer], _ rates: DeviceRates) {
    var next = layers.count
    var coming = 0
    func recallNext() {
      repeat { next -= 1 } while next >= 0 && !layers[next].isOffloaded
      coming = next >= 0 ? layers[next].saved : 0
      copyEnd = seconds + Double(coming) / rates.fromHost
    }
    recallNext()
    for (index, layer) in layers.enumerated().reversed() {
      if index == next {
        seconds = max(seconds, copyEnd)
        recallNext()
      } else {
        live -= layer.saved
      }
      bytes = max(bytes, live + coming + layer.backwardPeak)
      seconds += layer.backward
    }
  }
}
