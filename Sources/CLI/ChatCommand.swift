import ArgumentParser
import Foundation
import Swiftlet

struct ChatCommand: ReportingCommand {
  static let configuration = CommandConfiguration(
    commandName: "chat", abstract: "Talks with a model.",
    discussion: """
      An empty line or Ctrl-D ends the conversation, Ctrl-C an answer. A line that ends in \\ goes on in the next; \
      \""" begins and ends a text of many lines. /help lists what else can be said.
      """)

  @OptionGroup var model: ModelName
  @OptionGroup var place: PlaceArguments
  @Option(
    help: ArgumentHelp(
      "PEFT adapter folder; several may be given, to switch between by /adapter.", valueName: "[name=]folder")
  )
  var adapter: [AdapterSource] = []
  @OptionGroup var sampling: SamplingArguments
  @Option(help: "System message.") var system: String?
  var json: Bool { false }

  func execute() throws {
    let model = try LanguageModel(self.model.name, backend: place.device.open())
    let generator = try model.generator(place.dtype, adapters: adapter)
    var chat = Chat(
      model: model, generator: generator, options: sampling.options(for: model), system: system,
      adapter: generator.adapterNames.first)
    let reader = LineReader()
    if Terminal.output.isInteractive { note("/help lists what can be said; an empty line ends.") }
    while let text = reader.read(chat.prompt), !text.isEmpty {
      guard text.hasPrefix("/") else {
        try chat.answer(text)
        continue
      }
      if try chat.obey(text) == .quit { break }
    }
  }
}

extension AdapterSource: ExpressibleByArgument {
  /// `folder`, or `name=folder`.
  public init(argument: String) {
    let parts = argument.split(separator: "=", maxSplits: 1).map(String.init)
    self.init(
      name: parts.count == 2 ? parts[0] : URL(filePath: argument).lastPathComponent,
      folder: parts.last ?? argument)
  }
}

/// A conversation in a terminal.
private struct Chat {
  let model: LanguageModel
  let generator: Generator
  let options: GenerationOptions
  var history: ChatHistory
  var adapter: String?

  enum Next { case goOn, quit }

  init(
    model: LanguageModel, generator: Generator, options: GenerationOptions, system: String?, adapter: String?
  ) {
    self.model = model
    self.generator = generator
    self.options = options
    self.adapter = adapter
    history = ChatHistory(system: system)
  }

  var prompt: String { adapter.map { "\($0)> " } ?? "> " }

  // MARK: Answers

  mutating func answer(_ text: String) throws {
    history.ask(text)
    let wanted = min(options.maxNewTokens, generator.contextLength / 4)
    guard let prompt = try history.prompt(model.text, upTo: generator.contextLength, leaving: wanted) else {
      return
    }
    let generation = try generator.generate(GenerationRequest(prompt, options, adapter: adapter))
    let interrupt = Interrupt()
    defer { interrupt.end() }
    var answer = ""
    while !interrupt.came, let token = try generation.next() {
      answer += token.text
      print(token.text, terminator: "")
      fflush(nil)
    }
    print()
    history.answer(answer)
    tell(generation, wasInterrupted: interrupt.came)
  }

  private func tell(_ generation: Generation, wasInterrupted: Bool) {
    switch generation.finishReason {
    case .contextLength: note("(The model's context is full; the answer is cut.)")
    case .maxNewTokens: note("(Cut after \(options.maxNewTokens) tokens: --max-new-tokens allows more.)")
    default: if wasInterrupted { note("(Interrupted.)") }
    }
    let statistics = generation.statistics
    guard Terminal.output.isInteractive, let speed = statistics.decodeTokensPerSecond else { return }
    let first = String(format: "%.2f", statistics.prefillSeconds)
    note(
      Terminal.progress.styled(
        "\(counted(statistics.newTokens, "token")), \(String(format: "%.1f", speed)) a second, first after \(first) s",
        .dim))
  }

  // MARK: Commands

  private static let help = """
    /system TEXT     sets the system message, or removes it without a text; the conversation starts anew
    /reset           forgets the conversation
    /adapter         lists the adapters
    /adapter NAME    answers by this adapter from now on; "none" for the model alone
    /adapter FOLDER  loads another
    /help            this list
    /quit            ends; so do an empty line and Ctrl-D
    """

  mutating func obey(_ line: String) throws -> Next {
    let parts = line.split(separator: " ", maxSplits: 1).map(String.init)
    let rest = parts.count == 2 ? parts[1].trimmingCharacters(in: .whitespaces) : nil
    switch parts[0] {
    case "/system":
      history = ChatHistory(system: rest)
      note(rest == nil ? "(No system message; a new conversation.)" : "(A new conversation.)")
    case "/reset":
      history = ChatHistory(system: history.systemText)
      note("(A new conversation.)")
    case "/adapter": useAdapter(rest)
    case "/help": print(Self.help)
    case "/quit", "/exit", "/bye": return .quit
    default:
      note("\(parts[0]) is no command; /help lists them. A space before the slash says it to the model.")
    }
    return .goOn
  }

  private mutating func useAdapter(_ name: String?) {
    guard let name else {
      let names = ["none"] + generator.adapterNames
      return print(names.map { ($0 == adapter ?? "none" ? "* " : "  ") + $0 }.joined(separator: "\n"))
    }
    guard name != "none" else { return adapter = nil }
    if !generator.adapterNames.contains(name) {
      let given = AdapterSource(argument: name)
      do { try generator.loadAdapter(given.folder, name: given.name) } catch {
        return note("\(error.message)\(error.remedy.map { " " + $0 } ?? "")")
      }
      return adapter = given.name
    }
    adapter = name
  }
}

/// A conversation that may grow longer than what the model sees of it.
private struct ChatHistory {
  let systemText: String?
  /// The user's and the model's, in turns.
  private var messages: [JSON] = []

  private var system: [JSON] {
    systemText.map { [["role": "system", "content": .string($0)]] } ?? []
  }

  init(system: String?) { systemText = system }

  mutating func ask(_ text: String) { messages.append(["role": "user", "content": .string(text)]) }

  mutating func answer(_ text: String) { messages.append(["role": "assistant", "content": .string(text)]) }

  /// The conversation as the model takes it. Its oldest turns are forgotten until `answer` more tokens fit beside it.
  ///
  /// - Returns: nil when the last message does not fit even alone. It is taken back, so that another may be tried.
  mutating func prompt(
    _ text: LanguageModelText, upTo limit: Int, leaving answer: Int
  ) throws(SwiftletError) -> [Int32]? {
    var kept = messages
    var tokens = try text.chatTokens(system + kept)
    while tokens.count + answer > limit, kept.count > 1 {
      kept.removeFirst(2)
      tokens = try text.chatTokens(system + kept)
    }
    guard tokens.count <= limit else {
      messages.removeLast()
      note(
        "(The message takes \(tokens.count) tokens, the model sees \(limit) at most: say it in fewer words.)")
      return nil
    }
    let forgotten = (messages.count - kept.count) / 2
    if forgotten > 0 {
      let turns = forgotten == 1 ? "turn is" : "\(forgotten) turns are"
      note("(The model sees \(limit) tokens at most: the oldest \(turns) forgotten.)")
    }
    messages = kept
    return tokens
  }
}
