import Swiftlet

/// An error as OpenAI's interface has it: an HTTP status and an object that clients turn into exceptions.
struct APIError: Error, Equatable {
  /// What kind of error it is, by whose fault.
  enum Kind: String {
    case invalidRequest = "invalid_request_error"
    case authentication = "authentication_error"
    case permission = "permission_error"
    case server = "server_error"
    case timeout = "timeout_error"
  }

  let status: Int
  let kind: Kind
  let message: String
  /// The field of the request that is wrong.
  var param: String?
  var code: String?

  var json: JSON {
    [
      "error": [
        "message": .string(message), "type": .string(kind.rawValue),
        "param": param.map { .string($0) } ?? nil, "code": code.map { .string($0) } ?? nil,
      ]
    ]
  }
}

// MARK: - What can be wrong with a request

extension APIError {
  static func invalid(_ message: String, param: String? = nil, code: String? = nil) -> APIError {
    APIError(status: 400, kind: .invalidRequest, message: message, param: param, code: code)
  }

  static func malformed(_ error: SwiftletError) -> APIError {
    .invalid("The body is no JSON. \(error.message)", code: "invalid_json")
  }

  static func contextLength(_ limit: Int, prompt: Int, param: String) -> APIError {
    .invalid(
      "This model's maximum context length is \(limit) tokens. However, your prompt has \(prompt) tokens. "
        + "Please shorten it.",
      param: param, code: "context_length_exceeded")
  }

  static func modelNotFound(_ name: String, among names: [String]) -> APIError {
    let hint = nearest(to: name, in: names).map { " Did you mean '\($0)'?" } ?? ""
    return APIError(
      status: 404, kind: .invalidRequest, message: "The model '\(name)' does not exist.\(hint)", param: "model",
      code: "model_not_found")
  }

  static let wrongKey = APIError(
    status: 401, kind: .authentication,
    message: "Incorrect API key provided. Send it as 'Authorization: Bearer KEY'.", code: "invalid_api_key")

  static func foreignHost(_ host: String) -> APIError {
    APIError(
      status: 403, kind: .permission,
      message: "This server answers on this machine only, and does not know itself as '\(host)'.",
      code: "foreign_host")
  }

  static let adaptersFixed = APIError(
    status: 403, kind: .permission,
    message: "Adapters are as the server was started. To change them while it runs, start it with "
      + "--allow-runtime-lora-updating.", code: "adapters_fixed")

  static func unknownPath(_ path: String) -> APIError {
    APIError(
      status: 404, kind: .invalidRequest, message: "Unknown request URL: \(path).", code: "unknown_url")
  }

  static func wrongMethod(_ method: String, path: String, allowed: String) -> APIError {
    APIError(
      status: 405, kind: .invalidRequest, message: "\(path) takes \(allowed), not \(method).",
      code: "method_not_allowed")
  }

  static func bodyTooLarge(_ limit: Int) -> APIError {
    APIError(
      status: 413, kind: .invalidRequest, message: "The body is larger than \(limit) bytes.",
      code: "body_too_large")
  }

  static let notJSON = APIError(
    status: 415, kind: .invalidRequest, message: "Unsupported media type: send 'Content-Type: application/json'.",
    code: "unsupported_media_type")
}

// MARK: - What can happen to one

extension APIError {
  static let overloaded = APIError(
    status: 503, kind: .server, message: "The server has as many requests as it takes. Try again later.",
    code: "overloaded")

  static let timedOut = APIError(
    status: 504, kind: .timeout, message: "The answer took longer than the server allows.", code: "timeout")

  /// For the records only: there is nobody to tell. The status is nginx's.
  static let clientGone = APIError(
    status: 499, kind: .invalidRequest, message: "The client closed the connection.", code: "client_gone")

  /// What the engine, tokenizer or template object to.
  init(_ error: SwiftletError, param: String? = nil) {
    switch error.code {
    case .invalidConfiguration, .template, .mismatch, .unsupported:
      self = .invalid(error.description, param: param)
    case .unavailable, .outOfMemory, .interrupted:
      self.init(status: 503, kind: .server, message: error.description, code: error.code.rawValue)
    default:
      self.init(status: 500, kind: .server, message: error.description, code: error.code.rawValue)
    }
  }
}
