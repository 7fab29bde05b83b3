import Compute
import SelfTest
import Testing

extension ModelCase: CustomTestStringConvertible {
  public var testDescription: String { name }
}

/// The table of models on the CPU that computes linear layers as GPUs do, against the CPU. Every run draws new numbers;
/// a failure names its seed, which can be put here to see it again.
@Suite(.serialized)
struct ModelTests {
  let backend: CPU
  let seed = UInt64.random(in: 0...(.max))

  init() throws { backend = try CPU(mergesLinears: true) }

  @Test(arguments: ModelCase.all, ModelCheck.allCases)
  func passes(_ model: ModelCase, _ check: ModelCheck) {
    guard check.applies(to: backend) else { return }
    for dtype in ModelCase.dtypes {
      #expect(model.failure(check, on: backend, dtype, seed: seed) == nil)
    }
  }
}
