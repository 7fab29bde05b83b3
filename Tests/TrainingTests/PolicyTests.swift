import Basics
import Compute
import Models
import TestSupport
import Testing
import Text

@testable import Training

/// What becomes of layers between forward and backward: it changes memory and time, never a result.
@Suite struct PolicyTests {
  /// A random model with adapters and two packed batches.
  private struct Setting {
    let backend: CPU
    let model: Decoder
    let parameters: Parameters
    let device: DeviceBatch
    let batches: [PackedBatch]

    init(
      layers: Int, length: Int = 24, compute: DType = .f32, trained: [Int]? = nil, merged: Bool = false,
      copiesLate: Bool = false, sliceRows: Int = 1024
    ) throws {
      backend = try CPU(threads: 2, mergesLinears: merged, copiesLate: copiesLate)
      var model = try TestModel.random(.qwen3, layers: layers, on: backend)
      var lora = LoRAConfiguration()
      lora.r = 2
      lora.layersToTransform = trained
      parameters = try model.addLoRA(lora, seed: 3, on: backend)
      var noise = Noise(state: 11)
      for index in parameters.entries.indices {
        let count = parameters.entries[index].count
        try parameters.setValues(of: index, to: (0..<count).map { _ in noise.next() / 4 })
      }
      for block in model.blocks.indices { model.blocks[block].sliceRows = sliceRows }
      self.model = model
      let rotary = try model.spec.rotary.table(
        positions: length, headSize: model.spec.headSize, on: backend)
      device = try DeviceBatch(
        lines: 1, length: length, compute: compute, layout: .any, rotary: rotary, on: backend)
      batches = (0..<2).map { _ in
        let ids = (0..<length - 3).map { _ in Int32(abs(noise.next()) * Float(TestModel.vocabulary - 1)) }
        return PackedBatch([(ids, ids.map { _ in true })], length: length, paddingID: 0)
      }
    }

    func plan(_ policies: [LayerPolicy], compute: DType = .f32) -> Plan {
      Step.plan(on: backend) { start($0, policies, compute) }
    }

    private func start(_ step: Step, _ policies: [LayerPolicy], _ compute: DType) {
      model.lossAndGradients(
        device.batch(trains: true), step, compute: compute, policies: policies, into: device.loss)
    }

    /// The gradient of both batches, one after the other in the same memory, which holds NaN before.
    func gradient(_ policies: [LayerPolicy], compute: DType) throws -> [Float] {
      let plan = plan(policies, compute: compute)
      let (arena, host) = (
        try backend.allocate(bytes: plan.bytes), try backend.allocateOnHost(bytes: plan.hostBytes)
      )
      for memory in [arena, host] {
        memory.base.initializeMemory(as: UInt8.self, repeating: 0xff, count: memory.count)
      }
      parameters.clearGradients()
      for batch in batches {
        try device.load(batch, labelWeight: 1 / 16)
        Step.run(plan, in: arena, host: host, on: backend) { start($0, policies, compute) }
      }
      return Array(parameters.allGradients.hostFloats)
    }

    var costs: DecoderCosts {
      model.costs(device.batch(trains: true), compute: .f32, into: device.loss)
    }

    func planner(
      budget: Int, hostBudget: Int = .max, checkpointing: Checkpointing? = nil, isOffloaded: Bool? = nil,
      rates: DeviceRates?
    ) -> PolicyPlanner {
      PolicyPlanner(
        canOffload: (0..<model.spec.layers).map(model.canOffload), budget: budget, hostBudget: hostBudget,
        checkpointing: checkpointing, isOffloaded: isOffloaded, rates: { rates }, costs: { costs },
        plan: { plan($0) })
    }

    func seconds(_ policies: [LayerPolicy], _ rates: DeviceRates) -> Double {
      PolicyEstimate(policies.suffix(costs.layers.count), costs, rates).seconds
    }
  }

  private static let everyPolicy = Checkpointing.allCases.flatMap {
    [LayerPolicy($0), LayerPolicy($0, isOffloaded: true)]
  }

  // Bit for bit: the batches are one slice.
  /// Copies that are made when they are started would overwrite what is still in use; copies that are made when they
  /// are waited for would come from what is used anew, or too late.
  @Test(arguments: [false, true], [(DType.f32, false), (.bf16, true)])
  func offloadingChangesNoBit(copiesLate: Bool, kind: (compute: DType, merged: Bool)) throws {
    let setting = try Setting(
      layers: 5, compute: kind.compute, merged: kind.merged, copiesLate: copiesLate)
    let expected = try setting.gradient(
      Array(repeating: LayerPolicy(.keep), count: 5), compute: kind.compute)
    #expect(expected.contains { $0 != 0 } && expected.allSatisfy(\.isFinite))
    var noise = Noise(state: 5)
    let mixtures = (0..<12).map { _ in
      (0..<5).map { _ in Self.everyPolicy[Int(abs(noise.next()) * 9.99)] }
    }
    for policies in Self.everyPolicy.map({ Array(repeating: $0, count: 5) }) + mixtures {
      #expect(
        try setting.gradient(policies, compute: kind.compute) == expected, "\(policies.summary)")
    }
  }

  /// Two layers are on the device at once, however many there are.
  @Test func offloadedLayersTakeNoMemory() throws {
    let plans = try [4, 8].map { layers in
      let setting = try Setting(layers: layers, length: 256)
      return Self.everyPolicy.map { setting.plan(Array(repeating: $0, count: layers)) }
    }
    for (index, policy) in Self.everyPolicy.enumerated() {
      let (four, eight) = (plans[0][index], plans[1][index])
      #expect((eight.bytes == four.bytes) == policy.isOffloaded, "\(policy)")
      // The last layer of each is not offloaded.
      #expect(eight.hostBytes * 3 == four.hostBytes * 7 && (four.hostBytes > 0) == policy.isOffloaded)
    }
  }

  /// Nobody reads what layers below the lowest trained one leave, and the last one's is read at once.
  @Test func onlyLayersBetweenAreOffloaded() throws {
    let setting = try Setting(layers: 5, trained: [2, 3])
    #expect((0..<5).map(setting.model.canOffload) == [false, false, true, true, false])
    let all = Array(repeating: LayerPolicy(.full, isOffloaded: true), count: 5)
    // Layers 2 and 3 leave their inputs: 24 rows of 32 floats each.
    #expect(setting.plan(all).hostBytes == 2 * 24 * 32 * 4)
    let planner = setting.planner(budget: .max, checkpointing: .full, isOffloaded: true, rates: nil)
    #expect(try planner.choose().policies.summary == "3 full, 2 full offloaded")
  }

  // MARK: The choice

  /// A device on which everything of one layer is copied in about the time of `layers` layers.
  private static func rates(_ setting: Setting, layers: Double) -> DeviceRates {
    var rates = DeviceRates(operations: 1e12, memory: 1e10, toHost: 1, fromHost: 1)
    let kept = setting.costs.layers[0][.keep]
    rates.toHost = Double(kept.saved) / (layers * kept.forward.seconds(rates))
    rates.fromHost = rates.toHost
    return rates
  }

  private static func budgets(_ setting: Setting, layers: Int) -> [Int] {
    let most = setting.plan(Array(repeating: LayerPolicy(.keep), count: layers)).bytes
    let least = setting.plan(Array(repeating: LayerPolicy(.full, isOffloaded: true), count: layers)).bytes
    return (0...6).map { least + (most - least) * $0 / 6 }
  }

  /// Without offloading the choice is by plans alone; with it, estimates must hold.
  @Test(arguments: [0.3, 1, 4])
  func choosesAlmostTheFastestOfAll(copyTime: Double) throws {
    let layers = 3
    let setting = try Setting(layers: layers, length: 128)
    let rates = Self.rates(setting, layers: copyTime)
    let lower = Self.everyPolicy.flatMap { first in Self.everyPolicy.map { [first, $0] } }
    let all = lower.flatMap { lower in Checkpointing.allCases.map { lower + [LayerPolicy($0)] } }
      .map { (policies: $0, bytes: setting.plan($0).bytes, seconds: setting.seconds($0, rates)) }
    for budget in Self.budgets(setting, layers: layers) {
      let choice = try setting.planner(budget: budget, rates: rates).choose()
      #expect(choice.plan.bytes <= budget)
      let fastest = try #require(all.filter { $0.bytes <= budget }.map(\.seconds).min())
      let chosen = setting.seconds(choice.policies, rates)
      #expect(chosen <= 1.03 * fastest, "\(choice.policies.summary)")
      if let alone = try? setting.planner(budget: budget, isOffloaded: false, rates: rates).choose() {
        #expect(!alone.policies.summary.contains("offloaded"))
        #expect(chosen <= setting.seconds(alone.policies, rates))
      }
    }
  }

  /// The layout leaves some memory empty, which no estimate knows.
  @Test func estimatesMemory() throws {
    let setting = try Setting(layers: 6, length: 256)
    let rates = Self.rates(setting, layers: 1)
    for mixture in PolicyMixture.all(layers: 6, Checkpointing.allCases) {
      let policies = mixture.policies(layers: 6)
      let (estimate, plan) = (PolicyEstimate(policies, setting.costs, rates), setting.plan(policies))
      #expect(abs(estimate.bytes - plan.lowerBound) <= plan.lowerBound / 100, "\(policies.summary)")
      #expect(plan.bytes <= plan.lowerBound * 11 / 10, "\(policies.summary)")
      #expect(estimate.hostBytes == plan.hostBytes)
    }
  }

  /// Slices are for budgets in which nothing else fits, on devices that say how fast they are and on others.
  @Test(arguments: [true, false]) func slicesAreTheLastResort(hasRates: Bool) throws {
    let setting = try Setting(layers: 4, length: 4096, trained: [1, 2, 3], sliceRows: 512)
    let rates = hasRates ? Self.rates(setting, layers: 1) : nil
    func plan(_ checkpointing: Checkpointing) -> Plan {
      setting.plan(
        (0..<4).map {
          LayerPolicy(checkpointing, isOffloaded: hasRates && setting.model.canOffload(layer: $0))
        })
    }
    let (full, sliced) = (plan(.full).bytes, plan(.sliced).bytes)
    #expect(sliced < full)
    let enough = try setting.planner(budget: full, rates: rates).choose()
    #expect(!enough.policies.summary.contains("sliced"))
    let least = try setting.planner(budget: sliced, rates: rates).choose()
    #expect(least.plan.bytes <= sliced && least.policies.allSatisfy { $0.checkpointing == .sliced })
    #expect(throws: SwiftletError.self) {
      try setting.planner(budget: sliced * 9 / 10, rates: rates).choose()
    }
  }

  /// Each is an estimate: there must not be many times as many as there are layers and choices.
  @Test func mixturesAreFew() {
    for layers in [28, 80] {
      let all = PolicyMixture.all(layers: layers, Checkpointing.allCases)
      #expect(all.count < 16_000)
      #expect(all.count { $0.cheap == .sliced || $0.dear == .sliced || $0.offloaded == .sliced } <= layers)
    }
  }

  /// A device that says nothing of its speed is one that nothing is offloaded from.
  @Test func withoutRatesNothingIsOffloaded() throws {
    let setting = try Setting(layers: 4, length: 64)
    var summaries: [String] = []
    for budget in Self.budgets(setting, layers: 4) {
      guard let choice = try? setting.planner(budget: budget, rates: nil).choose() else { continue }
      #expect(choice.plan.bytes <= budget && choice.plan.hostBytes == 0)
      summaries.append(choice.policies.summary)
    }
    #expect(summaries.last == "4 keep" && Set(summaries).count > 3)
  }

  @Test func whatIsFixedIsNotChosen() throws {
    let setting = try Setting(layers: 4, length: 64)
    let rates = Self.rates(setting, layers: 0.5)
    let budgets = Self.budgets(setting, layers: 4)
    func summary(
      _ budget: Int, _ checkpointing: Checkpointing? = nil, _ isOffloaded: Bool? = nil, hostBudget: Int = .max
    ) throws -> String {
      try setting.planner(
        budget: budget, hostBudget: hostBudget, checkpointing: checkpointing, isOffloaded: isOffloaded,
        rates: rates
      ).choose().policies.summary
    }
    #expect(try summary(.max) == "4 keep")
    #expect(try summary(0, .narrow, false) == "4 narrow")
    #expect(try summary(0, .narrow, true) == "1 narrow, 3 narrow offloaded")
    #expect(try summary(.max, nil, true) == "1 keep, 3 keep offloaded")
    let (kept, onDevice) = (try summary(budgets[3], .keep), try summary(budgets[5], hostBudget: 0))
    #expect(kept.hasSuffix("keep offloaded"))
    #expect(!onDevice.contains("offloaded"))
    #expect(throws: SwiftletError.self) { try summary(budgets[0] / 2) }
    #expect(throws: SwiftletError.self) { try summary(budgets[0] / 2, nil, true) }
  }
}
