import Basics

/// A chat as a template takes it.
struct Conversation: Equatable {
  /// Objects with `role` and `content`.
  var messages: [JSON]
  /// The schemas of the functions the assistant may call.
  var tools: JSON?
  /// Whether each message is trained on.
  var isTrained: [Bool]

  /// Messages of which the assistant's are trained on, from message `first` on. A message with `"weight": 0` is not.
  init(messages: [JSON], tools: JSON? = nil, trainingFrom first: Int = 0) {
    self.messages = messages
    self.tools = tools
    isTrained = messages.enumerated().map { index, message in
      index >= first && message["role"]?.string == "assistant" && message["weight"]?.double != 0
    }
  }

  /// Puts a system message before a chat that has none.
  mutating func addSystemPrompt(_ prompt: String) {
    if let role = messages.first?["role"]?.string, role == "system" || role == "developer" { return }
    messages.insert(["role": "system", "content": .string(prompt)], at: 0)
    isTrained.insert(false, at: 0)
  }

  /// Whether a message that is trained on says something or calls a function.
  var hasResponse: Bool {
    zip(messages, isTrained).contains { message, trained in
      trained && ["content", "tool_calls", "reasoning_content"].contains { !(message[$0]?.isBlank ?? true) }
    }
  }
}

extension Conversation {
  /// Reads a column of `{"role", "content"}` objects, with the row's `tools` if it has any.
  init(messages column: String, of row: JSON.Object) throws(SwiftletError) {
    let messages = try Self.messages(try Self.list(try row.value(of: column), column), column)
    self.init(messages: messages, tools: try Self.tools(of: row))
  }

  /// Reads a column of `{"from", "value"}` objects. A row's column `system` becomes the first message.
  init(shareGPT column: String, of row: JSON.Object) throws(SwiftletError) {
    var messages: [JSON] = []
    if let system = row["system"]?.string, !system.isEmpty {
      messages.append(["role": "system", "content": .string(system)])
    }
    for (index, turn) in try Self.list(try row.value(of: column), column).enumerated() {
      messages.append(try Self.message(shareGPT: turn, "\(column)[\(index)]"))
    }
    self.init(messages: messages, tools: try Self.tools(of: row))
  }

  /// A prompt and its completion: texts become a user's and an assistant's message, lists of messages are joined.
  init(prompt: JSON, completion: JSON, system: String? = nil) throws(SwiftletError) {
    var messages: [JSON] = []
    if let system, !system.isEmpty { messages.append(["role": "system", "content": .string(system)]) }
    messages += try Self.messages(of: prompt, role: "user", "prompt")
    let first = messages.count
    messages += try Self.messages(of: completion, role: "assistant", "completion")
    self.init(messages: messages, trainingFrom: first)
  }

  private static func messages(
    of value: JSON, role: String, _ place: String
  ) throws(SwiftletError) -> [JSON] {
    switch value {
    case .array(let list): try messages(list, place)
    default: [["role": .string(role), "content": .string(value.plainText)]]
    }
  }

  /// Messages in the one form templates are written for: members that are null left out (tables fill absent ones
  /// with null), text parts joined, the arguments of calls as objects.
  private static func messages(_ list: [JSON], _ place: String) throws(SwiftletError) -> [JSON] {
    var messages: [JSON] = []
    for (index, message) in list.enumerated() {
      let place = "\(place)[\(index)]"
      try check(message, "role", place)
      var members = (message.object ?? [:]).filter { $0.key == "content" || !$0.value.isNull }
      if members["content"] == nil, members["tool_calls"] == nil {
        throw SwiftletError(.invalidData, "\(place): the message has no \"content\"")
      }
      if let parts = members["content"]?.array { members["content"] = .string(try join(parts, place)) }
      if let calls = members["tool_calls"]?.array {
        members["tool_calls"] = .array(calls.map(decodeArguments))
      }
      messages.append(.object(members))
    }
    return messages
  }

  private static func join(_ parts: [JSON], _ place: String) throws(SwiftletError) -> String {
    var text = ""
    for part in parts {
      guard let piece = part.string ?? part["text"]?.string else {
        throw SwiftletError(
          .unsupported, "\(place): a content part of type \"\(part["type"]?.string ?? "?")\" is no text")
      }
      text += piece
    }
    return text
  }

  /// A call whose arguments are JSON text, as chat APIs return them, with the arguments as an object.
  private static func decodeArguments(_ call: JSON) -> JSON {
    guard var object = call.object, var function = object["function"]?.object,
      let text = function["arguments"]?.string, let arguments = try? JSON(parsing: text),
      arguments.object != nil
    else { return call }
    function["arguments"] = arguments
    object["function"] = .object(function)
    return .object(object)
  }

  /// ShareGPT's speakers, and those of its dialects, as roles.
  private static let roles = [
    "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "model": "assistant",
    "chatgpt": "assistant", "bing": "assistant", "bard": "assistant", "system": "system",
    "tool": "tool", "observation": "tool", "function_response": "tool", "function_call": "assistant",
  ]

  private static func message(shareGPT turn: JSON, _ place: String) throws(SwiftletError) -> JSON {
    try check(turn, "from", place)
    let from = turn["from"]?.string ?? ""
    guard let role = roles[from] else {
      throw SwiftletError(
        .invalidData, "\(place): \"\(from)\" is no speaker known here",
        remedy: "Use human, gpt, system, tool, observation or function_call.")
    }
    var message: JSON.Object = ["role": .string(role)]
    if from == "function_call" {
      message["content"] = ""
      message["tool_calls"] = .array(try calls(turn["value"] ?? .null, place))
    } else {
      message["content"] = turn["value"] ?? .null
    }
    if let weight = turn["weight"] { message["weight"] = weight }
    return .object(message)
  }

  /// A `function_call` turn holds one `{"name", "arguments"}`, or a list of them, mostly as a string.
  private static func calls(_ value: JSON, _ place: String) throws(SwiftletError) -> [JSON] {
    let parsed = try parse(value, place)
    return try (parsed.array ?? [parsed]).map { call throws(SwiftletError) in
      try check(call, "name", "\(place).value")
      return decodeArguments(["type": "function", "function": call])
    }
  }

  /// The row's column `tools`: a list, or the JSON text of one.
  private static func tools(of row: JSON.Object) throws(SwiftletError) -> JSON? {
    guard let value = row["tools"], !value.isBlank else { return nil }
    let tools = try list(value, "tools")
    return tools.isEmpty ? nil : .array(tools)
  }

  /// A column that is a list, or, as in CSV files, the JSON text of one. Null and nothing are an empty list.
  static func list(_ value: JSON, _ column: String) throws(SwiftletError) -> [JSON] {
    if value.isBlank { return [] }
    guard let list = try parse(value, column).array else {
      throw SwiftletError(.invalidData, "\(column): expected a list of objects")
    }
    return list
  }

  private static func parse(_ value: JSON, _ place: String) throws(SwiftletError) -> JSON {
    guard case .string(let text) = value else { return value }
    do {
      return try JSON(parsing: text)
    } catch {
      throw SwiftletError(.invalidData, "\(place): \(error.message)")
    }
  }

  private static func check(_ message: JSON, _ key: String, _ place: String) throws(SwiftletError) {
    if message[key]?.string != nil { return }
    let keys = message.object.map { $0.keys.map { "\"\($0)\"" }.joined(separator: ", ") }
    throw SwiftletError(
      .invalidData,
      "\(place): expected an object with a string \"\(key)\", found \(keys.map { "keys \($0)" } ?? message.text())"
    )
  }
}

extension JSON {
  /// Null, "", [] or {}: nothing was said.
  var isBlank: Bool {
    switch self {
    case .null: true
    case .string(let text): text.isEmpty
    case .array(let values): values.isEmpty
    case .object(let object): object.isEmpty
    default: false
    }
  }
}
