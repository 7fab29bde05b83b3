#if Server
  import HTTPTypes
  import Hummingbird
  import Swiftlet

  /// Who may ask for what.
  struct AccessRules: Sendable {
    /// SHA-256 of the API keys: comparing them takes as long whatever was sent.
    private let keys: [[UInt8]]
    private let origins: Set<String>
    private let isLoopback: Bool

    init(_ settings: ServerSettings) {
      keys = settings.apiKeys.map { SHA256.hash($0.utf8) }
      origins = Set(settings.allowedOrigins)
      isLoopback = settings.isLoopback
    }

    func check(_ request: Request, _ endpoint: Endpoint) throws(APIError) {
      guard endpoint.isProtected, !keys.isEmpty else { return }
      guard let header = request.headers[.authorization], header.lowercased().hasPrefix("bearer ") else {
        throw .wrongKey
      }
      let sent = SHA256.hash(header.utf8.dropFirst("bearer ".utf8.count))
      var isKnown = false
      for key in keys {
        let difference = zip(key, sent).reduce(0) { $0 | ($1.0 ^ $1.1) }
        if difference == 0 { isKnown = true }
      }
      guard isKnown else { throw .wrongKey }
    }

    /// Who listens on loopback trusts this machine's users, but not the web pages that they look at: a page can have its
    /// own name lead here (DNS rebinding), and then it is that name that browsers ask for.
    func checkHost(_ request: Request) throws(APIError) {
      guard isLoopback, let authority = request.head.authority else { return }
      let host = authority.hasSuffix("]") ? authority[...] : authority.prefix { $0 != ":" || authority.hasPrefix("[") }
      let name = host.hasPrefix("[") ? host.prefix { $0 != "]" } + "]" : host
      guard ServerSettings.isLoopback(String(name)) else { throw .foreignHost(authority) }
    }

    /// What tells a browser that the page it shows may read the response.
    func corsHeaders(_ request: Request) -> HTTPFields {
      guard let origin = request.headers[.origin], origins.contains(origin) || origins.contains("*") else {
        return [:]
      }
      return [.accessControlAllowOrigin: origin, .vary: "Origin"]
    }

    /// The answer to a browser that asks before it sends a page's request.
    func preflight(_ request: Request, _ endpoint: Endpoint) -> Response {
      var headers = corsHeaders(request)
      if !headers.isEmpty {
        headers[.accessControlAllowMethods] = endpoint.method.rawValue
        headers[.accessControlAllowHeaders] = "Authorization, Content-Type"
        headers[.accessControlMaxAge] = "600"
      }
      return Response(status: .noContent, headers: headers)
    }
  }
#endif
