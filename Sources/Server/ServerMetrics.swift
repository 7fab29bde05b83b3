import Swiftlet
import Synchronization

/// What the server counts, in Prometheus's text format.
/// Source: prometheus.io/docs/instrumenting/exposition_formats.
final class ServerMetrics: Sendable {
  private struct Request: Hashable {
    let endpoint: String
    let status: Int
  }

  private struct State {
    var requests: [Request: Int] = [:]
    var firstToken = Histogram(bounds: [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30])
    var betweenTokens = Histogram(bounds: [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1])
    var duration = Histogram(bounds: [0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300])
  }

  private let state = Mutex(State())

  func finished(_ endpoint: String, status: Int, after duration: Duration) {
    state.withLock {
      $0.requests[Request(endpoint: endpoint, status: status), default: 0] += 1
      $0.duration.observe(duration / .seconds(1))
    }
  }

  /// Measures one answer, from now.
  func tokenClock() -> TokenClock { TokenClock(metrics: self) }

  struct TokenClock {
    fileprivate let metrics: ServerMetrics
    private var last = ContinuousClock.now
    private var isFirst = true

    fileprivate init(metrics: ServerMetrics) { self.metrics = metrics }

    /// A token came.
    mutating func tick() {
      let now = ContinuousClock.now
      let seconds = (now - last) / .seconds(1)
      let isFirst = isFirst
      metrics.state.withLock {
        if isFirst { $0.firstToken.observe(seconds) } else { $0.betweenTokens.observe(seconds) }
      }
      (last, self.isFirst) = (now, false)
    }
  }

  // MARK: Text

  func text(_ engine: EngineStatistics) -> String {
    let state = state.withLock { $0 }
    var out = ""
    out.header("requests_total", "counter", "HTTP requests answered.")
    for (request, count) in state.requests.sorted(by: { ($0.key.endpoint, $0.key.status) < ($1.key.endpoint, $1.key.status) }) {
      out += "swiftlet_requests_total{endpoint=\"\(request.endpoint)\",status=\"\(request.status)\"} \(count)\n"
    }
    out.gauge("requests_running", "Answers being generated.", engine.load.running)
    out.gauge("requests_waiting", "Answers that wait for their turn.", engine.load.waiting)
    out.gauge("kv_blocks_used", "Blocks of keys and values in use.", engine.load.pagesInUse)
    out.gauge("kv_blocks", "Blocks of keys and values in all.", engine.load.pages)
    out.counter("prompt_tokens_total", "Tokens of prompts.", engine.totals.promptTokens + engine.totals.reusedTokens)
    out.counter("reused_tokens_total", "Of these, tokens that the cache knew.", engine.totals.reusedTokens)
    out.counter("generated_tokens_total", "Tokens generated.", engine.totals.newTokens)
    out.counter("preemptions_total", "Answers set back for lack of blocks.", engine.totals.preemptions)
    out.histogram("time_to_first_token_seconds", "From a request to its first token.", state.firstToken)
    out.histogram("inter_token_seconds", "From one token to the next.", state.betweenTokens)
    out.histogram("request_seconds", "From a request to the end of its response.", state.duration)
    return out
  }
}

private struct Histogram: Sendable {
  /// Upper bounds, rising, in seconds.
  let bounds: [Double]
  private(set) var counts: [Int]
  private(set) var sum = 0.0

  init(bounds: [Double]) {
    self.bounds = bounds
    counts = Array(repeating: 0, count: bounds.count + 1)
  }

  mutating func observe(_ value: Double) {
    counts[bounds.firstIndex { value <= $0 } ?? bounds.count] += 1
    sum += value
  }
}

extension String {
  fileprivate mutating func header(_ name: String, _ type: String, _ help: String) {
    self += "# HELP swiftlet_\(name) \(help)\n# TYPE swiftlet_\(name) \(type)\n"
  }

  fileprivate mutating func gauge(_ name: String, _ help: String, _ value: Int) {
    header(name, "gauge", help)
    self += "swiftlet_\(name) \(value)\n"
  }

  fileprivate mutating func counter(_ name: String, _ help: String, _ value: Int) {
    header(name, "counter", help)
    self += "swiftlet_\(name) \(value)\n"
  }

  fileprivate mutating func histogram(_ name: String, _ help: String, _ histogram: Histogram) {
    header(name, "histogram", help)
    var count = 0
    for (index, bound) in histogram.bounds.enumerated() {
      count += histogram.counts[index]
      self += "swiftlet_\(name)_bucket{le=\"\(bound)\"} \(count)\n"
    }
    count += histogram.counts[histogram.bounds.count]
    self += "swiftlet_\(name)_bucket{le=\"+Inf\"} \(count)\n"
    self += "swiftlet_\(name)_sum \(histogram.sum)\nswiftlet_\(name)_count \(count)\n"
  }
}
