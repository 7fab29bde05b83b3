import Basics
import Compute
import Testing

@testable import Models

/// Gradients of whole models against finite differences, and what must not change them.
struct GradientTests {
  typealias Case = FamilyTests.Case

  /// What is trained.
  enum Training: String, CaseIterable, CustomTestStringConvertible {
    case everything, allLinear, mixedRanks, upperLayer, withModules, headOnly, dropout

    var testDescription: String { rawValue }

    /// Scales are powers of two: products scale B in float32, and finite differences would see it rounded.
    var lora: LoRAConfiguration? {
      var lora = LoRAConfiguration()
      lora.r = 4
      lora.alpha = 8
      switch self {
      case .everything: return nil
      case .allLinear: break
      case .mixedRanks:
        lora.targets = .names(["q_proj", "v_proj", "up_proj", "down_proj"])
        lora.rankPattern = ["v_proj": 1, "1\\.mlp\\..*": 16]
        lora.alphaPattern = ["up_proj": 2]
        lora.usesRankStabilisedScale = true
        lora.bias = .loraOnly
      case .upperLayer: lora.layersToTransform = [1]
      case .withModules:
        lora.targets = .names(["k_proj"])
        lora.bias = .all
        lora.modulesToSave = ["embed_tokens", "lm_head"]
      case .headOnly: lora.targets = .names(["lm_head"])
      case .dropout: lora.dropout = 0.3
      }
      return lora
    }

    var dropouts: Dropouts? {
      get throws { self == .dropout ? try Dropouts(seed: 5, microBatch: 3) : nil }
    }
  }

  private func run(
    _ name: String, _ training: Training, threads: Int = 2, merged: Bool = false, copiesLate: Bool = false,
    weights: BaseWeights = .file
  ) throws -> ReferenceRun {
    let family = try Case(name)
    let cpu = try CPU(threads: threads)
    var model = try family.model(weights)
    let parameters =
      try training.lora.map { try model.addLoRA($0, seed: 1, on: cpu) } ?? model.trainAll(on: cpu)
    var random = SplitMix(state: 7)
    // B of a new adapter is zero: nothing would reach A.
    for index in parameters.entries.indices {
      parameters.withValues(index) { for i in $0.indices { $0[i] += 0.3 * random.next() } }
    }
    return try family.run(
      model, threads: threads, merged: merged, copiesLate: copiesLate, dropouts: training.dropouts)
  }

  @Test(arguments: FamilyTests.families, Training.allCases)
  func agreeWithFiniteDifferences(_ name: String, _ training: Training) throws {
    try expectFiniteDifferences(run(name, training))
  }

  /// The products that GPUs take.
  @Test(arguments: FamilyTests.families, Training.allCases)
  func mergedAgreeWithFiniteDifferences(_ name: String, _ training: Training) throws {
    try expectFiniteDifferences(run(name, training, merged: true))
  }

  /// Central differences along a random direction in each tensor. Values are rounded to float32, so the step is
  /// what they really moved.
  private func expectFiniteDifferences(_ run: ReferenceRun) throws {
    let gradients = try run.gradients(.f64).values
    let parameters = try #require(run.model.parameters)
    var random = SplitMix(state: 11)
    for (index, entry) in parameters.entries.enumerated() {
      let values = parameters.withValues(index) { Array($0) }
      let step = values.map { _ in 1e-5 * random.next() }
      let (low, high) = (zip(values, step).map { $0 - $1 }, zip(values, step).map { $0 + $1 })
      func loss(at values: [Float]) throws -> Double {
        parameters.withValues(index) { _ = $0.update(fromContentsOf: values) }
        return try run.trainingLoss(.f64)
      }
      let difference = try loss(at: high) - loss(at: low)
      _ = parameters.withValues(index) { $0.update(fromContentsOf: values) }
      let gradient = try #require(gradients[entry.name])
      let moved = zip(low, high).map { Double($1) - Double($0) }
      let expected = zip(gradient, moved).reduce(0) { $0 + Double($1.0) * $1.1 }
      let scale = zip(gradient, moved).reduce(0) { $0 + abs(Double($1.0) * $1.1) }
      // float32's rounding of the gradients; the step's third order is far below.
      #expect(abs(difference - expected) <= 1e-6 * scale + 1e-13, "\(entry.name)")
    }
  }

  /// What the layers keep, and where, changes neither loss nor gradients by a bit; nor do the threads, nor a second run.
  @Test(arguments: FamilyTests.families, Training.allCases)
  func doNotDependOnCheckpointingOrThreads(_ name: String, _ training: Training) throws {
    for (dtype, merged) in [(DType.f32, false), (.bf16, false), (.bf16, true)] {
      let run = try run(name, training, merged: merged)
      let late = try self.run(name, training, merged: merged, copiesLate: true)
      let expected = try run.gradients(dtype)
      #expect(expected.values.values.contains { $0.contains { $0 != 0 } })
      // Of so few rows there is one slice.
      let policies = Checkpointing.allCases.map { LayerPolicy($0) }
      let offloading = Checkpointing.allCases.map { LayerPolicy($0, isOffloaded: true) }
      for other in try (policies + offloading).map({ try run.gradients(dtype, $0) })
        + offloading.map({ try late.gradients(dtype, $0) })
        + [self.run(name, training, threads: 1, merged: merged).gradients(dtype)]
      {
        #expect(other.loss.bitPattern == expected.loss.bitPattern)
        #expect(other.values == expected.values)
      }
    }
  }

  /// Slices of feed-forward: the same loss to the bit, the same dropout masks, and gradients that differ by the order of
  /// their sums, in float32. Products of 8 rows or fewer, in which bits may differ, are not among those of bfloat16.
  @Test(arguments: FamilyTests.families, Training.allCases)
  func slicesChangeSumsOnly(_ name: String, _ training: Training) throws {
    for (dtype, merged, rows) in [(DType.f64, false, 5), (.bf16, false, 12), (.bf16, true, 12)] {
      let run = try run(name, training, merged: merged)
      for block in run.model.blocks.indices { run.model.blocks[block].sliceRows = rows }
      let expected = try run.gradients(dtype, LayerPolicy(.full))
      for policy in [LayerPolicy(.sliced), LayerPolicy(.sliced, isOffloaded: true)] {
        let sliced = try run.gradients(dtype, policy)
        #expect(sliced.loss.bitPattern == expected.loss.bitPattern)
        for (name, values) in expected.values {
          #expect(try relativeError(#require(sliced.values[name]), values) < 1e-6, "\(name)")
        }
      }
    }
  }

  /// A head that comes in slices, the last one shorter, early copies or late: losses that differ by rounding, in training and
  /// evaluation, and the same gradients. A head that is trained or has an adapter stays as it is.
  @Test(arguments: FamilyTests.families, Training.allCases)
  func streamedHeadChangesSumsOnly(_ name: String, _ training: Training) throws {
    for (dtype, merged, tolerance) in [(DType.f64, false, 1e-6), (.f32, true, 1e-5), (.bf16, true, 0.1)] {
      for late in [false, true] {
        let run = try run(name, training, merged: merged, copiesLate: late)
        let expected = try (run.gradients(dtype), run.loss(dtype))
        let operations = try run.operations
        run.model.headStream = HeadStream(rows: 11)
        let isStreamed = run.model.streamedBytes > 0
        #expect(isStreamed == [.allLinear, .mixedRanks, .upperLayer, .dropout].contains(training))
        #expect(try (run.operations != operations) == isStreamed)
        let streamed = try (run.gradients(dtype), run.loss(dtype))
        let rounding = dtype == .f64 ? 1e-12 : 1e-6
        #expect(abs(streamed.0.loss - expected.0.loss) <= rounding * expected.0.loss)
        #expect(abs(streamed.1 - expected.1) <= rounding * expected.1)
        for (name, values) in expected.0.values {
          #expect(try relativeError(#require(streamed.0.values[name]), values) < tolerance, "\(name)")
        }
      }
    }
  }

  /// Packed together or alone, sequences do not see each other.
  @Test(arguments: FamilyTests.families) func packingChangesNothing(_ name: String) throws {
    let run = try run(name, .everything)
    let packed = try run.gradients(.f64)
    var loss = 0.0
    var sums: [String: [Double]] = [:]
    for index in run.sequences.ids.indices {
      let sequence = ReferenceRun.Sequences(
        ids: [run.sequences.ids[index]], labels: [run.sequences.labels[index]])
      let alone = try ReferenceRun(run.model, sequence, on: run.backend)
      let gradients = try alone.gradients(.f64)
      let share = Double(sequence.targets) / Double(run.sequences.targets)
      loss += share * gradients.loss
      for (name, values) in gradients.values {
        let weighted = values.map { share * Double($0) }
        sums[name] = sums[name].map { zip($0, weighted).map(+) } ?? weighted
      }
    }
    #expect(abs(loss - packed.loss) < 1e-12)
    for (name, gradient) in packed.values {
      #expect(try relativeError(gradient, #require(sums[name])) < 1e-6, "\(name)")
    }
  }

  /// Rounding the frozen weights alone to bfloat16, and calculating exactly, shows how much these models magnify
  /// errors of that size. Rounding every product besides, some eight in a row, is allowed so many times that.
  @Test(arguments: FamilyTests.families) func bfloat16IsClose(_ name: String) throws {
    let run = try run(name, .allLinear)
    let (exact, computed) = (try run.gradients(.f64), try run.gradients(.bf16))
    let rounded = try self.run(name, .allLinear, weights: .bfloat16).gradients(.f64)
    #expect(abs(computed.loss - exact.loss) < 0.02)
    func error(of other: ReferenceRun.Gradients) throws -> Double {
      let names = exact.values.keys.sorted()
      return try relativeError(
        names.flatMap { try #require(other.values[$0]) }, names.flatMap { try #require(exact.values[$0]) })
    }
    #expect(try error(of: computed) < 8 * error(of: rounded))
  }

  /// A layer below the lowest with an adapter has no backward pass.
  @Test func lowerLayersAreSkipped() throws {
    let operations = try [Training.headOnly, .upperLayer, .allLinear].map { try run("llama", $0).operations }
    #expect(operations == operations.sorted() && Set(operations).count == 3)
  }

  /// A mask of another micro-batch is another mask.
  @Test func dropoutIsSeeded() throws {
    let run = try run("llama", .dropout)
    let other = try ReferenceRun(
      run.model, run.sequences, on: run.backend, dropouts: Dropouts(seed: 5, microBatch: 4))
    #expect(try run.gradients().loss != other.gradients().loss)
    #expect(try run.trainingLoss(.f32) == run.trainingLoss(.f32))
  }
}

/// Small random numbers in -1 ..< 1 for tests (Steele et al., "Fast splittable pseudorandom number generators").
struct SplitMix {
  var state: UInt64

  mutating func next() -> Float {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return Float(Int32(truncatingIfNeeded: (z ^ (z >> 31)) >> 40)) / Float(1 << 23) - 1
  }
}
