import Testing

@testable import Compute

/// Memory plans of random steps.
@Suite struct PlanTests {
  /// A step of random sums: every tensor is the sum of two earlier ones, taken whole or as rows of a larger one.
  struct RandomGraph {
    struct Node {
      var rows, left, right: Int
    }

    static let inputs = 2
    let columns = 5
    let nodes: [Node]

    init(seed: UInt64, count: Int) {
      var random = SeededGenerator(seed: seed)
      nodes = (0..<count).map { index in
        let earlier = 0..<index + Self.inputs
        // Mostly recent tensors, now and then one from long ago.
        let recent = max(0, earlier.upperBound - 4)..<earlier.upperBound
        return Node(
          rows: .random(in: 1...200, using: &random),
          left: .random(in: .random(using: &random) ? recent : earlier, using: &random),
          right: .random(in: recent, using: &random))
      }
    }

    /// The last tensor; a sum reads its operands' first rows, as often as it takes to fill its own.
    func run(_ step: Step, _ inputs: [Tensor]) -> Tensor {
      var tensors = inputs
      for node in nodes {
        let (left, right) = (tensors[node.left], tensors[node.right])
        let sum = step.make(node.rows, columns, .f64)
        for start in stride(from: 0, to: node.rows, by: min(left.rows, right.rows)) {
          let rows = start..<min(node.rows, start + min(left.rows, right.rows))
          _ = step.add(left.rows(0..<rows.count), right.rows(0..<rows.count), into: sum.rows(rows))
        }
        tensors.append(sum)
      }
      step.keep(tensors[tensors.count - 1])
      return tensors[tensors.count - 1]
    }

    /// The same on the host, where no tensor shares memory: only the first column, for all are alike.
    func reference(_ inputs: [[Double]]) -> [Double] {
      var tensors = inputs
      for node in nodes {
        let (left, right) = (tensors[node.left], tensors[node.right])
        let period = min(left.count, right.count)
        tensors.append((0..<node.rows).map { left[$0 % period] + right[$0 % period] })
      }
      return tensors[tensors.count - 1]
    }
  }

  static let seeds = (0..<20).map { _ in UInt64.random(in: 0...(.max)) }

  private func input(_ rows: Int, columns: Int) throws -> (tensor: Tensor, values: [Double], owner: Buffer) {
    let buffer = try Buffer(count: rows * columns * 8)
    let values = (0..<rows).map { 1 / Double($0 + rows) }
    for index in 0..<rows * columns { buffer.pointer(to: Double.self)[index] = values[index / columns] }
    return (Tensor(buffer, rows: rows, columns: columns, dtype: .f64), values, buffer)
  }

  @Test(arguments: seeds)
  func tensorsThatLiveTogetherLieApart(seed: UInt64) throws {
    let backend = try CPU(threads: 1)
    let graph = RandomGraph(seed: seed, count: 60)
    let inputs = try [input(100, columns: graph.columns), input(150, columns: graph.columns)]
    let plan = Step.plan(on: backend) { _ = graph.run($0, inputs.map(\.tensor)) }
    for (index, one) in plan.slots.enumerated() {
      #expect(one.offset % Plan.alignment == 0 && one.offset + one.bytes <= plan.bytes)
      for other in plan.slots[..<index] where one.birth <= other.lastUse && other.birth <= one.lastUse {
        #expect(one.offset + one.bytes <= other.offset || other.offset + other.bytes <= one.offset)
      }
    }
    #expect(plan.lowerBound <= plan.bytes && plan.bytes <= plan.bytesWithoutSharing)
    // Greedy layouts of such graphs come close to the bound.
    #expect(plan.bytes <= plan.lowerBound * 3 / 2)
    let again = Step.plan(on: backend) { _ = graph.run($0, inputs.map(\.tensor)) }
    #expect(again.slots == plan.slots)
  }

  @Test(arguments: seeds, [UInt8(0), 0xFF])
  func resultsDoNotDependOnTheArena(seed: UInt64, fill: UInt8) throws {
    let backend = try CPU(threads: 1)
    let graph = RandomGraph(seed: seed, count: 40)
    let inputs = try [input(100, columns: graph.columns), input(150, columns: graph.columns)]
    let plan = Step.plan(on: backend) { _ = graph.run($0, inputs.map(\.tensor)) }
    let arena = try Buffer(count: plan.bytes)
    arena.base.initializeMemory(as: UInt8.self, repeating: fill, count: arena.count)
    let expected = graph.reference(inputs.map(\.values))
    for _ in 0..<2 {
      let result = Step.run(plan, in: arena, on: backend) { graph.run($0, inputs.map(\.tensor)) }
      let pointer = try #require(result.pointer(Double.self))
      #expect((0..<result.rows).allSatisfy { pointer[$0 * graph.columns + 3] == expected[$0] })
    }
  }

  @Test func lastUseEndsALifetime() throws {
    let plan = Step.plan(on: try CPU(threads: 1)) { step in
      let a = step.make(10, 10, .f32)  // slot 0
      step.zero(a)  // operation 0
      let b = step.add(a, a)  // slot 1, operation 1
      step.zero(b)  // operation 2
      let view = a.columns(2..<4).rows(1..<3)
      step.zero(b)  // operation 3
      step.zero(view)  // operation 4: uses a
      step.keep(b)  // operation 5
    }
    #expect(plan.slots.map(\.birth) == [0, 1])
    #expect(plan.slots.map(\.lastUse) == [4, 5])
    #expect(plan.operations == 6)
  }

  @Test func workspacesLiveForOneOperation() throws {
    let backend = try CPU(threads: 1)
    let x = try input(40, columns: 8)
    let dw = try Buffer(count: 8 * 8 * 4)
    let gradient = Tensor(dw, rows: 8, columns: 8, dtype: .f32)
    let plan = Step.plan(on: backend) { step in
      for _ in 0..<3 { step.linearWeightGradient(x.tensor, x.tensor, addingTo: gradient) }
    }
    #expect(plan.slots.count == 3)
    #expect(plan.slots.allSatisfy { $0.birth == $0.lastUse && $0.offset == 0 })
  }

  @Test func otherCodeThanPlannedTraps() async {
    await #expect(processExitsWith: .failure) {
      let backend = try CPU(threads: 1)
      let plan = Step.plan(on: backend) { $0.zero($0.make(4, 4, .f32)) }
      try Step.run(plan, in: Buffer(count: plan.bytes), on: backend) { $0.zero($0.make(400, 4, .f32)) }
    }
    await #expect(processExitsWith: .failure) {
      let backend = try CPU(threads: 1)
      let plan = Step.plan(on: backend) { $0.zero($0.make(4, 4, .f32)) }
      try Step.run(plan, in: Buffer(count: plan.bytes), on: backend) { _ in }
    }
  }
}

/// A generator that a seed fixes.
struct SeededGenerator: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) { state = seed | 1 }

  /// xorshift64* (Vigna, An experimental exploration of Marsaglia's xorshift generators, TOMS 42, 2016).
  mutating func next() -> UInt64 {
    state ^= state >> 12
    state ^= state << 25
    state ^= state >> 27
    return state &* 0x2545_F491_4F6C_DD1D
  }
}
