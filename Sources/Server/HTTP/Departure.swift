#if Server
  import NIOCore
  import Synchronization

  /// Notices when a connection's client goes away, while its request is still being answered.
  ///
  /// Connections stay open for the server's half when clients close theirs, so that nothing else would end the work
  /// before a write fails.
  final class Departure: ChannelInboundHandler, RemovableChannelHandler, Sendable {
    typealias InboundIn = Any

    private struct State {
      var isGone = false
      var action: (@Sendable () -> Void)?
    }

    private let state = Mutex(State())

    /// Has `action` done when the client goes, or now when it is gone. A connection answers one request at a time: an
    /// earlier action is forgotten; nil forgets it only.
    func whenGone(_ action: (@Sendable () -> Void)?) {
      let isGone = state.withLock {
        $0.action = action
        return $0.isGone
      }
      if isGone { action?() }
    }

    private func note() {
      let action = state.withLock { state in
        defer { state.action = nil }
        state.isGone = true
        return state.action
      }
      action?()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
      if case ChannelEvent.inputClosed? = event as? ChannelEvent { note() }
      context.fireUserInboundEventTriggered(event)
    }

    func channelInactive(context: ChannelHandlerContext) {
      note()
      context.fireChannelInactive()
    }
  }
#endif
