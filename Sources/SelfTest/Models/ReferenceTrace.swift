import Basics
import Compute
import Foundation
import Models
import Text
import Training

/// Updates of a LoRA adapter, all linear layers with AdamW and no clipping, as peft and transformers did them in float32:
/// lora_trace.json, lora_init.safetensors and lora_grads.safetensors.
public struct ReferenceTrace: Sendable {
  /// Token ids of each update's sequences; every token but a sequence's first is a label.
  public let steps: [[[Int32]]]
  /// The mean loss of each update's labels.
  public let losses: [Double]
  public let lora: LoRAConfiguration
  public let optimizer = Optimizer.Settings(weightDecay: 0.01, maximumNorm: nil)
  public let learningRate = 5e-4
  private let base: ModelFile
  private let initial: SafetensorsFile
  private let gradients: SafetensorsFile

  /// - Parameters:
  ///   - folder: of the files.
  ///   - base: the model whose adapter it is.
  public init(folder: String, of base: ModelFile) throws(SwiftletError) {
    let path = folder + "/lora_trace.json"
    guard let bytes = FileManager.default.contents(atPath: path) else {
      throw SwiftletError(.unreadable, "\(path): there is no such file")
    }
    let json: JSON
    do { json = try JSON(parsing: Array(bytes)) } catch {
      throw SwiftletError(.malformedFile, "\(path): \(error.message)")
    }
    let steps = (json["input_ids"]?.array ?? []).map { batch in
      (batch.array ?? []).map { ($0.array ?? []).compactMap(\.int).compactMap(Int32.init(exactly:)) }
    }
    losses = json["losses"]?.array?.compactMap(\.double) ?? []
    let length = steps.first?.first?.count ?? 0
    guard let r = json["r"]?.int, let alpha = json["lora_alpha"]?.double, losses.count == steps.count,
      length > 1, steps.allSatisfy({ $0.count == steps[0].count && $0.allSatisfy { $0.count == length } })
    else {
      throw SwiftletError(
        .malformedFile,
        "\(path): r, lora_alpha, or as many losses as there are input_ids of one shape are missing")
    }
    var lora = LoRAConfiguration()
    (lora.r, lora.alpha) = (r, alpha)
    self.steps = steps
    self.lora = lora
    self.base = base
    initial = try SafetensorsFile(path: folder + "/lora_init.safetensors")
    gradients = try SafetensorsFile(path: folder + "/lora_grads.safetensors")
  }

  /// Sets each A to what the run began with; each B is zero.
  public func setInitialValues(of parameters: Parameters) throws(SwiftletError) {
    for (index, entry) in parameters.entries.enumerated() where entry.name.contains("lora_A") {
      try parameters.setValues(of: index, to: initial.required(entry.name).floats())
    }
  }

  /// A parameter's gradient in an update; nil where it was not kept.
  public func gradient(of name: String, step: Int) throws(SwiftletError) -> [Float]? {
    try gradients.tensor("step\(step).\(name)")?.floats()
  }
}

extension ReferenceTrace {
  /// How far a loss may lie from the run's.
  static let tolerances: KeyValuePairs<DType, Double> = [.f32: 1e-3, .bf16: 0.02]

  func failures(on backend: any Backend, _ dtype: DType, tolerance: Double) throws -> [CheckFailure] {
    zip(try follow(on: backend, dtype), losses).enumerated().compactMap { step, pair in
      // Written so that NaN counts as too far.
      abs(pair.0 - pair.1) <= tolerance
        ? nil
        : CheckFailure(
          "reference trace", dtype, "step \(step) has the loss \(pair.0), expected \(pair.1) ± \(tolerance)")
    }
  }

  /// The same updates on `backend`; returns their losses.
  private func follow(on backend: any Backend, _ compute: DType) throws -> [Double] {
    var model = try Decoder(base, on: backend)
    let parameters = try model.addLoRA(lora, seed: 0, on: backend)
    try setInitialValues(of: parameters)
    let optimizer = try Optimizer(optimizer, for: parameters, on: backend)
    let (lines, length) = (steps[0].count, steps[0][0].count)
    let pass = try GradientStep(model, compute: compute, lines: lines, length: length, on: backend)
    return try steps.enumerated().map { index, sequences in
      let batch = PackedBatch(
        sequences.map { ($0, $0.map { _ in true }) }, length: lines * length, paddingID: 0)
      let labels = Double(batch.labelCount)
      let loss = try pass.run(batch, scale: Float(1 / labels), seed: 0, microBatch: index)
      _ = try optimizer.update(learningRate: learningRate)
      return loss / labels
    }
  }
}
