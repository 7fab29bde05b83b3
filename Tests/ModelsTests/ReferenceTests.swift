import Basics
import Compute
import Foundation
import SelfTest
import Testing

@testable import Models

/// SmolLM2-135M-Instruct as `make demo` keeps it, and the values that transformers and peft computed with it.
enum ReferenceModel {
  private static let environment = ProcessInfo.processInfo.environment

  static let path: String = {
    let cache = environment["XDG_CACHE_HOME"] ?? NSHomeDirectory() + "/.cache"
    return cache + "/swiftlet/models/SmolLM2-135M-Instruct.Q4_1.gguf"
  }()
  static let isThere = FileManager.default.fileExists(atPath: path)
  static let missing: Comment = "SKIPPED: there is no \(path); `make demo` gets it"

  /// `SWIFTLET_REFERENCE`, or else `shared/reference` beside the package.
  static let values: String = {
    let package = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../..").standardized
    let folder = environment["SWIFTLET_REFERENCE"] ?? package.path + "/../shared/reference"
    return folder + "/smollm2"
  }()
  static let hasValues = FileManager.default.fileExists(atPath: values + "/lora_trace.json")
  static let missingValues: Comment =
    "SKIPPED: there are no reference values in \(values) (SWIFTLET_REFERENCE)"
}

@Suite(
  .enabled(if: ReferenceModel.isThere, ReferenceModel.missing),
  .enabled(if: ReferenceModel.hasValues, ReferenceModel.missingValues), .serialized)
struct ReferenceTests {
  private let cpu: CPU
  private let model: Decoder

  init() throws {
    cpu = try CPU()
    model = try Decoder(ModelFile(path: ReferenceModel.path), on: cpu)
  }

  @Test func logitsAreTransformers() throws {
    let file = try SafetensorsFile(path: ReferenceModel.values + "/logits.safetensors")
    for prompt in 0..<3 {
      let tensor = try file.required("ids.\(prompt)")
      let ids = tensor.withBytes { bytes in
        (0..<tensor.count).map { bytes.loadUnaligned(fromByteOffset: 4 * $0, as: Int32.self) }
      }
      let run = try ReferenceRun(model, ReferenceRun.Sequences(ids: [ids], labels: [ids]), on: cpu)
      #expect(try relativeError(run.logits(), file.required("logits.\(prompt)").floats()) < 1e-4)
    }
  }

  /// Ten steps of LoRA with AdamW. In the first, AdamW divides a gradient by itself: where that is as small as
  /// its epsilon, rounding decides the update. One element of layer 29's v_proj B has a gradient of 2.9e-8, of
  /// which the reference's float32 leaves 0.5e-8; this alone moves the next gradient of A by 1.07e-3 from that
  /// of a run in double precision, and ours by 0.15e-3. Hence 1.5e-3 for the second step's gradients here.
  @Test(arguments: [DType.f32, .bf16]) func trainsAsPEFT(_ dtype: DType) throws {
    let trace = try Trace(model, on: cpu)
    for step in trace.steps.indices {
      let gradients = try trace.gradients(step, dtype)
      #expect(
        abs(gradients.loss - trace.reference.losses[step]) < (dtype == .f32 ? 1e-3 : 0.02), "step \(step)")
      if dtype == .f32 { try expect(gradients, trace, step, within: step == 0 ? 1e-3 : 1.5e-3) }
      try trace.update(step)
    }
  }

  /// `swiftlet selftest --reference`, with linear layers as GPUs compute them.
  @Test func selfTestFollowsTheTrace() throws {
    let backend = try CPU(mergesLinears: true)
    let base = try ModelFile(path: ReferenceModel.path)
    for check in try ReferenceTrace(folder: ReferenceModel.values, of: base).checks {
      #expect(try check.run(on: backend, seed: 0).isEmpty)
    }
  }

  /// The second step's gradients after the reference's own first update of the tensors it lists.
  @Test func gradientsArePEFTs() throws {
    let trace = try Trace(model, on: cpu)
    try expect(trace.gradients(0, .f32), trace, 0, within: 5e-4)
    try trace.takeReferenceGradients(0)
    try trace.update(0)
    try expect(trace.gradients(1, .f32), trace, 1, within: 5e-4)
  }

  private func expect(
    _ gradients: ReferenceRun.Gradients, _ trace: Trace, _ step: Int, within tolerance: Double
  ) throws {
    var compared = 0
    for (name, gradient) in gradients.values {
      guard let expected = try trace.reference.gradient(of: name, step: step) else { continue }
      let error = relativeError(gradient, expected)
      #expect(error < tolerance, "step \(step), \(name): \(error)")
      compared += 1
    }
    // A and B of seven projections in two layers.
    #expect(compared == (trace.reference.losses.indices.prefix(2).contains(step) ? 28 : 0))
  }
}

/// The training run of lora_trace.json.
private final class Trace {
  let reference: ReferenceTrace
  let steps: [ReferenceRun.Sequences]
  private let cpu: CPU
  private let model: Decoder
  private let parameters: Parameters
  private let moments: Buffer
  private let numbers: Buffer

  /// Starts from the reference's A.
  init(_ base: Decoder, on cpu: CPU) throws {
    self.cpu = cpu
    reference = try ReferenceTrace(folder: ReferenceModel.values, of: ModelFile(path: ReferenceModel.path))
    steps = reference.steps.map { ReferenceRun.Sequences(ids: $0, labels: $0) }
    var model = base
    parameters = try model.addLoRA(reference.lora, seed: 0, on: cpu)
    try reference.setInitialValues(of: parameters)
    self.model = model
    moments = try cpu.allocate(bytes: 2 * parameters.bytes)
    numbers = try cpu.allocate(bytes: 4 * MemoryLayout<Double>.size)
    cpu.zero(moment(0))
    cpu.zero(moment(1))
  }

  private func moment(_ index: Int) -> Tensor {
    Tensor(moments, offset: index * parameters.bytes, rows: 1, columns: parameters.count, dtype: .f32)
  }

  func gradients(_ step: Int, _ dtype: DType) throws -> ReferenceRun.Gradients {
    try ReferenceRun(model, steps[step], on: cpu).gradients(dtype, LayerPolicy(.elementwise))
  }

  /// Replaces the gradients that the reference lists by its own.
  func takeReferenceGradients(_ step: Int) throws {
    for (index, entry) in parameters.entries.enumerated() {
      guard let values = try reference.gradient(of: entry.name, step: step) else { continue }
      _ = parameters.gradient(index..<index + 1).hostFloats.update(fromContentsOf: values)
    }
  }

  func update(_ step: Int) throws {
    let adamW = AdamW(weightDecay: reference.optimizer.weightDecay)
    let numbers = Tensor(numbers, rows: 1, columns: 4, dtype: .f64)
    try numbers.columns(0..<3).write(
      adamW.numbers(learningRate: reference.learningRate, step: step + 1), on: cpu)
    try Step.runOnce(on: cpu) {
      $0.adamW(
        adamW, numbers: numbers, parameters: parameters.allValues, gradients: parameters.allGradients,
        m: moment(0), v: moment(1))
    }
  }
}
