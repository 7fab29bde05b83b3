#if Server
  import Hummingbird
  import HummingbirdCore
  import Logging
  import NIOCore
  import ServiceLifecycle
  import Swiftlet

  /// Serves a model and its adapters over HTTP as OpenAI does.
  ///
  /// ```swift
  /// let server = APIServer(engine, ServedModel(name: "mine", text: model.text))
  /// try await server.run()
  /// ```
  public struct APIServer: Sendable {
    private let service: ModelService
    private let settings: ServerSettings

    public init(_ engine: any ServingEngine, _ model: ServedModel, _ settings: ServerSettings = ServerSettings()) {
      service = ModelService(engine, model, settings)
      self.settings = settings
    }

    /// Serves until the process is told to stop (SIGTERM, SIGINT), or the task is cancelled. Answers that are running
    /// then have `shutdownTimeout` to finish. The engine is shut down, too.
    ///
    /// - Parameter onStart: called with the port when the server listens.
    /// - Throws: `.unavailable` when it cannot listen.
    public func run(onStart: @escaping @Sendable (_ port: Int) -> Void = { _ in }) async throws(SwiftletError) {
      var logger = Logger(label: "swiftlet") { StreamLogHandler.standardError(label: $0) }
      logger.logLevel = .error
      var configuration = ServiceGroupConfiguration(
        services: [application(logger, onStart)], gracefulShutdownSignals: [.sigterm, .sigint], logger: logger)
      configuration.maximumGracefulShutdownDuration = settings.shutdownTimeout
      do {
        try await ServiceGroup(configuration: configuration).run()
      } catch is CancellationError {
        // Told to stop.
      } catch {
        await service.shutdown()
        throw SwiftletError(
          .unavailable, "cannot listen on \(settings.host):\(settings.port): \(error)",
          remedy: "Choose another --port, or stop what listens there.")
      }
      await service.shutdown()
    }

    private func application(
      _ logger: Logger, _ onStart: @escaping @Sendable (Int) -> Void
    ) -> Application<APIResponder> {
      Application(
        responder: APIResponder(service, settings),
        server: .http1(
          configuration: HTTP1Channel.Configuration(
            additionalChannelHandlers: [Departure()],
            idleTimeout: .nanoseconds(Int64(settings.idleTimeout / .nanoseconds(1))))),
        configuration: ApplicationConfiguration(
          address: .hostname(settings.host, port: settings.port), serverName: "swiftlet",
          availableConnectionsDelegate: MaximumAvailableConnections(settings.maxConnections, logger: logger)),
        onServerRunning: { channel in onStart(channel.localAddress?.port ?? settings.port) },
        logger: logger)
    }
  }
#endif
