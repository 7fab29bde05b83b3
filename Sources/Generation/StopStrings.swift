/// Finds stop strings in text that comes in pieces, holding back what may yet become one.
///
/// Works on UTF-8: strings that look alike but are spelled otherwise are not the same to a tokenizer either.
struct StopStrings {
  private let stops: [[UInt8]]
  /// Text whose end may be the start of a stop string.
  private var held: [UInt8] = []

  init(_ strings: [String]) {
    stops = strings.map { Array($0.utf8) }
  }

  /// Takes the next piece and returns the text that can no longer be part of a stop string. Once `stop`, the index
  /// of the stop string reached, is not nil the text ends there.
  mutating func append(_ piece: String) -> (text: String, stop: Int?) {
    held += piece.utf8
    if let (start, stop) = firstMatch() {
      return (release(start), stop)
    }
    return (release(held.count - unfinished), nil)
  }

  /// What is still held back: the answer ended.
  mutating func finish() -> String { release(held.count) }

  /// Stop strings start at a character's first byte, so cuts never split one.
  private mutating func release(_ count: Int) -> String {
    defer { held.removeFirst(count) }
    return String(decoding: held[..<count], as: UTF8.self)
  }

  /// The match that starts first; of those that start there, the first listed.
  private func firstMatch() -> (start: Int, stop: Int)? {
    for start in held.indices {
      if let stop = stops.firstIndex(where: { held[start...].starts(with: $0) }) { return (start, stop) }
    }
    return nil
  }

  /// Length of the longest end of `held` with which a stop string starts.
  private var unfinished: Int {
    let longest = min(held.count, (stops.map(\.count).max() ?? 0) - 1)
    guard longest > 0 else { return 0 }
    return (1...longest).last { length in stops.contains { $0.starts(with: held.suffix(length)) } } ?? 0
  }
}
