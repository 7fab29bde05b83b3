extension StoredTensor.Element {
  /// What a GGUF file's tensor type number means: an element that we read, or the name of one that we do not.
  ///
  /// Source: `enum ggml_type` in ggml.h.
  enum GGUFType {
    case known(StoredTensor.Element)
    case unknown(String)
  }

  static func gguf(_ number: UInt32) -> GGUFType {
    switch number {
    case 0: .known(.weight(.f32))
    case 1: .known(.weight(.f16))
    case 2: .known(.weight(.q4_0))
    case 3: .known(.weight(.q4_1))
    case 6: .known(.weight(.q5_0))
    case 7: .known(.weight(.q5_1))
    case 8: .known(.weight(.q8_0))
    case 12: .known(.weight(.q4_K))
    case 13: .known(.weight(.q5_K))
    case 14: .known(.weight(.q6_K))
    case 24: .known(.i8)
    case 25: .known(.i16)
    case 26: .known(.i32)
    case 27: .known(.i64)
    case 28: .known(.f64)
    case 30: .known(.weight(.bf16))
    default: .unknown(unread[number] ?? "number \(number)")
    }
  }

  /// The number of a type that we read.
  var ggufNumber: UInt32? {
    (0...30).first { if case .known(self) = Self.gguf($0) { true } else { false } }
  }

  private static let unread: [UInt32: String] = [
    9: "Q8_1", 10: "Q2_K", 11: "Q3_K", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S",
    20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS", 29: "IQ1_M", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4",
  ]
}
