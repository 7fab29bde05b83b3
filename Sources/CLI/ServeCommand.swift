#if Server
  import ArgumentParser
  import Foundation
  import Server
  import Swiftlet
  import Synchronization

  struct ServeCommand: ReportingCommand {
    static let configuration = CommandConfiguration(
      commandName: "serve", abstract: "Serves a model to OpenAI's clients, and a page to chat with it.",
      discussion: "Options are called as vLLM calls them, where it has them.")

    @OptionGroup var model: ModelName
    @OptionGroup var place: PlaceArguments
    @OptionGroup var limits: ServeLimits
    @OptionGroup var access: ServeAccess
    @Option(
      help: ArgumentHelp(
        "PEFT adapter folder, served beside the model under its name; several may be given.",
        valueName: "[name=]folder")) var adapter: [AdapterSource] = []
    @Option(help: "What clients call the model; by default as --model does.") var servedModelName: String?
    @Option(help: "Chat template to use instead of the model's own: a file, or the template itself.")
    var chatTemplate: String?
    var json: Bool { false }

    func execute() throws {
      let settings = try settings()
      let name = servedModelName ?? model.name
      var names: Set<String> = [name]
      for source in adapter where !names.insert(source.name).inserted {
        throw SwiftletError(
          .invalidConfiguration, "two models are called '\(source.name)'",
          remedy: "Name adapters: --adapter NAME=FOLDER.")
      }
      var text = try LanguageModelText(model.name)
      if let chatTemplate { try text.useChatTemplate(chatTemplate) }
      let engine = try LanguageModel.engine(
        model.name, device: place.device, precision: place.dtype, adapters: adapter,
        settings: limits.generatorSettings)
      let server = APIServer(engine, ServedModel(name: name, text: text), settings)
      let banner = Banner(
        name: name, adapters: adapter.map(\.name), engine: engine, settings: settings,
        canChat: text.chatTemplate != nil)
      try waitFor { try await server.run { port in banner.show(port: port) } }
    }

    private func settings() throws -> ServerSettings {
      var settings = ServerSettings()
      (settings.host, settings.port) = (access.host, access.port)
      settings.apiKeys = try access.keys()
      settings.allowedOrigins = access.allowedOrigins
      settings.allowsAdapterUpdates = access.allowRuntimeLoraUpdating
      settings.maxOpenAnswers = limits.maxWaiting + limits.maxNumSeqs.value
      settings.maxBodyBytes = limits.maxBodySize.bytes
      settings.requestTimeout = .seconds(limits.requestTimeout)
      settings.shutdownTimeout = .seconds(limits.shutdownTimeout)
      if !settings.isLoopback, settings.apiKeys.isEmpty {
        note("warning: whoever reaches \(settings.host) can use this server; --api-key would keep them out.")
      }
      return settings
    }
  }

  /// Who may use the server.
  struct ServeAccess: ParsableArguments {
    @Option(help: "Name or address to listen at; 0.0.0.0 for every machine that can reach this one.")
    var host = "127.0.0.1"
    @Option(help: "Port to listen at; 0 takes any.") var port = 8000
    @Option(help: "Key that clients must send; several may be given.") var apiKey: [String] = []
    @Option(help: ArgumentHelp("File with a key a line.", valueName: "file")) var apiKeyFile: String?
    @Option(
      parsing: .upToNextOption,
      help: ArgumentHelp("Origins whose pages may use the server; * for all.", valueName: "origin"))
    var allowedOrigins: [String] = []
    @Flag(help: "Let clients load adapters from this machine's folders, and unload them.")
    var allowRuntimeLoraUpdating = false

    func validate() throws {
      guard (0...65535).contains(port) else { throw ValidationError("--port is from 0 to 65535.") }
    }

    func keys() throws(SwiftletError) -> [String] {
      var keys = apiKey
      if let apiKeyFile {
        guard let text = try? String(contentsOfFile: apiKeyFile, encoding: .utf8) else {
          throw .unreadable(apiKeyFile)
        }
        keys += text.split(whereSeparator: \.isNewline).map { $0.trimmingCharacters(in: .whitespaces) }
          .filter { !$0.isEmpty }
        guard keys.count > apiKey.count else {
          throw SwiftletError(.invalidConfiguration, "\(apiKeyFile) holds no key")
        }
      }
      guard !keys.contains("") else { throw SwiftletError(.invalidConfiguration, "an API key is empty") }
      return keys
    }
  }

  /// How much the server takes on.
  struct ServeLimits: ParsableArguments {
    @Option(help: "Most tokens of a prompt and its answer; by default what the model was made for.")
    var maxModelLen: Count?
    @Option(help: "Answers generated at once; others wait.") var maxNumSeqs: Count = 64
    @Option(help: "Answers that may wait; more are sent away.") var maxWaiting = 1024
    @Option(help: "Memory for keys and values, such as 512M or 4G; by default most of what is free.")
    var kvCacheMemory: ByteCount?
    @Option(help: "Largest body of a request.") var maxBodySize = ByteCount(bytes: 8 << 20)
    @Option(help: "Seconds that an answer may take.") var requestTimeout = 600
    @Option(help: "Seconds that running answers have to finish when the server is told to stop.")
    var shutdownTimeout = 30

    func validate() throws {
      guard maxWaiting >= 0, requestTimeout > 0, shutdownTimeout >= 0 else {
        throw ValidationError("Limits are not negative, and time must be left to answer.")
      }
    }

    var generatorSettings: GeneratorSettings {
      GeneratorSettings(
        contextLength: maxModelLen?.value, maxSequences: maxNumSeqs.value, cacheBytes: kvCacheMemory?.bytes)
    }
  }

  /// An amount of memory: a number of bytes, or of K, M or G of 1,024 times as many as the one before.
  struct ByteCount: ExpressibleByArgument {
    let bytes: Int

    init(bytes: Int) { self.bytes = bytes }

    init?(argument: String) {
      let text = argument.uppercased()
      let digits = text.prefix { $0.isNumber || $0 == "." }
      let shifts = ["": 0, "B": 0, "K": 10, "M": 20, "G": 30, "KIB": 10, "MIB": 20, "GIB": 30]
      guard let number = Double(digits), let shift = shifts[String(text.dropFirst(digits.count))],
        let bytes = Int(exactly: (number * Double(1 << shift)).rounded()), bytes > 0
      else { return nil }
      self.bytes = bytes
    }

    var defaultValueDescription: String { "\(bytes >> 20)M" }
  }

  /// What there is to know when the server listens.
  private struct Banner {
    let name: String
    let adapters: [String]
    let engine: Engine
    let settings: ServerSettings
    let canChat: Bool

    func show(port: Int) {
      let host =
        settings.host.contains(":") && !settings.host.hasPrefix("[") ? "[\(settings.host)]" : settings.host
      let url = "http://\(["0.0.0.0", "[::]"].contains(host) ? "localhost" : host):\(port)"
      let load = engine.statistics.load
      note("Serving \(name) at \(url)")
      if !adapters.isEmpty { note("  adapters   \(adapters.joined(separator: ", "))") }
      note("  context    \(engine.contextLength) tokens")
      note(
        "  KV memory  up to \((load.pages * load.bytesPerPage) >> 20) MB: \(load.pages) pages of \(load.pageSize) tokens"
      )
      if canChat { note("  chat page  \(url)/") }
      let key = settings.apiKeys.isEmpty ? "" : " -H 'Authorization: Bearer KEY'"
      let prompt: JSON =
        canChat ? ["messages": [["role": "user", "content": "Hello"]]] : ["prompt": "Once upon a time"]
      let path = canChat ? "chat/completions" : "completions"
      note(
        "  try        curl \(url)/v1/\(path)\(key) -H 'Content-Type: application/json' -d '\(prompt.text())'")
      note("Ctrl-C stops it.")
    }
  }

  /// Does asynchronous work from a thread that has nothing else to do.
  private func waitFor(_ work: @escaping @Sendable () async throws -> Void) throws {
    let outcome = Outcome()
    Task {
      do { try await work() } catch { outcome.error.withLock { $0 = error } }
      outcome.isThere.signal()
    }
    outcome.isThere.wait()
    if let error = outcome.error.withLock({ $0 }) { throw error }
  }

  private final class Outcome: Sendable {
    let error = Mutex<(any Error)?>(nil)
    let isThere = DispatchSemaphore(value: 0)
  }
#endif
