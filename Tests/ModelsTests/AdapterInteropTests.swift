import Basics
import Compute
import Foundation
import TestSupport
import Testing

@testable import Models

/// What we save, transformers and peft load, and compute the same.
@Suite(
  .enabled(
    if: Python.has("torch", "transformers", "peft"),
    "SKIPPED: needs Python with torch, transformers and peft (SWIFTLET_PYTHON)"))
struct AdapterInteropTests {
  private let cpu: CPU
  private let folder: TemporaryFolder

  init() throws {
    cpu = try CPU(threads: 2)
    folder = try TemporaryFolder()
  }

  /// Saved models of every family, and every kind of adapter. Python starts slowly: once for all.
  @Test func pythonReadsWhatWeSave() throws {
    let ids = (0..<12).map { Int32($0 * 7 % 45 + 3) }
    var cases: [String] = []
    for name in FamilyTests.families {
      let file = try ModelFile(path: Fixture.path("family_\(name)"))
      var model = try Decoder(file, on: cpu)
      randomise(try model.trainAll(on: cpu))
      cases.append("\(folder.path)/\(name)")
      try model.save(to: cases[cases.count - 1] + "/model", as: .float32, source: file)
      try writeLogits(model, ids, to: cases[cases.count - 1])
    }
    for family in ["llama_bias", "qwen2_tied"] {
      for training in GradientTests.Training.allCases {
        guard let lora = training.lora else { continue }
        cases.append("\(folder.path)/\(family)_\(training)")
        let file = try ModelFile(path: Fixture.path("family_\(family)"))
        try addAdapter(lora, to: file, ids, in: cases[cases.count - 1])
      }
    }
    try runPython(cases)
  }

  @Test(.enabled(if: ReferenceModel.isThere, ReferenceModel.missing))
  func pythonReadsAModelFromGGUF() throws {
    let ids = (0..<24).map { Int32($0 * 1021 % 49_000 + 3) }
    let gguf = try ModelFile(path: ReferenceModel.path)
    let model = try Decoder(gguf, on: cpu)
    let (base, adapted) = (folder.path + "/base", folder.path + "/adapted")
    try model.save(to: base + "/model", as: .float32, source: gguf)
    try writeLogits(model, ids, to: base)
    try addAdapter(LoRAConfiguration(), to: ModelFile(path: base + "/model"), ids, in: adapted)
    try runPython([base, adapted])
  }

  private func addAdapter(
    _ lora: LoRAConfiguration, to file: ModelFile, _ ids: [Int32], in folder: String
  ) throws {
    var model = try Decoder(file, on: cpu)
    let parameters = try model.addLoRA(lora, seed: 3, on: cpu)
    randomise(parameters)
    try AdapterFolder.save(parameters, lora, baseModel: file.path, to: folder + "/adapter")
    try writeLogits(model, ids, to: folder)
  }

  private func writeLogits(_ model: Decoder, _ ids: [Int32], to folder: String) throws {
    let run = try ReferenceRun(model, ReferenceRun.Sequences(ids: [ids], labels: [ids]), on: cpu)
    let logits = try run.logits().map(Float.init)
    let writer = try SafetensorsWriter(
      path: folder + "/expected.safetensors",
      tensors: [
        .init("ids", [1, ids.count], .i32),
        .init("logits", [ids.count, model.spec.vocabularySize], .weight(.f32)),
      ])
    try writer.append(ids.span.bytes, to: "ids")
    try writer.append(logits.span, to: "logits")
    try writer.finish()
  }

  private func runPython(_ folders: [String]) throws {
    let (status, output) = try Python.interop("peft_roundtrip.py", folders)
    #expect(status == 0, "\(output)")
    print(output.split(separator: "\n").filter { $0.contains("relative error") }.joined(separator: "\n"))
  }

  private func randomise(_ parameters: Parameters) {
    var random = SplitMix(state: 9)
    for index in parameters.entries.indices {
      parameters.withValues(index) { for i in $0.indices { $0[i] += 0.1 * random.next() } }
    }
  }
}
