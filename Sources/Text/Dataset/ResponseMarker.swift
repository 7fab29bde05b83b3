import Basics

/// A text of which the loss counts parts.
struct MarkedText: Equatable {
  var text: String
  /// Ascending, disjoint byte ranges of `text.utf8` that the loss counts.
  var trained: [Range<Int>]
  /// Whether the tokenizer frames the text with its begin and end tokens. A chat template writes its own.
  var isChat: Bool
}

/// Renders conversations and finds in the text what the assistant wrote.
///
/// A template that marks generation says so itself. For the others two ways are tried:
/// 1. The chat up to a turn, rendered with the generation prompt, and the chat including the turn are both prefixes
///    of the whole: the turn stands between their ends.
/// 2. Where that fails, because a template writes earlier turns otherwise than the last (Qwen3 leaves out what was
///    thought in them), the chat is rendered with the turn's content replaced by a private-use character. Where the
///    texts first differ is in the turn; from there it reaches back to its opening and on to its end-of-turn token.
///
/// A turn's span ends with its end-of-turn token, which must be learned; white space after it need not be.
struct ResponseMarker: Sendable {
  private let template: ChatTemplate
  private let variables: JSON.Object
  let frame: TurnFrame?

  init(template: ChatTemplate, tokenizer: Tokenizer, variables: JSON.Object) {
    var all = tokenizer.templateVariables
    all.merge(variables)
    self.template = template
    self.variables = all
    frame = TurnFrame(tokenizer) { [all] messages, addGenerationPrompt in
      try? template.render(
        messages: .array(messages), addGenerationPrompt: addGenerationPrompt, variables: all)
    }
  }

  /// The text of a chat. The loss counts the turns that are trained on, or all of it.
  ///
  /// - Throws: `.template` when rendering fails or a turn cannot be found.
  func mark(_ chat: Conversation, responsesOnly: Bool) throws(SwiftletError) -> MarkedText {
    let (text, generated) = try template.renderWithGenerationRanges(
      messages: .array(chat.messages), addGenerationPrompt: false, tools: chat.tools, variables: variables)
    guard responsesOnly else { return MarkedText(text: text, trained: [0..<text.utf8.count], isChat: true) }
    if template.marksGeneration, let spans = Self.select(generated, chat) {
      return MarkedText(text: text, trained: spans, isChat: true)
    }
    var spans: [Range<Int>] = []
    for turn in chat.messages.indices where chat.isTrained[turn] {
      guard let span = prefixSpan(turn, chat, text) ?? locatedSpan(turn, chat, text),
        span.lowerBound >= spans.last?.upperBound ?? 0
      else {
        throw SwiftletError(
          .template,
          "\(template.name): cannot tell where message \(turn + 1), the assistant's, stands in the text",
          remedy:
            "Put the assistant's text in the template between {% generation %} and {% endgeneration %}, "
            + "or set train_on_responses_only to false.")
      }
      spans.append(trimmed(span, of: text))
    }
    return MarkedText(text: text, trained: spans, isChat: true)
  }

  /// The marked ranges that belong to turns trained on: one range an assistant's turn, or all of them.
  private static func select(_ ranges: [Range<Int>], _ chat: Conversation) -> [Range<Int>]? {
    let assistant = chat.messages.indices.filter { chat.messages[$0]["role"]?.string == "assistant" }
    if assistant.count == ranges.count {
      return zip(assistant, ranges).filter { chat.isTrained[$0.0] }.map(\.1)
    }
    return assistant.allSatisfy { chat.isTrained[$0] } ? ranges : nil
  }

  private func render(
    _ messages: some Sequence<JSON>, tools: JSON?, addGenerationPrompt: Bool = false
  ) -> String? {
    // A template may refuse a part of a chat (one that ends with the system message, say): no prefix then.
    try? template.render(
      messages: .array(Array(messages)), addGenerationPrompt: addGenerationPrompt, tools: tools,
      variables: variables)
  }

  private func prefixSpan(_ turn: Int, _ chat: Conversation, _ text: String) -> Range<Int>? {
    let before = render(chat.messages[..<turn], tools: chat.tools, addGenerationPrompt: true)
    guard let before, !before.isEmpty, text.utf8.starts(with: before.utf8) else { return nil }
    if turn == chat.messages.count - 1 { return before.utf8.count..<text.utf8.count }
    let through = render(chat.messages[...turn], tools: chat.tools)
    guard let through, text.utf8.starts(with: through.utf8), before.utf8.count <= through.utf8.count
    else { return nil }
    return before.utf8.count..<through.utf8.count
  }

  private func locatedSpan(_ turn: Int, _ chat: Conversation, _ text: String) -> Range<Int>? {
    guard let frame, let place = locate(turn, chat, text) else { return nil }
    let utf8 = text.utf8
    let byte = { utf8.distance(from: utf8.startIndex, to: $0) }
    // The opening before the place found is the turn's own if no turn ends between them.
    let opening = frame.opening.isEmpty ? nil : utf8.prefix(place.start).ranges(of: frame.opening.utf8).last
    let opened = opening.map { byte($0.upperBound) }.flatMap { opened in
      let between = utf8.dropFirst(opened).prefix(place.start - opened)
      return frame.closing.isEmpty || between.firstRange(of: frame.closing.utf8) != nil ? nil : opened
    }
    guard let start = opened ?? (place.contentEnd == nil ? nil : place.start) else { return nil }
    if turn == chat.messages.count - 1 { return start..<utf8.count }
    if frame.closing.isEmpty { return place.contentEnd.map { start..<$0 } }
    // Calls of functions may stand between the content and the end of the turn.
    let rest = utf8.dropFirst(place.contentEnd ?? place.start)
    return rest.firstRange(of: frame.closing.utf8).map { start..<byte($0.upperBound) }
  }

  /// The first byte that depends on what a turn holds, and the end of its content if nothing else depends on it.
  private func locate(
    _ turn: Int, _ chat: Conversation, _ text: String
  ) -> (start: Int, contentEnd: Int?)? {
    var messages = chat.messages
    let (message, isContent) = Self.replacing(in: messages[turn])
    messages[turn] = message
    guard let frame, let other = render(messages, tools: chat.tools) else { return nil }
    let (whole, replaced) = (Array(text.unicodeScalars), Array(other.unicodeScalars))
    let head = zip(whole, replaced).prefix { $0 == $1 }.count
    guard let mark = replaced[head...].firstIndex(of: TurnFrame.sentinel) else { return nil }
    let start = whole[..<head].utf8Count
    let tail = replaced[(mark + 1)...]
    if isContent, mark == head, head + tail.count <= whole.count, whole.suffix(tail.count).elementsEqual(tail)
    {
      return (start, text.utf8.count - tail.utf8Count)
    }
    // More differs than the content, thoughts for example: the same turn's, if no turn ends before the content.
    let between = String(String.UnicodeScalarView(replaced[head..<mark]))
    return frame.closing.isEmpty || between.utf8.firstRange(of: frame.closing.utf8) != nil
      ? nil : (start, nil)
  }

  /// A message whose content, or, when it has none, the name of the first function it calls, is the sentinel.
  private static func replacing(in message: JSON) -> (message: JSON, isContent: Bool) {
    let sentinel = JSON.string(String(TurnFrame.sentinel))
    var members = message.object ?? [:]
    if members["content"]?.isBlank ?? true, var calls = members["tool_calls"]?.array,
      var call = calls.first?.object, var function = call["function"]?.object
    {
      function["name"] = sentinel
      call["function"] = .object(function)
      calls[0] = .object(call)
      members["tool_calls"] = .array(calls)
      return (.object(members), false)
    }
    members["content"] = sentinel
    return (.object(members), true)
  }

  /// A span without the white space behind its end-of-turn marker.
  private func trimmed(_ span: Range<Int>, of text: String) -> Range<Int> {
    guard let closing = frame?.closing, !closing.isEmpty else { return span }
    let bytes = text.utf8.dropFirst(span.lowerBound).prefix(span.count)
    let blank = bytes.reversed().prefix { $0 == 0x20 || $0 == 0x0A || $0 == 0x0D || $0 == 0x09 }.count
    let kept = bytes.dropLast(blank)
    return kept.suffix(closing.utf8.count).elementsEqual(closing.utf8)
      ? span.lowerBound..<span.upperBound - blank : span
  }
}

extension Sequence<Unicode.Scalar> {
  fileprivate var utf8Count: Int { reduce(0) { $0 + UTF8.width($1) } }
}
