import ArgumentParser
import Foundation
import Swiftlet

struct BenchCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bench", abstract: "Measures this machine.",
    subcommands: [BenchTrain.self, BenchGenerate.self, BenchOps.self])
}

/// The measure that the peers' scripts take: LoRA on every linear layer, random tokens, every position a label.
struct BenchTrain: ReportingCommand {
  static let configuration = CommandConfiguration(
    commandName: "train", abstract: "Times training steps on random tokens; prints one JSON object.")

  @OptionGroup var model: ModelName
  @Option(help: "Tokens of a sequence.") var maxSeqLength: Count = 512
  @Option(help: "Sequences of a step.") var batchSize: Count = 4
  @Option(help: "Steps; the first is not counted in the median.") var steps: Count = 6
  @Option(help: "Rank of the adapters.") var r: Count = 16
  @Option(help: "Type of the products.") var dtype = TrainingConfiguration.Precision.auto
  @Option(help: "Where to compute: auto, cpu, cuda or cuda:N.") var device = DeviceChoice.auto
  @Option(help: "What frozen weights are held as: file, float32, bfloat16, nf4 or int8.")
  var weights = BaseWeights.file
  @Option(help: "Micro-batches of a step.") var gradientAccumulation: Count = 1
  @Option(help: "Optimiser: adamw_torch or adamw_8bit.") var optim = Optimizer.Kind.adamW
  @Option(
    help:
      "What layers keep for backward: keep, elementwise, narrow, full or sliced; the default follows from the memory."
  )
  var checkpointing: Checkpointing?
  @Option(
    help: "Whether that waits in the host's memory: true or false; the default follows from the memory.")
  var offload: Bool?
  @Option(help: "Memory for everything, in MB; the default is what is free.") var memoryBudget: Int?
  @Flag(help: "Add how long each operation takes, in a step.") var profile = false
  var json: Bool { true }

  func execute() throws {
    let folder = FileManager.default.temporaryDirectory.path + "/swiftlet-bench-\(getpid())"
    defer { try? FileManager.default.removeItem(atPath: folder) }
    var settings = TrainerSettings(outputFolder: folder)
    settings.checkpointing = checkpointing
    settings.offloadsActivations = offload
    settings.memoryBudget = memoryBudget.map { $0 << 20 }
    let model = try LanguageModel(
      model.name, weights: weights, streamsHead: settings.loadsHeadOnHost, backend: device.open())
    var lora = LoRAConfiguration()
    (lora.r, lora.alpha) = (r.value, Double(r.value))
    try model.addLoRA(lora)
    try model.use(dtype)
    guard let parameters = model.parameters else { return }
    settings.compute = dtype.dtype(on: model.backend)
    settings.gradientAccumulation = gradientAccumulation.value
    settings.optimizer.kind = optim
    settings.schedule = .constant
    settings.maximumSteps = steps.value
    let plan = BatchPlan(
      .random(
        sequences: batchSize.value * gradientAccumulation.value * steps.value, length: maxSeqLength.value,
        vocabulary: 10..<Int32(min(49_000, model.tokenizer.vocabularySize))),
      batchSize: batchSize.value, rowLength: maxSeqLength.value, isPacked: false, order: .fixed,
      paddingID: model.text.paddingID)
    let trainer = try Trainer(
      model.decoder, training: parameters, on: plan, settings, backend: model.backend, saveModel: { _ in })
    let timer = StepTimer()
    if profile { trainer.timer = timer }
    var seconds: [Double] = []
    var firstStep = 0.0
    let report = try trainer.run(report: { event in
      guard case .step(let step) = event else { return }
      if step.step == 1 {
        firstStep = ProcessInfo.processInfo.secondsSinceStart
        if steps.value > 1 { timer.clear() }
      }
      seconds.append(step.seconds)
    })
    let timed = seconds.count > 1 ? Array(seconds.dropFirst()) : seconds
    let median = timed.sorted()[timed.count / 2]
    let operations = timer.report.map { entry -> JSON in
      [
        "operation": .string(entry.operation), "ms": .double(1000 * entry.seconds / Double(timed.count)),
        "calls": .int(entry.calls / timed.count),
      ]
    }
    print(
      JSON.object([
        "device": .string(model.backend.name), "model": .string(URL(filePath: model.path).lastPathComponent),
        "dtype": .string(dtype == .fp8 ? dtype.rawValue : "\(settings.compute)"),
        "seq": .int(maxSeqLength.value), "bs": .int(batchSize.value),
        "ga": .int(gradientAccumulation.value), "r": .int(r.value),
        "step_s": .double(median),
        "tok_s": .double(Double(batchSize.value * gradientAccumulation.value * maxSeqLength.value) / median),
        "first_step_s": .double(seconds[0]),
        "first_from_start_s": .double(firstStep), "planned_mb": .int(report.memory.total >> 20),
        "layers": .string(trainer.outline.policies.summary), "host_mb": .int(report.memory.host >> 20),
        "rss_mb": .int(report.peakResident >> 20),
        "device_mb": report.peakDevice.map { .int($0 >> 20) } ?? nil, "loss": .double(report.loss),
        "operations": profile ? .array(operations) : nil,
      ]).text(.spaced))
  }
}

extension BaseWeights: ExpressibleByArgument {}
extension Optimizer.Kind: ExpressibleByArgument {}
extension Checkpointing: ExpressibleByArgument {}

extension TokenizedDataset {
  /// Sequences of one length whose tokens are drawn at random, all of them trained.
  fileprivate static func random(sequences: Int, length: Int, vocabulary: Range<Int32>) -> TokenizedDataset {
    var generator = SystemRandomNumberGenerator()
    return TokenizedDataset(
      sequences: (0..<sequences).map { _ in
        (0..<length).map { _ in Int32.random(in: vocabulary, using: &generator) }
      })
  }
}

extension ProcessInfo {
  /// Seconds since the system started this process; 0 where it does not say.
  fileprivate var secondsSinceStart: Double {
    guard let stat = try? String(contentsOfFile: "/proc/self/stat", encoding: .utf8),
      let uptime = try? String(contentsOfFile: "/proc/uptime", encoding: .utf8).split(separator: " ").first,
      let now = Double(uptime)
    else { return 0 }
    // Fields 3 and on follow the program's name in parentheses; field 22 is the start in ticks after boot (proc(5)).
    let fields = stat[(stat.lastIndex(of: ")") ?? stat.startIndex)...].split(separator: " ")
    return (Double(fields[20]) ?? 0) > 0
      ? now - (Double(fields[20]) ?? 0) / Double(sysconf(Int32(_SC_CLK_TCK))) : 0
  }
}
