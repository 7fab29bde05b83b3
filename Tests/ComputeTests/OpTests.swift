import Compute
import SelfTest
import Testing

extension OpCase: CustomTestStringConvertible {
  public var testDescription: String { name }
}

/// The table of operations on the CPU. Every run draws new numbers; a failure names its seed, which can be
/// put here to see it again.
@Suite(.serialized)
struct OpTests {
  let seed = UInt64.random(in: 0...(.max))

  @Test(arguments: OpCase.all)
  func reference(_ operation: OpCase) throws {
    let backend = try CPU(threads: 2)
    for dtype in operation.dtypes {
      let failures = try operation.checkReference(on: backend, dtype, seed: seed)
      #expect(failures.isEmpty)
    }
  }

  @Test(arguments: OpCase.all.filter(\.hasGradients))
  func gradients(_ operation: OpCase) throws {
    let failures = try operation.checkGradients(on: CPU(threads: 1), seed: seed)
    #expect(failures.isEmpty)
  }

  /// No result depends on how work is split over threads.
  @Test(arguments: OpCase.all)
  func sameOnAnyNumberOfThreads(_ operation: OpCase) throws {
    let (one, three) = (try CPU(threads: 1), try CPU(threads: 3))
    for dtype in operation.dtypes {
      let failures = try operation.checkParity(one, three, dtype, seed: seed)
      #expect(failures.isEmpty)
    }
  }

  @Test func speedCasesRun() throws {
    let backend = try CPU()
    for operation in OpCase.all.prefix(3) {
      #expect(try operation.measure(on: backend, .f32, duration: .milliseconds(1)).seconds > 0)
    }
  }
}
