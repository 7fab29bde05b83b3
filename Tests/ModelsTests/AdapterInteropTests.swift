import Basics
import Compute
import Foundation
import Testing

@testable import Models

/// Python with transformers and peft, if this machine has one: `SWIFTLET_PYTHON`, or else `python3` on PATH.
private enum Python {
  static let isUsable =
    (try? run(["-c", "import importlib.util as u; exit(not all(map(u.find_spec, ['torch', 'peft'])))"]).status)
    == 0

  static func run(_ arguments: [String]) throws -> (status: Int32, output: String) {
    let process = Process()
    process.executableURL = URL(filePath: "/usr/bin/env")
    process.arguments = [ProcessInfo.processInfo.environment["SWIFTLET_PYTHON"] ?? "python3"] + arguments
    let pipe = Pipe()
    process.standardOutput = pipe
    process.standardError = pipe
    try process.run()
    let output = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    return (process.terminationStatus, output)
  }
}

/// What we save, transformers and peft load, and compute the same.
@Suite(.enabled(if: Python.isUsable, "SKIPPED: needs Python with torch, transformers and peft (SWIFTLET_PYTHON)"))
struct AdapterInteropTests {
  private let cpu: CPU
  private let folder: TemporaryFolder

  init() throws {
    cpu = try CPU(threads: 2)
    folder = try TemporaryFolder()
  }

  @Test(arguments: FamilyTests.families, GradientTests.Training.allCases)
  func pythonReadsTinyModels(_ name: String, _ training: GradientTests.Training) throws {
    // Each start of Python takes seconds: every family once with everything, one family with every adapter.
    guard training == .everything || name == "qwen2_tied" else { return }
    let file = try ModelFile(path: Fixture.path("family_\(name)"))
    var model = try Decoder(file, on: cpu)
    let ids = (0..<12).map { Int32($0 * 7 % 45 + 3) }
    if let lora = training.lora {
      try expectSame(adding: lora, to: &model, base: file.path, ids: ids)
    } else {
      randomise(try model.trainAll(on: cpu))
      try model.save(to: folder.path, as: .float32, source: file)
      try expectSame(model, base: folder.path, ids: ids)
    }
  }

  @Test(.enabled(if: ReferenceModel.isThere, ReferenceModel.missing))
  func pythonReadsAModelFromGGUF() throws {
    let file = try ModelFile(path: ReferenceModel.path)
    var model = try Decoder(file, on: cpu)
    let base = folder.path + "/base"
    try model.save(to: base, as: .float32, source: file)
    let ids = (0..<24).map { Int32($0 * 1021 % 49_000 + 3) }
    try expectSame(adding: LoRAConfiguration(), to: &model, base: base, ids: ids)
  }

  private func expectSame(
    adding lora: LoRAConfiguration, to model: inout Decoder, base: String, ids: [Int32]
  ) throws {
    let parameters = try model.addLoRA(lora, seed: 3, on: cpu)
    randomise(parameters)
    let path = folder.path + "/adapter"
    try AdapterFolder.save(parameters, lora, baseModel: base, to: path)
    try expectSame(model, base: base, ids: ids, adapter: path)
  }

  private func expectSame(_ model: Decoder, base: String, ids: [Int32], adapter: String? = nil) throws {
    let run = try ReferenceRun(model, ReferenceRun.Sequences(ids: [ids], labels: [ids]), on: cpu)
    let logits = try run.logits().map(Float.init)
    let path = folder.path + "/expected.safetensors"
    let writer = try SafetensorsWriter(
      path: path,
      tensors: [
        .init("ids", [1, ids.count], .i32),
        .init("logits", [ids.count, model.spec.vocabularySize], .weight(.f32)),
      ])
    try writer.append(ids.span.bytes, to: "ids")
    try writer.append(logits.span, to: "logits")
    try writer.finish()
    let script = URL(filePath: #filePath).deletingLastPathComponent()
      .appending(path: "../Interop/peft_roundtrip.py").path
    let (status, output) = try Python.run([script, path, base] + (adapter.map { [$0] } ?? []))
    #expect(status == 0, "\(output)")
  }

  private func randomise(_ parameters: Parameters) {
    var random = SplitMix(state: 9)
    for index in parameters.entries.indices {
      parameters.withValues(index) { for i in $0.indices { $0[i] += 0.1 * random.next() } }
    }
  }
}
