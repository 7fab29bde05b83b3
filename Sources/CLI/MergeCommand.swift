import ArgumentParser
import Swiftlet

struct MergeCommand: ReportingCommand {
  static let configuration = CommandConfiguration(
    commandName: "merge",
    abstract:
      "Writes a model with an adapter merged in: a folder for transformers and vLLM, read back before it counts."
  )

  @OptionGroup var source: ExportArguments
  @Option(help: "Folder to write.", completion: .directory) var output: String
  @Option(help: "Type of the weights.") var dtype = CheckpointPrecision.bfloat16
  @Option(help: "Bytes of one file: 5GB, 500MB.") var maxShardSize = ByteSize(5_000_000_000)

  var json: Bool { source.json }

  func execute() throws {
    let model = try source.open()
    _ = try source.export(model, to: output, as: .safetensors(dtype), maximumShard: maxShardSize)
  }
}

extension CheckpointPrecision: ExpressibleByArgument {}
