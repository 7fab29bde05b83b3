#if Server
  import Swiftlet
  import Testing

  @testable import Server

  struct ConnectionTests {
    private static let slow = EchoEngine.Script(
      reply: String(repeating: "a", count: 150), delay: .milliseconds(20))

    private static func chat(streams: Bool) -> String {
      let body: JSON = ["messages": [["role": "user", "content": "Hi"]], "stream": .bool(streams)]
      return LocalServer.request("POST", "/v1/chat/completions", body: body.text())
    }

    /// Whether the answer is streamed, or has not begun to be told.
    @Test(arguments: [true, false])
    func stopsWhenTheClientGoes(streams: Bool) async throws {
      try await LocalServer.run(Self.slow) { server in
        if streams {
          try await server.exchange(Self.chat(streams: true)) { !$0.contains("\"a\"") }
        } else {
          try await server.hangUp(after: Self.chat(streams: false))
        }
        try await server.becomesIdle()
        let metrics = try await server.get("/metrics").body
        #expect(metrics.contains(#"swiftlet_requests_total{endpoint="/v1/chat/completions",status="499"} 1"#))
      }
    }

    /// Two requests over one connection, the second sent before the first was answered.
    @Test func keepsConnections() async throws {
      try await LocalServer.run { server in
        var text = ""
        let kept = LocalServer.request("GET", "/v1/models", headers: ["Connection": "keep-alive"])
        try await server.exchange(kept + LocalServer.request("GET", "/health")) {
          text = $0
          return true
        }
        #expect(text.split(separator: "HTTP/1.1 200 OK").count == 2)
      }
    }

    @Test func closesWhatLiesIdle() async throws {
      try await LocalServer.run(settings: { $0.idleTimeout = .milliseconds(100) }) { server in
        // Half a request: the server closes, or this never ends. Under load it may have closed before anything was sent.
        try? await server.exchange(
          "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{"
        ) { _ in
          true
        }
      }
    }

    @Test func keepsOtherOriginsOut() async throws {
      let origin = ["Origin": "https://page.example"]
      try await LocalServer.run { server in
        let reply = try await server.get("/v1/models", headers: origin)
        #expect(reply.headers["access-control-allow-origin"] == nil)
      }
      try await LocalServer.run(settings: { $0.allowedOrigins = ["https://page.example"] }) { server in
        let reply = try await server.get("/v1/models", headers: origin)
        #expect(reply.headers["access-control-allow-origin"] == "https://page.example")
        let preflight = try await server.send("OPTIONS", "/v1/chat/completions", headers: origin)
        #expect(preflight.status == 204 && preflight.headers["access-control-allow-methods"] == "POST")
        let other = ["Origin": "https://other.example"]
        #expect(
          try await server.get("/v1/models", headers: other).headers["access-control-allow-origin"] == nil)
      }
    }

    @Test func countsWhatItDoes() async throws {
      try await LocalServer.run(EchoEngine.Script(reply: "abc")) { server in
        try await server.exchange(Self.chat(streams: true)) { _ in true }
        _ = try await server.get("/anything")
        let metrics = try await server.get("/metrics").body
        for line in [
          #"swiftlet_requests_total{endpoint="/v1/chat/completions",status="200"} 1"#,
          #"swiftlet_requests_total{endpoint="unknown",status="404"} 1"#,
          "swiftlet_time_to_first_token_seconds_count 1", "swiftlet_inter_token_seconds_count 3",
          #"swiftlet_inter_token_seconds_bucket{le="+Inf"} 3"#, "swiftlet_kv_blocks 64",
          "# TYPE swiftlet_request_seconds histogram", "swiftlet_requests_running 0",
        ] {
          #expect(metrics.split(separator: "\n").contains(Substring(line)), "\(line)")
        }
      }
    }

    /// The page holds all that it needs, and browsers run no other script than its own.
    @Test func servesThePage() async throws {
      try await LocalServer.run { server in
        let reply = try await server.get("/")
        #expect(reply.status == 200 && reply.headers["content-type"] == "text/html; charset=utf-8")
        let policy = try #require(reply.headers["content-security-policy"])
        let nonce = try #require(policy.firstMatch(of: /script-src 'nonce-([0-9a-f]+)'/)?.output.1)
        #expect(reply.body.contains("<script nonce=\"\(nonce)\">"))
        #expect(!reply.body.contains("{{nonce}}"))
        #expect(reply.body.firstMatch(of: /(src|href)="(https?:)?\/\//) == nil)
      }
    }

    @Test func shutsTheEngineDown() async throws {
      let engine = try await LocalServer.run { server in #expect(!server.engine.isShutDown) }
      #expect(engine.isShutDown)
    }
  }

  extension LocalServer {
    /// Sends a request and closes the connection when the engine is at it.
    fileprivate func hangUp(after request: String) async throws {
      // An empty line before a request is ignored: what follows it is answered, and nothing is awaited here.
      let task = Task { try await exchange(request) { _ in true } }
      while engine.statistics.load.running == 0 { try await Task.sleep(for: .milliseconds(5)) }
      task.cancel()
      _ = try? await task.value
    }

    /// Waits until no answer is held, for some seconds.
    func becomesIdle() async throws {
      for _ in 0..<400 where engine.statistics.load.running > 0 {
        try await Task.sleep(for: .milliseconds(10))
      }
      #expect(engine.statistics.load.running == 0)
    }
  }
#endif
