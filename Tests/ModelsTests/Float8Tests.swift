import Basics
import Compute
import Testing

@testable import Models

/// Models whose frozen products are in float8, beside the same models in full precision.
struct Float8Tests {
  /// e4m3 keeps three bits behind the leading one: some percent of error in each of a dozen products one behind the other,
  /// with sums too short to even it out. A mistake in scales or codes makes it 100%.
  @Test(arguments: ["llama_bias", "mistral_window", "qwen2"])
  func followsFullPrecision(_ name: String) throws {
    let family = try FamilyTests.Case(name)
    var model = try family.model()
    _ = try model.addLoRA(AdapterFolder(path: family.path + "/adapter"), on: CPU(threads: 2))
    let exact = try family.run(model)
    try model.useFloat8()
    let run = try family.run(model)
    let error = try relativeError(run.logits(), exact.logits())
    #expect(error > 1e-3 && error < 0.3, "logits: \(error)")
    #expect(try abs(run.loss() - exact.loss()) < 0.1)
    let gradients = try run.gradients().values
    for (name, expected) in try exact.gradients().values {
      let error = try relativeError(#require(gradients[name]), expected)
      #expect(error < 0.5, "\(name): \(error)")
    }
  }

  /// What merging allocates differs; what is computed does not.
  @Test func isTheSameWhereLinearsAreMerged() throws {
    let family = try FamilyTests.Case("qwen2")
    var model = try family.model()
    _ = try model.addLoRA(AdapterFolder(path: family.path + "/adapter"), on: CPU(threads: 2))
    try model.useFloat8()
    #expect(try family.run(model, merged: true).gradients().values == family.run(model).gradients().values)
  }

  @Test func refusesWhatHasNoFrozenWeights() throws {
    var model = try FamilyTests.Case("llama").model()
    _ = try model.trainAll(on: CPU(threads: 2))
    let error = #expect(throws: SwiftletError.self) { try model.useFloat8() }
    #expect(error?.code == .unsupported)
  }
}
