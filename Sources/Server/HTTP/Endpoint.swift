#if Server
  import HTTPTypes

  /// What the server answers to.
  enum Endpoint: String, CaseIterable {
    case page = "/"
    case health = "/health"
    case metrics = "/metrics"
    case models = "/v1/models"
    /// Followed by the model's name.
    case model = "/v1/models/"
    case chat = "/v1/chat/completions"
    case completions = "/v1/completions"
    case loadAdapter = "/v1/load_lora_adapter"
    case unloadAdapter = "/v1/unload_lora_adapter"

    /// - Parameter path: without escapes.
    init?(path: String) {
      if let endpoint = Self(rawValue: path) {
        self = endpoint
      } else if path.hasPrefix(Self.model.rawValue) {
        self = .model
      } else {
        return nil
      }
    }

    var method: HTTPRequest.Method {
      switch self {
      case .page, .health, .metrics, .models, .model: .get
      case .chat, .completions, .loadAdapter, .unloadAdapter: .post
      }
    }

    /// Whether an API key protects it, when there is one.
    var isProtected: Bool { rawValue.hasPrefix("/v1/") }
  }
#endif
