import Basics
import Compute
import Testing

@testable import Models

/// Tiny checkpoints of every family against transformers and peft: see Fixtures/family_make.py.
struct FamilyTests {
  static let families = [
    "llama", "llama3_rope", "linear_rope", "llama_bias", "mistral_window", "qwen2", "qwen2_tied",
    "qwen2_window", "qwen3", "qwen3_bias",
  ]

  /// A family's folder and what is expected of it.
  struct Case {
    let path: String
    let expected: SafetensorsFile
    let sequences: ReferenceRun.Sequences

    init(_ name: String) throws {
      path = Fixture.path("family_\(name)")
      expected = try SafetensorsFile(path: path + "/expected.safetensors")
      let ids = try Self.rows("ids", expected)
      sequences = ReferenceRun.Sequences(
        ids: ids, labels: expected.tensor("labels") == nil ? ids : try Self.rows("labels", expected))
    }

    func floats(_ name: String) throws -> [Float] { try expected.required(name).floats() }

    func model(_ weights: BaseWeights = .file) throws -> Decoder {
      try Decoder(ModelFile(path: path), weights: weights, on: CPU(threads: 2))
    }

    func run(
      _ model: Decoder, threads: Int = 2, merged: Bool = false, copiesLate: Bool = false,
      dropouts: Dropouts? = nil
    ) throws -> ReferenceRun {
      let cpu = try CPU(threads: threads, mergesLinears: merged, copiesLate: copiesLate)
      return try ReferenceRun(model, sequences, on: cpu, dropouts: dropouts)
    }

    private static func rows(_ name: String, _ file: SafetensorsFile) throws -> [[Int32]] {
      let tensor = try file.required(name)
      let width = tensor.shape[1]
      return tensor.withBytes { bytes in
        (0..<tensor.shape[0]).map { row in
          (0..<width).map { bytes.loadUnaligned(fromByteOffset: 4 * (row * width + $0), as: Int32.self) }
        }
      }
    }
  }

  @Test(arguments: families, [false, true])
  func agreesWithTransformers(_ name: String, merged: Bool) throws {
    let family = try Case(name)
    var model = try family.model()
    let parameters = try model.trainAll(on: CPU(threads: 2))
    let run = try family.run(model, merged: merged)
    #expect(try relativeError(run.logits(), family.floats("logits")) < 1e-5)
    #expect(try abs(run.loss() - Double(family.floats("loss")[0])) < 1e-5)
    let names = family.expected.names.filter { $0.hasPrefix("grad.") }.map { $0.dropFirst(5) }
    #expect(parameters.entries.map(\.name).sorted() == names.map(String.init).sorted())
    try expectGradients(run.gradients().values, family, prefix: "grad.")
  }

  @Test(arguments: families, [false, true]) func agreesWithPEFT(_ name: String, merged: Bool) throws {
    let family = try Case(name)
    var model = try family.model()
    let parameters = try model.addLoRA(AdapterFolder(path: family.path + "/adapter"), on: CPU(threads: 2))
    let run = try family.run(model, merged: merged)
    #expect(try relativeError(run.logits(), family.floats("adapter.logits")) < 1e-5)
    #expect(try abs(run.loss() - Double(family.floats("adapter.loss")[0])) < 1e-5)
    let names = family.expected.names.filter { $0.hasPrefix("adapter.grad.") }.map { $0.dropFirst(13) }
    #expect(parameters.entries.map(\.name).sorted() == names.map(String.init).sorted())
    try expectGradients(run.gradients().values, family, prefix: "adapter.grad.")
  }

  private func expectGradients(_ gradients: [String: [Float]], _ family: Case, prefix: String) throws {
    for (name, gradient) in gradients {
      let error = try relativeError(gradient, family.floats(prefix + name))
      #expect(error < 1e-4, "\(name): \(error)")
    }
  }

  @Test func readsShards() throws {
    let family = try Case("llama")
    let sharded = try Decoder(ModelFile(path: Fixture.path("family_sharded")), on: CPU(threads: 2))
    #expect(try family.run(sharded).logits() == family.run(family.model()).logits())
  }

  @Test func readsWhatBitsAndBytesQuantised() throws {
    let family = try Case("nf4")
    #expect(try relativeError(family.run(family.model()).logits(), family.floats("logits")) < 1e-5)
  }
}
