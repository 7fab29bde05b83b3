#if Server
  import Foundation
  import HTTPTypes
  import Hummingbird
  import Logging
  import NIOCore
  import Swiftlet

  /// A request's surroundings: its connection.
  struct APIContext: RequestContext {
    var coreContext: CoreRequestContextStorage
    let channel: any Channel

    init(source: ApplicationRequestContextSource) {
      coreContext = CoreRequestContextStorage(source: source)
      channel = source.channel
    }
  }

  /// Turns HTTP requests into calls of the service.
  struct APIResponder: HTTPResponder {
    private let service: ModelService
    private let settings: ServerSettings
    private let access: AccessRules

    init(_ service: ModelService, _ settings: ServerSettings) {
      self.service = service
      self.settings = settings
      access = AccessRules(settings)
    }

    func respond(to request: Request, context: APIContext) async -> Response {
      let start = ContinuousClock.now
      let path = request.uri.path.removingPercentEncoding ?? request.uri.path
      let endpoint = Endpoint(path: path)
      // Unknown paths go by one name: clients must not make up new series of metrics.
      let name = endpoint?.rawValue ?? "unknown"
      var response: Response
      do throws(APIError) {
        let answer = try await answer(request, endpoint, path: path, context)
        switch answer {
        case .complete(let complete): response = complete
        case .events(let pending, let departure):
          response = .events(pending) { [service] status in
            departure?.whenGone(nil)
            service.metrics.finished(name, status: status, after: .now - start)
          }
          response.headers.append(contentsOf: access.corsHeaders(request))
          return response
        }
      } catch {
        response = .error(error)
        if error.status == 405 { response.headers[.allow] = endpoint?.method.rawValue }
      }
      service.metrics.finished(name, status: response.status.code, after: .now - start)
      if request.method == .head { response = response.createHeadResponse() }
      response.headers.append(contentsOf: access.corsHeaders(request))
      return response
    }

    private enum Answer {
      case complete(Response)
      case events(ModelService.Pending, Departure?)
    }

    private func answer(
      _ request: Request, _ endpoint: Endpoint?, path: String, _ context: APIContext
    ) async throws(APIError) -> Answer {
      try access.checkHost(request)
      guard let endpoint else { throw .unknownPath(path) }
      if request.method == .options { return .complete(access.preflight(request, endpoint)) }
      guard request.method == endpoint.method || request.method == .head && endpoint.method == .get else {
        throw .wrongMethod(request.method.rawValue, path: path, allowed: endpoint.method.rawValue)
      }
      try access.check(request, endpoint)
      switch endpoint {
      case .page: return .complete(ChatPage.response())
      case .health: return .complete(.text(""))
      case .metrics: return .complete(.text(service.metricsText, type: "text/plain; version=0.0.4; charset=utf-8"))
      case .models: return .complete(.json(service.models))
      case .model:
        return .complete(.json(try service.model(String(path.dropFirst(Endpoint.model.rawValue.count)))))
      case .chat: return try await tell(try service.chat(try await body(request)), context)
      case .completions: return try await tell(try service.complete(try await body(request)), context)
      case .loadAdapter, .unloadAdapter:
        guard settings.allowsAdapterUpdates else { throw .adaptersFixed }
        let body = try await body(request)
        return .complete(
          .text(
            endpoint == .loadAdapter
              ? try await service.loadAdapter(body) : try await service.unloadAdapter(body)))
      }
    }

    /// Answers with events as tokens come, or waits for all of them.
    private func tell(_ pending: ModelService.Pending, _ context: APIContext) async throws(APIError) -> Answer {
      // Tests without a network have no such handler.
      let departure = try? await context.channel.pipeline.handler(type: Departure.self).get()
      departure?.whenGone { pending.tokens.stop(.clientGone) }
      if pending.streams { return .events(pending, departure) }
      defer { departure?.whenGone(nil) }
      var format = pending.format
      do {
        for try await token in pending.tokens { _ = format.take(token) }
      } catch { throw APIError(generation: error) }
      return .complete(.json(format.whole))
    }

    private func body(_ request: Request) async throws(APIError) -> JSON {
      // Pages of other origins can send everything else without asking first.
      let type = request.headers[.contentType]?.lowercased() ?? ""
      guard type.prefix(while: { $0 != ";" && $0 != " " }) == "application/json" else { throw .notJSON }
      if let length = request.headers[.contentLength].flatMap(Int.init), length > settings.maxBodyBytes {
        throw .bodyTooLarge(settings.maxBodyBytes)
      }
      var request = request
      let buffer: ByteBuffer
      do { buffer = try await request.collectBody(upTo: settings.maxBodyBytes) } catch is NIOTooManyBytesError {
        throw .bodyTooLarge(settings.maxBodyBytes)
      } catch { throw .clientGone }
      do { return try JSON(parsing: Array(buffer.readableBytesView)) } catch { throw .malformed(error) }
    }
  }
#endif
