import Foundation
import Swiftlet
import Synchronization

/// OpenAI's interface to one model and its adapters, without the network: requests and answers are JSON.
final class ModelService: Sendable {
  private let engine: any ServingEngine
  private let text: LanguageModelText
  private let vocabulary: TokenVocabulary
  private let name: String
  private let settings: ServerSettings
  private let started = Int(Date().timeIntervalSince1970)
  let metrics = ServerMetrics()
  /// Answers asked for and not ended.
  private let open = Mutex(0)

  init(_ engine: any ServingEngine, _ model: ServedModel, _ settings: ServerSettings) {
    self.engine = engine
    self.settings = settings
    (name, text) = (model.name, model.text)
    vocabulary = TokenVocabulary(model.text.tokenizer, size: engine.vocabularySize)
  }

  /// Tokens on their way, and how they are to be told.
  struct Pending: Sendable {
    let tokens: AnswerStream
    let format: any AnswerFormat
    let streams: Bool
  }

  // MARK: Answers

  func chat(_ body: JSON) throws(APIError) -> Pending {
    let request = try ChatRequest(body, stopTokens: text.stopTokens)
    let adapter = try adapter(request.common.model)
    let prompt = try tokens(request)
    let generation = try generation(
      prompt, request.common, adapter, request.format, maxTokens: request.common.maxTokens,
      topLogProbabilities: request.topLogProbabilities, param: "messages")
    let answer = ChatAnswer(
      request, header: header("chatcmpl-", adapter), promptTokens: prompt.count, tokenizer: text.tokenizer)
    return Pending(
      tokens: try start(repeating(generation, request.common.count)), format: answer,
      streams: request.common.streams)
  }

  func complete(_ body: JSON) throws(APIError) -> Pending {
    let request = try CompletionRequest(body, stopTokens: text.stopTokens)
    let adapter = try adapter(request.common.model)
    let prompts = request.prompts.map { prompt in
      switch prompt {
      case .text(let prompt): text.tokenizer.encode(prompt, addSpecialTokens: true)
      case .tokens(let tokens): tokens
      }
    }
    var generations: [GenerationRequest] = []
    for prompt in prompts {
      let generation = try generation(
        prompt, request.common, adapter, request.format, maxTokens: request.maxTokens,
        topLogProbabilities: request.topLogProbabilities, param: "prompt")
      generations += repeating(generation, request.common.count)
    }
    let echoes = request.prompts.map { prompt in
      switch prompt {
      case _ where !request.echoes: ""
      case .text(let prompt): prompt
      case .tokens(let tokens): text.tokenizer.decode(tokens)
      }
    }
    let answer = CompletionAnswer(
      request, header: header("cmpl-", adapter), promptTokens: prompts.map(\.count).reduce(0, +),
      prompts: echoes, tokenizer: text.tokenizer)
    return Pending(tokens: try start(generations), format: answer, streams: request.common.streams)
  }

  private func tokens(_ request: ChatRequest) throws(APIError) -> [Int32] {
    guard let template = text.chatTemplate else {
      throw .invalid("The model has no chat template. Use /v1/completions.", param: "messages")
    }
    var variables = text.templateVariables
    variables.merge(request.templateVariables)
    do {
      return text.tokenizer.encode(
        try template.render(
          messages: request.messages, addGenerationPrompt: true, tools: request.tools, variables: variables))
    } catch { throw APIError(error, param: "messages") }
  }

  private func generation(
    _ prompt: [Int32], _ common: CommonFields, _ adapter: String?, _ format: ResponseFormat, maxTokens: Int?,
    topLogProbabilities: Int?, param: String
  ) throws(APIError) -> GenerationRequest {
    guard !prompt.isEmpty else { throw .invalid("The prompt is empty.", param: param) }
    let limit = engine.contextLength
    guard prompt.count <= limit else { throw .contextLength(limit, prompt: prompt.count, param: param) }
    if let stranger = prompt.first(where: { !(0..<Int32(vocabulary.size)).contains($0) }) {
      throw .invalid("The prompt holds \(stranger), which is none of the model's tokens.", param: param)
    }
    if let stranger = common.options.sampling.logitBias.keys.first(where: { $0 >= vocabulary.size }) {
      throw .invalid("'logit_bias' has the key '\(stranger)', which is none of the model's tokens.", param: "logit_bias")
    }
    var options = common.options
    // The last token need not fit: nothing comes after it.
    options.maxNewTokens = min(maxTokens ?? .max, limit + 1 - prompt.count)
    return GenerationRequest(
      prompt, options, adapter: adapter, constraint: try format.constraint(vocabulary),
      topLogProbabilities: topLogProbabilities ?? 0)
  }

  /// Answers to the same prompt, each with a seed of its own.
  private func repeating(_ request: GenerationRequest, _ count: Int) -> [GenerationRequest] {
    (0..<count).map { index in
      var request = request
      request.options.sampling.seed &+= UInt64(index)
      return request
    }
  }

  private func start(_ requests: [GenerationRequest]) throws(APIError) -> AnswerStream {
    let count = requests.count
    let fits = open.withLock { open in
      guard open + count <= settings.maxOpenAnswers else { return false }
      open += count
      return true
    }
    guard fits else { throw .overloaded }
    do {
      let answers = try requests.map { request throws(SwiftletError) in try engine.generate(request) }
      return AnswerStream(answers, limit: settings.requestTimeout, metrics: metrics) { [self] in
        open.withLock { $0 -= count }
      }
    } catch {
      open.withLock { $0 -= count }
      throw APIError(error)
    }
  }

  private func header(_ prefix: String, _ adapter: String?) -> AnswerHeader {
    AnswerHeader(
      id: randomID(prefix), created: Int(Date().timeIntervalSince1970), model: adapter ?? name)
  }

  // MARK: Models

  /// - Returns: the adapter that `model` names; nil for the model itself.
  private func adapter(_ model: String?) throws(APIError) -> String? {
    guard let model, model != name else { return nil }
    let adapters = engine.adapterNames
    guard adapters.contains(model) else { throw .modelNotFound(model, among: [name] + adapters) }
    return model
  }

  var models: JSON {
    let all = [modelObject(name, parent: nil)] + engine.adapterNames.map { modelObject($0, parent: name) }
    return ["object": "list", "data": .array(all)]
  }

  func model(_ id: String) throws(APIError) -> JSON {
    modelObject(id, parent: try adapter(id).map { _ in name })
  }

  private func modelObject(_ id: String, parent: String?) -> JSON {
    [
      "id": .string(id), "object": "model", "created": .int(started), "owned_by": "swiftlet",
      "root": .string(parent ?? id), "parent": parent.map { .string($0) } ?? nil,
      "max_model_len": .int(engine.contextLength),
    ]
  }

  /// Loads a PEFT folder of this machine under a name, as vLLM's `/v1/load_lora_adapter` does.
  func loadAdapter(_ body: JSON) async throws(APIError) -> String {
    let fields = try RequestFields(body: body)
    let adapter = try adapterName(fields)
    guard let folder = try fields.string("lora_path"), !folder.isEmpty else {
      throw .invalid("'lora_path' is missing.", param: "lora_path")
    }
    guard adapter != name, !engine.adapterNames.contains(adapter) else {
      throw .invalid("There is a model '\(adapter)' already.", param: "lora_name", code: "already_loaded")
    }
    do { try await engine.loadAdapter(folder, name: adapter) } catch {
      // What is wrong with the folder is wrong with the request.
      throw .invalid("\(error)", param: "lora_path")
    }
    return "Success: LoRA adapter '\(adapter)' added successfully."
  }

  func unloadAdapter(_ body: JSON) async throws(APIError) -> String {
    let adapter = try adapterName(try RequestFields(body: body))
    let adapters = engine.adapterNames
    guard adapters.contains(adapter) else { throw .modelNotFound(adapter, among: adapters) }
    do { try await engine.unloadAdapter(adapter) } catch {
      // Answers that use it go on.
      throw .invalid("\(error)", param: "lora_name")
    }
    return "Success: LoRA adapter '\(adapter)' removed successfully."
  }

  private func adapterName(_ fields: RequestFields) throws(APIError) -> String {
    guard let adapter = try fields.string("lora_name"), !adapter.isEmpty else {
      throw .invalid("'lora_name' is missing.", param: "lora_name")
    }
    return adapter
  }

  // MARK: State

  var metricsText: String { metrics.text(engine.statistics) }

  func shutdown() async { await engine.shutdown(within: .zero) }
}
