import Basics
import Compute
import Foundation
import Models
import TestSupport
import Testing
import Text

@testable import Training

/// Loops of one's own: `GradientStep` with and without a loss that the caller brings.
@Suite struct GradientStepTests {
  private static let length = 24

  /// A random decoder with adapters that already do something, and one packed batch.
  private struct Setting {
    let backend: CPU
    let model: Decoder
    let parameters: Parameters
    let batch: PackedBatch

    init(dropout: Double = 0, headStream: HeadStream? = nil) throws {
      backend = try CPU()
      var model = try TestModel.random(.llama, on: backend)
      model.headStream = headStream
      var lora = LoRAConfiguration()
      lora.r = 2
      lora.dropout = dropout
      parameters = try model.addLoRA(lora, seed: 3, on: backend)
      var noise = Noise(state: 11)
      // B starts as zeros, which would hide A's gradient.
      for index in parameters.entries.indices {
        let count = parameters.entries[index].count
        try parameters.setValues(of: index, to: (0..<count).map { _ in noise.next() / 4 })
      }
      self.model = model
      let sequences = [7, 12].map { count in
        (0..<count).map { _ in Int32(abs(noise.next()) * Float(TestModel.vocabulary - 1)) }
      }
      batch = PackedBatch(
        sequences.map { ($0, $0.map { _ in true }) }, length: GradientStepTests.length, paddingID: 0)
    }

    func step(_ loss: TokenLoss?, compute: DType, _ checkpointing: Checkpointing = .keep) throws
      -> GradientStep
    {
      try GradientStep(
        model, compute: compute, lines: 1, length: GradientStepTests.length, checkpointing: checkpointing,
        loss: loss, on: backend)
    }

    /// The loss and its gradient by all parameters.
    func run(_ step: GradientStep, scale: Float = 1) throws -> (loss: Double, gradient: [Float]) {
      parameters.clearGradients()
      let loss = try step.run(batch, scale: scale, seed: 5, microBatch: 2)
      return (loss, Array(parameters.allGradients.hostFloats))
    }
  }

  @Test(
    arguments: [(DType.f32, Checkpointing.keep, 0.0), (.bf16, .full, 0.25), (.f64, .elementwise, 0)],
    [nil, HeadStream(rows: 20)])
  func crossEntropyAsOwnLossIsTheBuiltInOneBitForBit(
    how: (compute: DType, checkpointing: Checkpointing, dropout: Double), headStream: HeadStream?
  ) throws {
    let (compute, checkpointing, dropout) = how
    let setting = try Setting(dropout: dropout, headStream: headStream)
    let builtIn = try setting.run(try setting.step(nil, compute: compute, checkpointing), scale: 1 / 17)
    let own = try setting.run(
      try setting.step(
        { logp, _ in (-logp.reduce(0, +), logp.map { _ in -1 }) }, compute: compute, checkpointing),
      scale: 1 / 17)
    #expect(own.loss == builtIn.loss && own.loss > 0)
    #expect(own.gradient == builtIn.gradient)
    #expect(builtIn.gradient.contains { $0 != 0 })
  }

  /// A head in the host's memory goes to the device when a step fits beside it there, and nothing else is asked for.
  @Test func headGoesToTheDeviceWhereItFits() throws {
    let setting = try Setting(headStream: HeadStream(rows: 20))
    let head = setting.model.streamedBytes
    #expect(head == TestModel.vocabulary * 32 * 4)
    let data = BatchPlan(
      TokenizedDataset(sequences: [[1, 2, 3, 4]]), batchSize: 1, rowLength: 16, isPacked: false,
      order: .fixed, paddingID: 0)
    let folder = try TemporaryFolder()
    func trainer(budget: Int?, isOffloaded: Bool = false) throws -> Trainer {
      var settings = TrainerSettings(outputFolder: folder.path)
      (settings.checkpointing, settings.offloadsActivations) = (.sliced, isOffloaded)
      settings.memoryBudget = budget
      return try Trainer(
        setting.model, training: setting.parameters, on: data, settings, backend: setting.backend,
        saveModel: { _ in })
    }
    let memory = try trainer(budget: nil).outline.memory
    let needed = memory.total - memory.batch
    for (budget, isOffloaded, isStreamed) in [
      (needed, false, false), (needed - 1, false, true), (needed, true, true),
    ] {
      let trainer = try trainer(budget: budget, isOffloaded: isOffloaded)
      #expect((trainer.model.headStream != nil) == isStreamed)
      #expect(trainer.outline.memory.host == (isStreamed ? head : 0))
      #expect(trainer.outline.memory.weights == memory.weights - (isStreamed ? head : 0))
      _ = try trainer.run()
    }
  }

  /// Losses that are no fixed sum over rows: focal (Lin et al., arXiv:1708.02002, eq. 4, gamma 2), and a margin between
  /// the batch's two sequences, -log sigmoid(sum of logp of the first - of the second), as preference losses have.
  enum OwnLoss: String, CaseIterable {
    case focal, margin

    func callAsFunction(_ logp: [Double], _ batch: PackedBatch) -> (loss: Double, gradient: [Double]) {
      switch self {
      case .focal:
        let p = logp.map(exp)
        return (
          zip(p, logp).reduce(0) { $0 - (1 - $1.0) * (1 - $1.0) * $1.1 },
          zip(p, logp).map { p, logp in 2 * (1 - p) * p * logp - (1 - p) * (1 - p) }
        )
      case .margin:
        let second = Int(batch.sequenceStarts[1])
        let margin = 0.1 * (logp[..<second].reduce(0, +) - logp[second...].reduce(0, +))
        let slope = -0.1 / (1 + exp(margin))
        return (log1p(exp(-margin)), logp.indices.map { $0 < second ? slope : -slope })
      }
    }
  }

  @Test(arguments: OwnLoss.allCases)
  func gradientOfOwnLossIsItsFiniteDifference(_ loss: OwnLoss) throws {
    let setting = try Setting()
    let step = try setting.step(loss.callAsFunction, compute: .f64)
    let (_, gradient) = try setting.run(step)
    let largest = gradient.reduce(0) { max($0, abs($1)) }
    #expect(largest > 1e-3)
    let values = setting.parameters.allValues.hostFloats
    for index in stride(from: 0, to: values.count, by: 97) {
      let value = values[index]
      // A power of two: both sides are exact in float32.
      let h: Float = 0x1p-11
      values[index] = value + h
      let (above, high) = (Double(values[index]), try setting.run(step).loss)
      values[index] = value - h
      let (below, low) = (Double(values[index]), try setting.run(step).loss)
      values[index] = value
      let difference = (high - low) / (above - below)
      #expect(abs(difference - Double(gradient[index])) < 1e-5 * Double(largest), "parameter \(index)")
    }
  }
}
