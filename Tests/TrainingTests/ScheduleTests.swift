import Testing

@testable import Training

/// Learning rates and the moments at which things are done.
struct ScheduleTests {
  typealias Shape = LearningRateSchedule.Shape

  /// Rates after 0, 1, 4, 5, 12, 19 and 20 of 20 updates, 5 of them warm-up, from
  /// `transformers.get_scheduler(name, AdamW(lr=1), 5, 20)`.
  @Test(
    arguments: [
      (.constant, [1, 1, 1, 1, 1, 1, 1]), (.constantWithWarmup, [0, 0.2, 0.8, 1, 1, 1, 1]),
      (.linear, [0, 0.2, 0.8, 1, 0.5333333333333333, 0.06666666666666667, 0]),
      (.cosine, [0, 0.2, 0.8, 1, 0.5522642316338268, 0.010926199633097156, 0]),
    ] as [(Shape, [Double])])
  func followsTransformers(_ shape: Shape, _ rates: [Double]) {
    let schedule = LearningRateSchedule(shape, peak: 3e-4, warmupSteps: 5, totalSteps: 20)
    for (step, rate) in zip([0, 1, 4, 5, 12, 19, 20], rates) {
      #expect(abs(schedule.rate(after: step) - 3e-4 * rate) < 1e-15, "\(step)")
    }
  }

  /// Of 10 steps with 4 an epoch: those after which there is an evaluation, and a checkpoint.
  @Test(
    arguments: [
      (nil, nil, [4, 8, 10], []), (nil, 3, [3, 6, 9, 10], [3, 6, 9]), (.no, 3, [], []),
      (.steps, 5, [5, 10], [5]), (.epoch, 3, [4, 8, 10], [4, 8]),
    ] as [(IntervalStrategy?, Int?, [Int], [Int])])
  func knowsWhen(_ strategy: IntervalStrategy?, _ steps: Int?, _ evaluations: [Int], _ saves: [Int]) {
    var settings = TrainerSettings(outputFolder: "")
    (settings.evaluationStrategy, settings.saveStrategy) = (strategy, strategy)
    (settings.evaluationSteps, settings.saveSteps) = (steps, steps)
    #expect((1...10).filter { settings.isEvaluationDue(after: $0, of: 10, stepsPerEpoch: 4) } == evaluations)
    #expect((1...10).filter { settings.isSaveDue(after: $0, of: 10, stepsPerEpoch: 4) } == saves)
  }

  /// Without numbers of steps, evaluations come with the log and checkpoints every 500 steps, as in transformers.
  @Test func hasDefaultsForSteps() {
    var settings = TrainerSettings(outputFolder: "")
    (settings.evaluationStrategy, settings.saveStrategy, settings.loggingSteps) = (.steps, .steps, 25)
    #expect(settings.isEvaluationDue(after: 25, of: 1000, stepsPerEpoch: 7))
    #expect(!settings.isEvaluationDue(after: 26, of: 1000, stepsPerEpoch: 7))
    #expect((1...1000).filter { settings.isSaveDue(after: $0, of: 1000, stepsPerEpoch: 7) } == [500])
  }
}
