import Swiftlet

/// OpenAI's messages as chat templates want them.
enum ChatMessages {
  private enum Role: String, CaseIterable {
    case system, developer, user, assistant, tool
  }

  static func templateMessages(_ fields: RequestFields) throws(APIError) -> JSON {
    guard let messages = try fields.array("messages"), !messages.isEmpty else {
      throw .invalid("'messages' must hold at least one message.", param: "messages")
    }
    var converted: [JSON] = []
    for (index, message) in messages.enumerated() {
      let path = "messages[\(index)]"
      guard let members = message.object else { throw .invalid("'\(path)' is no object.", param: path) }
      converted.append(try convert(RequestFields(members, path: path + ".")))
    }
    return .array(converted)
  }

  private static func convert(_ message: RequestFields) throws(APIError) -> JSON {
    guard let role = try message.choice("role", of: Role.self) else {
      throw .invalid("'\(message.name("role"))' is missing.", param: message.name("role"))
    }
    var members = message.members
    // Templates know no developers.
    members["role"] = .string((role == .developer ? .system : role).rawValue)
    let calls = try message.array("tool_calls")
    guard message["content"] != nil || role == .assistant && calls != nil else {
      throw .invalid("'\(message.name("content"))' is missing.", param: message.name("content"))
    }
    members["content"] = .string(try content(message))
    if let calls {
      members["tool_calls"] = .array(try calls.map { call throws(APIError) in try decodingArguments(call, message) })
    }
    return .object(members)
  }

  /// A string, or the texts of an array of parts, one after another.
  private static func content(_ message: RequestFields) throws(APIError) -> String {
    guard let value = message["content"] else { return "" }
    if let text = value.string { return text }
    let name = message.name("content")
    guard let parts = value.array else {
      throw .invalid("'\(name)' must be a string or an array of parts.", param: name)
    }
    return try parts.enumerated().map { index, part throws(APIError) in
      guard part["type"]?.string == "text", let text = part["text"]?.string else {
        throw .invalid(
          "'\(name)[\(index)]' is no text; this model reads text only.", param: "\(name)[\(index)]")
      }
      return text
    }.joined()
  }

  /// Clients write a call's arguments as JSON in a string; templates print them from an object.
  private static func decodingArguments(_ call: JSON, _ message: RequestFields) throws(APIError) -> JSON {
    let name = message.name("tool_calls")
    guard var members = call.object, var function = members["function"]?.object,
      function["name"]?.string != nil
    else { throw .invalid("'\(name)' holds a call without a function's name.", param: name) }
    if let text = function["arguments"]?.string {
      do { function["arguments"] = text.isEmpty ? [:] : try JSON(parsing: text) } catch {
        throw .invalid("'\(name)' holds arguments that are no JSON. \(error.message)", param: name)
      }
    }
    members["function"] = .object(function)
    return .object(members)
  }
}
