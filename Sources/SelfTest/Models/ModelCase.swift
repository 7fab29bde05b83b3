import Basics
import Compute
import Models
import Training

/// A small model of random numbers and what of it is trained: an entry of the table that every backend is checked
/// with, by each `ModelCheck`.
public struct ModelCase: Sendable {
  public let name: String
  /// The family and its sizes, as a config.json says them.
  let config: JSON
  /// The format that the matrices come in.
  var stored = StorageFormat.f32
  /// What they are held as.
  var weights = BaseWeights.file
  /// Whether the head waits in the host's memory.
  var streamsHead = false
  var trained: Trained
  var optimizer = Optimizer.Kind.adamW8bit
  /// Whether a line of a batch holds several sequences.
  var isPacked = true

  enum Trained: Sendable {
    case adapters(LoRAConfiguration)
    case everything
  }

  var spec: ModelSpec {
    get throws { try ModelSpec(config: config, path: name) }
  }

  /// The same without dropout, whose masks depend on where a token stands.
  var withoutDropout: ModelCase {
    guard case .adapters(var lora) = trained else { return self }
    lora.dropout = 0
    var plain = self
    plain.trained = .adapters(lora)
    return plain
  }
}
