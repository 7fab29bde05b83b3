import Basics
import Compute
import Models

/// Chooses what becomes of each layer between forward and backward: the fastest choice whose plan fits.
struct PolicyPlanner {
  /// By layer.
  let canOffload: [Bool]
  /// Bytes for the arena, and of the host's memory.
  let budget: Int
  var hostBudget = Int.max
  /// What is not left to choose.
  var checkpointing: Checkpointing?
  var isOffloaded: Bool?
  /// nil where offloading gains nothing.
  let rates: () -> DeviceRates?
  let costs: () -> DecoderCosts
  let plan: (_ policies: [LayerPolicy]) -> Plan

  typealias Choice = (policies: [LayerPolicy], plan: Plan)

  /// - Throws: `.outOfMemory` when nothing fits that may be chosen from.
  func choose() throws(SwiftletError) -> Choice {
    if isOffloaded == true { return try offloadingAll() }
    let plain = alike(LayerPolicy(checkpointing ?? .keep))
    if plain.plan.bytes <= budget { return plain }
    if isOffloaded == nil, let rates = rates(), let choice = mixing(rates) { return choice }
    // What is fixed is tried, whatever it takes.
    return checkpointing == nil ? try recomputing(instead: plain) : plain
  }

  private func planned(_ policies: [LayerPolicy]) -> Choice { (policies, plan(policies)) }

  private var layers: Int { canOffload.count }

  private func alike(_ policy: LayerPolicy) -> Choice { planned(policies(policy)) }

  private func policies(_ policy: LayerPolicy) -> [LayerPolicy] {
    canOffload.map { LayerPolicy(policy.checkpointing, isOffloaded: policy.isOffloaded && $0) }
  }

  private func tooLarge(_ plan: Plan) -> SwiftletError {
    SwiftletError(
      .outOfMemory,
      "a step needs \(plan.bytes.megabytes) for activations even when every layer is computed again in slices; "
        + "\(max(0, budget).megabytes) are left of the memory budget",
      remedy: "Lower per_device_train_batch_size or max_seq_length, or raise memory_budget.")
  }

  // MARK: On the device alone

  /// Of two policies that follow one another in cost, as few layers as will do have the dearer. The first layers go
  /// first: what they keep lives longest.
  private func recomputing(instead kept: Choice) throws(SwiftletError) -> Choice {
    func mixture(_ count: Int, _ first: Checkpointing, _ others: Checkpointing) -> Choice {
      planned((0..<layers).map { LayerPolicy($0 < count ? first : others) })
    }
    var best = kept
    for (cheap, dear) in zip(Checkpointing.allCases, Checkpointing.allCases.dropFirst()) {
      best = mixture(layers, dear, cheap)
      guard best.plan.bytes <= budget else { continue }
      var (low, high) = (1, layers)
      while low < high {
        let middle = (low + high) / 2
        let candidate = mixture(middle, dear, cheap)
        if candidate.plan.bytes <= budget { (high, best) = (middle, candidate) } else { low = middle + 1 }
      }
      return best
    }
    throw tooLarge(best.plan)
  }

  // MARK: With the host's memory

  /// All layers offloaded that can be, and alike.
  private func offloadingAll() throws(SwiftletError) -> Choice {
    if let checkpointing { return alike(LayerPolicy(checkpointing, isOffloaded: true)) }
    var policies = Checkpointing.allCases.map { LayerPolicy($0, isOffloaded: true) }
    if let rates = rates() {
      let costs = costs()
      let estimates = policies.map {
        PolicyEstimate(self.policies($0).suffix(costs.layers.count), costs, rates)
      }
      policies = zip(policies, estimates).sorted { $0.1.seconds < $1.1.seconds }.map(\.0)
    }
    for policy in policies {
      let choice = alike(policy)
      if choice.plan.bytes <= budget { return choice }
    }
    throw tooLarge(alike(LayerPolicy(.sliced, isOffloaded: true)).plan)
  }

  /// Plans that are made at most; each takes milliseconds.
  private static let mostPlans = 12

  private struct Candidate {
    let policies: [LayerPolicy]
    let estimate: PolicyEstimate
  }

  /// The fastest mixture by estimate whose plan fits; nil when none does.
  ///
  /// What the estimate of memory is off by is taken from the last plan made.
  private func mixing(_ rates: DeviceRates) -> Choice? {
    let costs = costs()
    let candidates = candidates(costs, rates)
    func planned(_ candidate: Candidate) -> Choice {
      // Of layers without a backward pass nothing is kept: only slices make a difference.
      let untrained = LayerPolicy(candidate.policies.first?.checkpointing == .sliced ? .sliced : .keep)
      let policies = Array(repeating: untrained, count: layers - costs.layers.count) + candidate.policies
      return self.planned(policies)
    }
    var best: (choice: Choice, index: Int)?
    var error = 0
    var tried: Set<Int> = []
    for _ in 0..<Self.mostPlans {
      let next = candidates.prefix(best?.index ?? candidates.count).indices.first {
        !tried.contains($0) && candidates[$0].estimate.bytes + error <= budget
      }
      guard let index = next else { break }
      tried.insert(index)
      let candidate = candidates[index]
      let choice = planned(candidate)
      error = choice.plan.bytes - candidate.estimate.bytes
      if choice.plan.bytes <= budget, choice.plan.hostBytes <= hostBudget { best = (choice, index) }
    }
    if let best { return best.choice }
    let least = candidates.min { $0.estimate.bytes < $1.estimate.bytes }.map(planned)
    return least.flatMap { $0.plan.bytes <= budget ? $0 : nil }
  }

  /// What may be chosen, the fastest first.
  private func candidates(_ costs: DecoderCosts, _ rates: DeviceRates) -> [Candidate] {
    PolicyMixture.all(layers: costs.layers.count, checkpointing.map { [$0] } ?? Checkpointing.allCases)
      .map { mixture in
        let policies = mixture.policies(layers: costs.layers.count)
        return Candidate(policies: policies, estimate: PolicyEstimate(policies, costs, rates))
      }
      .filter { $0.estimate.hostBytes <= hostBudget }
      .sorted { ($0.estimate.seconds, $0.estimate.bytes) < ($1.estimate.seconds, $1.estimate.bytes) }
  }
}
