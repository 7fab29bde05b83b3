import ArgumentParser
import Foundation
import Swiftlet

struct ExportCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "export",
    abstract: "Writes a model, with or without an adapter, in another program's format.",
    subcommands: [ExportGGUFCommand.self, ExportBitsAndBytesCommand.self])
}

struct ExportGGUFCommand: ReportingCommand {
  static let configuration = CommandConfiguration(
    commandName: "gguf", abstract: "A GGUF file for llama.cpp and Ollama, read back before it counts.")

  @OptionGroup var source: ExportArguments
  @Option(help: "File to write.", completion: .file()) var output: String
  @Option(help: "What the matrices are stored as.") var type: GGUFType?
  @Flag(help: "Only the adapter, to be loaded beside the base model.") var loraOnly = false
  @Flag(help: "Write an Ollama Modelfile beside it.") var modelfile = false

  var json: Bool { source.json }

  func validate() throws {
    if loraOnly, source.adapter == nil { throw ValidationError("--lora-only needs an --adapter.") }
    if loraOnly, source.baseWeights != .original {
      throw ValidationError("--lora-only writes nothing of the base: --base-weights has no meaning.")
    }
  }

  func execute() throws {
    let model = try source.open()
    if loraOnly {
      let bytes = try model.exportAdapter(to: output, as: type ?? .f16, replacing: source.force)
      print(
        json
          ? JSON.object(["path": .string(output), "bytes": .int(bytes)]).text()
          : "\(output)  \(bytes.megabytes)")
    } else {
      _ = try source.export(
        model, to: output, as: .gguf(type ?? .q8_0), maximumShard: ByteSize(.max))
    }
    if modelfile {
      let path = try model.writeModelfile(for: output, adapterOnly: loraOnly)
      note("\(path): ollama create NAME -f \(path)")
    }
  }
}

struct ExportBitsAndBytesCommand: ReportingCommand {
  static let configuration = CommandConfiguration(
    commandName: "bnb",
    abstract: "A folder in bitsandbytes' NF4 for transformers and vLLM, read back before it counts.")

  @OptionGroup var source: ExportArguments
  @Option(help: "Folder to write.", completion: .directory) var output: String
  @Option(help: "Bytes of one file: 5GB, 500MB.") var maxShardSize = ByteSize(5_000_000_000)

  var json: Bool { source.json }

  func execute() throws {
    _ = try source.export(source.open(), to: output, as: .bitsAndBytes, maximumShard: maxShardSize)
  }
}

extension GGUFType: ExpressibleByArgument {
  public init?(argument: String) {
    guard let type = Self.allCases.first(where: { $0.rawValue.uppercased() == argument.uppercased() }) else {
      return nil
    }
    self = type
  }
}
