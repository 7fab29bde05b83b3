#if Server
  import Swiftlet
  import Testing

  @testable import Server

  /// Every error has OpenAI's shape and its status.
  struct ErrorTests {
    struct Case: Sendable {
      let body: JSON
      let param: String?
      var path = "/v1/chat/completions"
      var status = 400
      var code: String?
    }

    private static let messages: JSON = [["role": "user", "content": "Hi"]]

    private static func chat(_ key: String, _ value: JSON, param: String? = nil) -> Case {
      var body: JSON.Object = ["messages": messages]
      body[key] = value
      return Case(body: .object(body), param: param ?? key)
    }

    private static func message(_ message: JSON, param: String) -> Case {
      chat("messages", [message], param: "messages[0]" + param)
    }

    static let cases: [Case] = [
      Case(body: [1], param: nil),
      chat("messages", []), chat("messages", "Hi"), chat("messages", [1], param: "messages[0]"),
      message(["content": "Hi"], param: ".role"), message(["role": "king", "content": "Hi"], param: ".role"),
      message(["role": "user"], param: ".content"), message(["role": "user", "content": 1], param: ".content"),
      message(
        ["role": "user", "content": [["type": "image_url", "image_url": ["url": "x"]]]], param: ".content[0]"),
      message(
        ["role": "assistant", "tool_calls": [["function": ["name": "f", "arguments": "{"]]]],
        param: ".tool_calls"),
      chat("temperature", 2.5), chat("temperature", -1), chat("temperature", "hot"),
      chat("top_p", 0), chat("top_p", 1.1), chat("top_k", -2), chat("min_p", 2),
      chat("repetition_penalty", 0), chat("presence_penalty", 3), chat("frequency_penalty", -3),
      chat("logit_bias", ["x": 1]), chat("logit_bias", ["1": 101], param: "logit_bias.1"),
      chat("logit_bias", ["272": 1]), chat("seed", 0.5), chat("n", 0), chat("n", 129),
      chat("max_tokens", 0), chat("max_completion_tokens", "many"), chat("stop", [1]), chat("stop", ""),
      chat("stop_token_ids", ["x"]), chat("stream", "yes"), chat("top_logprobs", 2), chat("logprobs", 1),
      chat("tools", [["type": "search"]], param: "tools[0]"), chat("tool_choice", "required"),
      chat("response_format", ["type": "xml"], param: "response_format.type"),
      chat("response_format", ["type": "json_schema"], param: "response_format.json_schema.schema"),
      chat("response_format", ["type": "json_schema", "json_schema": ["schema": 1]], param: "response_format"),
      Case(
        body: ["messages": messages, "model": "tiyn"], param: "model", status: 404, code: "model_not_found"),
      Case(
        body: ["messages": [["role": "user", "content": .string(String(repeating: "long ", count: 60))]]],
        param: "messages", code: "context_length_exceeded"),
      Case(
        body: ["prompt": .string(String(repeating: "a", count: 201))], param: "prompt", path: "/v1/completions",
        code: "context_length_exceeded"),
      Case(body: ["prompt": ""], param: "prompt", path: "/v1/completions"),
      Case(body: ["prompt": []], param: "prompt", path: "/v1/completions"),
      Case(body: ["prompt": [272]], param: "prompt", path: "/v1/completions"),
      Case(body: ["prompt": "x", "suffix": "y"], param: "suffix", path: "/v1/completions"),
      Case(body: ["prompt": "x", "best_of": 3], param: "best_of", path: "/v1/completions"),
      Case(body: ["prompt": "x", "echo": true, "logprobs": 1], param: "echo", path: "/v1/completions"),
    ]

    @Test func refusesWhatIsWrong() async throws {
      try await LocalServer.run { server in
        for example in Self.cases {
          let reply = try await server.post(example.path, example.body)
          #expect(reply.status == example.status, "\(example.body.excerpt)")
          let error = try #require(try reply.json["error"])
          #expect(error["param"]?.string == example.param, "\(example.body.excerpt)")
          #expect(error["type"] == "invalid_request_error" && error["message"]?.string?.isEmpty == false)
          if let code = example.code { #expect(error["code"]?.string == code) }
        }
        #expect(server.engine.requests.isEmpty)
      }
    }

    @Test func refusesWhatIsNoRequest() async throws {
      try await LocalServer.run(settings: { $0.maxBodyBytes = 1000 }) { server in
        func status(_ reply: LocalServer.Reply, _ code: String) throws -> Int {
          #expect(try reply.json["error"]?["code"]?.string == code)
          return reply.status
        }
        let chat = "/v1/chat/completions"
        #expect(try status(try await server.send("POST", chat, body: "{\"a\": }"), "invalid_json") == 400)
        #expect(try status(try await server.get("/v2"), "unknown_url") == 404)
        let wrongMethod = try await server.get(chat)
        #expect(try status(wrongMethod, "method_not_allowed") == 405)
        #expect(wrongMethod.headers["allow"] == "POST")
        let large = String(repeating: " ", count: 1001)
        #expect(try status(try await server.send("POST", chat, body: large), "body_too_large") == 413)
        // A length that only turns out.
        let chunked = try await server.send(
          "POST", chat, headers: ["Transfer-Encoding": "chunked", "Content-Type": "application/json"],
          body: nil, raw: "3e9\r\n\(large)\r\n0\r\n\r\n")
        #expect(try status(chunked, "body_too_large") == 413)
        let form = try await server.send("POST", chat, headers: ["Content-Type": "text/plain"], body: "{}")
        #expect(try status(form, "unsupported_media_type") == 415)
        let foreign = try await server.get("/v1/models", headers: ["Host": "evil.example:8000"])
        #expect(try status(foreign, "foreign_host") == 403)
        for host in ["localhost:1", "127.0.0.1:80", "[::1]:8000", "[::1]", "LOCALHOST"] {
          #expect(try await server.get("/v1/models", headers: ["Host": host]).status == 200, "\(host)")
        }
        let update: JSON = ["lora_name": "x", "lora_path": "y"]
        #expect(try status(try await server.post("/v1/load_lora_adapter", update), "adapters_fixed") == 403)
      }
    }

    @Test func asksForKeys() async throws {
      try await LocalServer.run(settings: { $0.apiKeys = ["secret", "other"] }) { server in
        for header in [nil, "Bearer wrong", "Bearer ", "secret", "Bearer secret2", "Basic secret"] {
          let reply = try await server.get("/v1/models", headers: header.map { ["Authorization": $0] } ?? [:])
          #expect(reply.status == 401 && reply.headers["www-authenticate"] == "Bearer", "\(header ?? "")")
          #expect(try reply.json["error"]?["code"] == "invalid_api_key")
        }
        for header in ["Bearer secret", "bearer other"] {
          #expect(try await server.get("/v1/models", headers: ["Authorization": header]).status == 200)
        }
        for path in ["/", "/health", "/metrics"] { #expect(try await server.get(path).status == 200) }
      }
    }

    @Test func saysThatThereIsNoTemplate() async throws {
      try await LocalServer.run(chatTemplate: false) { server in
        let reply = try await server.post("/v1/chat/completions", ["messages": Self.messages])
        #expect(reply.status == 400 && reply.body.contains("/v1/completions"))
      }
    }

    @Test func tellsWhatFailsLater() async throws {
      let error = SwiftletError(.invalidData, "the logits are not finite")
      try await LocalServer.run(EchoEngine.Script(reply: "abc", failure: (2, error))) { server in
        let reply = try await server.post("/v1/chat/completions", ["messages": Self.messages])
        #expect(reply.status == 500)
        #expect(try reply.json["error"]?["type"] == "server_error")
        let streamed = try await server.post(
          "/v1/chat/completions", ["messages": Self.messages, "stream": true])
        #expect(streamed.status == 200)
        #expect(try streamed.events.last?["error"]?["message"]?.string?.contains("finite") == true)
      }
    }

    @Test func endsWhatTakesTooLong() async throws {
      let slow = EchoEngine.Script(delay: .milliseconds(50))
      try await LocalServer.run(slow, settings: { $0.requestTimeout = .milliseconds(120) }) { server in
        let reply = try await server.post("/v1/chat/completions", ["messages": Self.messages])
        #expect(reply.status == 504)
        #expect(try reply.json["error"]?["code"] == "timeout")
        try await server.becomesIdle()
      }
    }

    @Test func sendsAwayWhatIsTooMuch() async throws {
      let slow = EchoEngine.Script(delay: .milliseconds(20))
      try await LocalServer.run(slow, settings: { $0.maxOpenAnswers = 2 }) { server in
        let many: JSON = ["messages": Self.messages, "n": 3]
        let reply = try await server.post("/v1/chat/completions", many)
        #expect(reply.status == 503 && reply.headers["retry-after"] == "1")
        #expect(try reply.json["error"]?["code"] == "overloaded")
        // Room comes back.
        for _ in 0..<3 {
          let few: JSON = ["messages": Self.messages, "n": 2, "max_tokens": 2]
          #expect(try await server.post("/v1/chat/completions", few).status == 200)
        }
      }
    }
  }

  extension LocalServer {
    /// With a body as it is.
    fileprivate func send(
      _ method: String, _ path: String, headers: [String: String], body: String?, raw: String
    ) async throws -> Reply {
      var text = ""
      try await exchange(Self.request(method, path, headers: headers) + raw) { received in
        text = received
        return true
      }
      return try Self.reply(text)
    }
  }
#endif
