import Swiftlet

/// What is served.
public struct ServedModel: Sendable {
  /// What clients call it.
  public var name: String
  public var text: LanguageModelText

  public init(name: String, text: LanguageModelText) {
    self.name = name
    self.text = text
  }
}

/// To whom the server answers, and how much.
public struct ServerSettings: Sendable {
  /// Name or address to listen at; by default nobody else's machine can reach it.
  public var host = "127.0.0.1"
  /// 0 takes any that is free.
  public var port = 8000
  /// Clients of `/v1` must send one of these; empty: nobody has to.
  public var apiKeys: [String] = []
  /// Pages of these origins may use the server from a browser; `*` for all.
  public var allowedOrigins: [String] = []
  /// Whether clients may load adapters of this machine's folders and unload them.
  public var allowsAdapterUpdates = false
  /// Answers that are generated or wait for it; more are sent away.
  public var maxOpenAnswers = 1024
  public var maxConnections = 4096
  public var maxBodyBytes = 8 << 20
  /// How long an answer may take.
  public var requestTimeout = Duration.seconds(600)
  /// How long a connection may lie idle, in the middle of a request or between two.
  public var idleTimeout = Duration.seconds(60)
  /// How long running answers may go on when the server is told to stop.
  public var shutdownTimeout = Duration.seconds(30)

  public init() {}

  /// Whether only this machine can reach the server.
  public var isLoopback: Bool { Self.isLoopback(host) }

  /// - Parameter host: a name, or an address with or without brackets.
  static func isLoopback(_ host: String) -> Bool {
    let host = host.lowercased()
    return ["localhost", "::1", "[::1]"].contains(host) || host.hasSuffix(".localhost")
      || host.wholeMatch(of: /127(\.\d{1,3}){3}/) != nil
  }
}
