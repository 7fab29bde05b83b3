import Compute

/// What the matrices of a GGUF file are stored as, by llama.cpp's names.
public enum GGUFType: String, Sendable, CaseIterable {
  case f32 = "F32"
  case f16 = "F16"
  case bf16 = "BF16"
  case q8_0 = "Q8_0"
  case q4_0 = "Q4_0"
  case q4_1 = "Q4_1"
  case q5_0 = "Q5_0"
  case q5_1 = "Q5_1"
  /// Q4_K, with Q6_K where it matters most.
  case q4_K_M = "Q4_K_M"
  /// Q5_K, with Q6_K where it matters most.
  case q5_K_M = "Q5_K_M"
  case q6_K = "Q6_K"

  /// `general.file_type`. Source: `enum llama_ftype` in llama.h.
  var fileType: Int {
    switch self {
    case .f32: 0
    case .f16: 1
    case .q4_0: 2
    case .q4_1: 3
    case .q8_0: 7
    case .q5_0: 8
    case .q5_1: 9
    case .q4_K_M: 15
    case .q5_K_M: 17
    case .q6_K: 18
    case .bf16: 32
    }
  }

  /// The format of most matrices.
  public var format: StorageFormat {
    switch self {
    case .f32: .f32
    case .f16: .f16
    case .bf16: .bf16
    case .q8_0: .q8_0
    case .q4_0: .q4_0
    case .q4_1: .q4_1
    case .q5_0: .q5_0
    case .q5_1: .q5_1
    case .q4_K_M: .q4_K
    case .q5_K_M: .q5_K
    case .q6_K: .q6_K
    }
  }

  private var isMixed: Bool { self == .q4_K_M || self == .q5_K_M }

  /// The format of one matrix: the head, or the embedding that is one too, and in mixtures some layers' values and
  /// feed-forward outputs get more bits.
  ///
  /// Source: `llama_tensor_get_type` in llama.cpp's llama-quant.cpp, without an importance matrix.
  ///
  /// - Parameter isHead: whether the logits come from this matrix.
  func format(of name: TensorName, isHead: Bool, columns: Int, in spec: ModelSpec) -> StorageFormat {
    guard format.blockSize > 1 else { return format }
    var chosen = format
    switch name {
    case _ where isHead: chosen = self == .q8_0 || columns % format.blockSize != 0 ? .q8_0 : .q6_K
    case .weight(.v, let layer) where isMixed:
      if Self.getsMoreBits(layer, of: spec.layers) { chosen = .q6_K }
      // Llama 2 and 3's 70B: eight heads share each value.
      let isShared = spec.layers == 80 && spec.heads == 8 * spec.keyValueHeads
      if isShared && chosen == .q4_K { chosen = .q5_K }
    case .weight(.down, let layer) where isMixed:
      if Self.getsMoreBits(layer, of: spec.layers) { chosen = .q6_K }
    default: break
    }
    return Self.fitting(chosen, columns: columns)
  }

  /// The first and last eighth of the layers, and every third between.
  private static func getsMoreBits(_ layer: Int, of layers: Int) -> Bool {
    layer < layers / 8 || layer >= 7 * layers / 8 || (layer - layers / 8) % 3 == 2
  }

  /// A format whose blocks fill rows of `columns`.
  private static func fitting(_ format: StorageFormat, columns: Int) -> StorageFormat {
    if columns % format.blockSize == 0 { return format }
    let smaller: StorageFormat =
      switch format {
      case .q4_K: .q5_0
      case .q5_K: .q5_1
      case .q6_K: .q8_0
      default: .f16
      }
    return fitting(smaller, columns: columns)
  }
}
