#if Server
  import NIOCore
  import NIOPosix
  import Swiftlet
  import TestSupport

  @testable import Server

  /// A server on loopback with an engine that echoes, and a client of nothing but a socket.
  struct LocalServer {
    let engine: EchoEngine
    let port: Int

    /// Starts a server, has it used, and stops it.
    @discardableResult static func run(
      _ script: EchoEngine.Script = EchoEngine.Script(), chatTemplate: Bool = true,
      settings configure: (inout ServerSettings) -> Void = { _ in },
      _ body: @escaping @Sendable (LocalServer) async throws -> Void
    ) async throws -> EchoEngine {
      let folder = try TemporaryFolder()
      var text = try LanguageModelText(try TinyModel.write(to: folder))
      if !chatTemplate { text.chatTemplate = nil }
      let engine = EchoEngine(text.tokenizer)
      engine.follow(script)
      var settings = ServerSettings()
      settings.port = 0
      configure(&settings)
      let model = ServedModel(name: "tiny", text: text)
      let server = APIServer(engine, model, settings)
      let (ports, continuation) = AsyncStream.makeStream(of: Int.self)
      try await withThrowingTaskGroup { group in
        group.addTask { try await server.run { continuation.yield($0) } }
        group.addTask {
          for await port in ports {
            try await body(LocalServer(engine: engine, port: port))
            break
          }
        }
        // The body ends first, or the server fails.
        try await group.next()
        group.cancelAll()
        try await group.waitForAll()
      }
      return engine
    }

    struct Reply {
      let status: Int
      let headers: [String: String]
      let body: String

      var json: JSON { get throws { try JSON(parsing: body) } }

      /// The data of server-sent events, without the last one, which must be `[DONE]`.
      var events: [JSON] {
        get throws {
          let data = body.split(separator: "\n\n").map { $0.dropFirst("data: ".count) }
          guard data.last == "[DONE]" else { throw NoReply(text: body) }
          return try data.dropLast().map { try JSON(parsing: String($0)) }
        }
      }
    }

    struct NoReply: Error { let text: String }

    func get(_ path: String, headers: [String: String] = [:]) async throws -> Reply {
      try await send("GET", path, headers: headers)
    }

    func post(_ path: String, _ body: JSON, headers: [String: String] = [:]) async throws -> Reply {
      try await send("POST", path, headers: headers, body: body.text())
    }

    func send(
      _ method: String, _ path: String, headers: [String: String] = [:], body: String? = nil
    ) async throws -> Reply {
      var text = ""
      try await exchange(Self.request(method, path, headers: headers, body: body)) { received in
        text = received
        return true
      }
      return try Self.reply(text)
    }

    /// Sends bytes and reads until `goesOn` is false of all that was received, or the server closes.
    func exchange(_ request: String, while goesOn: (String) throws -> Bool) async throws {
      let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
        .connect(host: "127.0.0.1", port: port) { channel in
          channel.eventLoop.makeCompletedFuture {
            try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel)
          }
        }
      try await channel.executeThenClose { inbound, outbound in
        try await outbound.write(ByteBuffer(string: request))
        var received = ByteBuffer()
        for try await part in inbound {
          received.writeImmutableBuffer(part)
          guard try goesOn(String(buffer: received)) else { break }
        }
      }
    }

    static func request(
      _ method: String, _ path: String, headers: [String: String] = [:], body: String? = nil
    ) -> String {
      var fields = ["Host": "127.0.0.1", "Connection": "close"]
      if let body {
        fields["Content-Type"] = "application/json"
        fields["Content-Length"] = "\(body.utf8.count)"
      }
      fields.merge(headers) { $1 }
      let lines = fields.map { "\($0): \($1)\r\n" }.joined()
      return "\(method) \(path) HTTP/1.1\r\n\(lines)\r\n\(body ?? "")"
    }

    private static func reply(_ text: String) throws -> Reply {
      guard let end = text.firstRange(of: "\r\n\r\n") else { throw NoReply(text: text) }
      let lines = text[..<end.lowerBound].split(separator: "\r\n")
      guard let status = lines.first?.split(separator: " ").dropFirst().first.flatMap({ Int($0) }) else {
        throw NoReply(text: text)
      }
      var headers: [String: String] = [:]
      for line in lines.dropFirst() {
        let parts = line.split(separator: ": ", maxSplits: 1)
        headers[parts[0].lowercased()] = parts.count > 1 ? String(parts[1]) : ""
      }
      let body = String(text[end.upperBound...])
      return Reply(
        status: status, headers: headers,
        body: headers["transfer-encoding"] == "chunked" ? unchunked(Array(body.utf8)) : body)
    }

    private static func unchunked(_ bytes: [UInt8]) -> String {
      var (out, rest) = ([UInt8](), bytes[...])
      while let line = rest.firstRange(of: Array("\r\n".utf8)),
        let size = Int(String(decoding: rest[..<line.lowerBound], as: UTF8.self), radix: 16), size > 0
      {
        out += rest[line.upperBound..<line.upperBound + size]
        rest = rest[(line.upperBound + size + 2)...]
      }
      return String(decoding: out, as: UTF8.self)
    }
  }
#endif
