#if Server
  import HTTPTypes
  import Hummingbird
  import Swiftlet

  extension Response {
    static func json(_ json: JSON, status: HTTPResponse.Status = .ok) -> Response {
      text(json.text(), type: "application/json", status: status)
    }

    static func text(
      _ text: String, type: String = "text/plain; charset=utf-8", status: HTTPResponse.Status = .ok
    ) -> Response {
      Response(
        status: status, headers: [.contentType: type],
        body: ResponseBody(byteBuffer: ByteBuffer(string: text)))
    }

    static func error(_ error: APIError) -> Response {
      var response = json(error.json, status: HTTPResponse.Status(code: error.status))
      switch error.status {
      case 401: response.headers[.wwwAuthenticate] = "Bearer"
      case 503: response.headers[.retryAfter] = "1"
      default: break
      }
      return response
    }

    /// Server-sent events, one for each piece of the answers, and `[DONE]`. What goes wrong once the first was sent is
    /// an event, too.
    ///
    /// - Parameter onEnd: called with the status, as it would have been.
    static func events(
      _ pending: ModelService.Pending, onEnd: @escaping @Sendable (Int) -> Void
    ) -> Response {
      let headers: HTTPFields = [
        .contentType: "text/event-stream; charset=utf-8", .cacheControl: "no-cache",
        // nginx would hold events back.
        .xAccelBuffering: "no",
      ]
      let body = ResponseBody { writer in
        var format = pending.format
        var status = 200
        defer { onEnd(status) }
        do {
          try await writer.write(events(format.opening))
          for try await token in pending.tokens {
            let pieces = format.take(token)
            if !pieces.isEmpty { try await writer.write(events(pieces)) }
          }
          try await writer.write(events(format.closing, isLast: true))
        } catch {
          let fault = APIError(generation: error)
          status = fault.status
          try await writer.write(events([fault.json], isLast: true))
        }
        try await writer.finish(nil)
      }
      return Response(status: .ok, headers: headers, body: body)
    }

    private static func events(_ pieces: [JSON], isLast: Bool = false) -> ByteBuffer {
      let text = pieces.map { "data: \($0.text())\n\n" }.joined()
      return ByteBuffer(string: isLast ? text + "data: [DONE]\n\n" : text)
    }
  }

  extension HTTPField.Name {
    // `HTTPField.Name.init` refuses only what is no name.
    fileprivate static let xAccelBuffering = HTTPField.Name("X-Accel-Buffering")!
  }

  extension APIError {
    /// What ended an answer.
    init(generation error: any Error) {
      switch error {
      case let error as APIError: self = error
      // The request was fine when the answer began.
      case let error as SwiftletError where APIError(error).status == 400:
        self.init(status: 500, kind: .server, message: error.description, code: error.code.rawValue)
      case let error as SwiftletError: self.init(error)
      // The connection is no more, or the server stops.
      default: self = .clientGone
      }
    }
  }
#endif
