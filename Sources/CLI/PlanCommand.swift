import ArgumentParser
import Swiftlet

struct PlanCommand: ReportingCommand {
  static let configuration = CommandConfiguration(
    commandName: "plan", abstract: "Says how much memory a run will take, by part, without running it.")

  @OptionGroup var arguments: ConfigurationArguments
  @Flag(help: "Print one JSON object.") var json = false

  func execute() throws {
    var configuration = try arguments.load()
    // A plan changes nothing in the output folder, whatever is there.
    configuration.resume = .no
    configuration.overwritesOutputFolder = true
    let model = try LanguageModel(
      configuration.model, weights: configuration.baseWeights, streamsHead: configuration.streamsHead,
      backend: configuration.device.open())
    let outline = try SFTTrainer(configuration, model: model).outline
    if json {
      var object = outline.memory.json.object ?? [:]
      object["predicted_resident"] = .int(outline.predictedResident)
      object["layers"] = .object(
        JSON.Object(uniqueKeysWithValues: outline.policies.counted.map { ($0.key, .int($1)) }))
      print(JSON.object(object).text())
      return
    }
    let total = outline.memory.total
    for (name, bytes) in outline.memory.parts {
      let share = total > 0 ? 40 * bytes / total : 0
      print(
        "\(pad(name, 14))\(pad(bytes.megabytes, 10, left: true))  \(String(repeating: "#", count: share))")
    }
    print("\(pad("total", 14))\(pad(total.megabytes, 10, left: true))")
    print(
      "\(pad("process", 14))\(pad(outline.predictedResident.megabytes, 10, left: true))  at its peak, program and data included"
    )
    if outline.memory.host > 0 {
      print(
        "\(pad("host", 14))\(pad(outline.memory.host.megabytes, 10, left: true))  of the host's memory, locked"
      )
    }
    print("layers        \(outline.policies.summary)")
  }

  private func pad(_ text: String, _ width: Int, left: Bool = false) -> String {
    let space = String(repeating: " ", count: max(0, width - text.count))
    return left ? space + text : text + space
  }
}

extension LayerPolicy {
  fileprivate var key: String { checkpointing.rawValue + (isOffloaded ? "_offloaded" : "") }
}
