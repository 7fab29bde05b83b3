#if Server
  import CChatPage
  import HTTPTypes
  import Hummingbird

  /// The built-in page to chat with, which asks for nothing but this server's own interface.
  enum ChatPage {
    private static let html: String = {
      var bytes = 0
      let start = swiftlet_chat_page(&bytes)
      return String(decoding: UnsafeRawBufferPointer(start: start, count: bytes), as: UTF8.self)
    }()

    static func response() -> Response {
      // What a model writes is shown as text; should that ever fail, it still runs no scripts and loads nothing.
      let nonce = randomID("")
      let policy = """
        default-src 'none'; script-src 'nonce-\(nonce)'; style-src 'nonce-\(nonce)'; connect-src 'self'; \
        img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'
        """
      let page = html.replacing("{{nonce}}", with: nonce)
      return Response(
        status: .ok,
        headers: [
          .contentType: "text/html; charset=utf-8", .contentSecurityPolicy: policy, .cacheControl: "no-store",
          .xContentTypeOptions: "nosniff",
        ],
        body: ResponseBody(byteBuffer: ByteBuffer(string: page)))
    }
  }
#endif
