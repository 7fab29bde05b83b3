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
/// A template that marks generation says so itself. For the others two ways are tried, each of which verifies what it
/// finds:
/// 1. The chat up to a turn, rendered with the generation prompt, and the chat including the turn are both prefixes
///    of the whole: the turn stands between their ends.
/// 2. Where that fails, because a template writes earlier turns otherwise than the last (Qwen3 leaves out what was
///    thought in them), the chat is rendered with the turn's content replaced by a private-use character: where both
///    texts differ, the content stands; the turn goes on to the end-of-turn marker.
///
/// A turn's span ends with its end-of-turn token, which must be learned; white space after it need not be.
struct ResponseMarker: Sendable {
  private let template: ChatTemplate
  private let variables: JSON.Object
  /// What ends an assistant's turn, such as `<|im_end|>`; empty when the template writes nothing of that kind, nil when
  /// that cannot be told.
  let closing: String?

  private static let sentinel: Unicode.Scalar = "\u{F8D0}"

  init(template: ChatTemplate, tokenizer: Tokenizer, variables: JSON.Object) {
    var all: JSON.Object = [:]
    let roles = [
      ("bos_token", tokenizer.bosToken), ("eos_token", tokenizer.eosToken), ("pad_token", tokenizer.padToken),
      ("unk_token", tokenizer.unkToken),
    ]
    for case (let name, let token?) in roles { all[name] = .string(token.text) }
    all.merge(variables) { _, given in given }
    self.template = template
    self.variables = all
    let system: [JSON] = [["role": "system", "content": "a"]]
    // Some templates refuse a system message, some demand one.
    closing =
      Self.closing(of: template, after: [], tokenizer, all)
      ?? Self.closing(of: template, after: system, tokenizer, all)
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
      guard let span = prefixSpan(turn, chat, text) ?? contentSpan(turn, chat, text),
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

  private func contentSpan(_ turn: Int, _ chat: Conversation, _ text: String) -> Range<Int>? {
    var messages = chat.messages
    guard let closing, var message = messages[turn].object else { return nil }
    message["content"] = .string(String(Self.sentinel))
    messages[turn] = .object(message)
    guard let other = render(messages, tools: chat.tools) else { return nil }

    let whole = Array(text.unicodeScalars)
    let replaced = Array(other.unicodeScalars)
    let head = commonPrefix(whole, replaced)
    guard head < replaced.count, replaced[head] == Self.sentinel,
      replaced[(head + 1)...].elementsEqual(whole.suffix(replaced.count - head - 1)),
      replaced.count - 1 <= whole.count
    else { return nil }
    let start = String.UnicodeScalarView(whole[..<head]).utf8Count
    let contentEnd = text.utf8.count - String.UnicodeScalarView(replaced[(head + 1)...]).utf8Count
    if closing.isEmpty { return start..<contentEnd }
    // Calls of functions may stand between the content and the end of the turn.
    let rest = text.utf8.dropFirst(contentEnd)
    guard let end = rest.firstRange(of: closing.utf8) else { return nil }
    return start..<text.utf8.distance(from: text.utf8.startIndex, to: end.upperBound)
  }

  /// A span without the white space behind its end-of-turn marker.
  private func trimmed(_ span: Range<Int>, of text: String) -> Range<Int> {
    guard let closing, !closing.isEmpty else { return span }
    let bytes = text.utf8.dropFirst(span.lowerBound).prefix(span.count)
    let blank = bytes.reversed().prefix { $0 == 0x20 || $0 == 0x0A || $0 == 0x0D || $0 == 0x09 }.count
    let kept = bytes.dropLast(blank)
    return kept.suffix(closing.utf8.count).elementsEqual(closing.utf8)
      ? span.lowerBound..<span.upperBound - blank : span
  }

  /// What follows the assistant's content both in the middle of a chat and at its end: up to the first special token,
  /// or without trailing white space when there is none.
  private static func closing(
    of template: ChatTemplate, after system: [JSON], _ tokenizer: Tokenizer, _ variables: JSON.Object
  ) -> String? {
    let chat =
      system + [
        ["role": "user", "content": "a"], ["role": "assistant", "content": .string(String(sentinel))],
        ["role": "user", "content": "a"],
      ]
    let behind = { (messages: [JSON]) -> [Unicode.Scalar]? in
      let text = try? template.render(
        messages: .array(messages), addGenerationPrompt: false, variables: variables)
      guard let text, let found = text.unicodeScalars.firstIndex(of: sentinel) else { return nil }
      return Array(text.unicodeScalars[found...].dropFirst())
    }
    guard let middle = behind(chat), let end = behind(chat.dropLast()) else { return nil }
    let common = String(String.UnicodeScalarView(middle.prefix(commonPrefix(middle, end))))
    let (ids, ranges) = tokenizer.encodeWithOffsets(common)
    guard let special = ids.firstIndex(where: tokenizer.isSpecial) else {
      return String(common.reversed().drop(while: \.isWhitespace).reversed())
    }
    return String(decoding: common.utf8.prefix(ranges[special].upperBound), as: UTF8.self)
  }
}

/// How many elements two sequences share from their beginnings on.
private func commonPrefix(_ a: [Unicode.Scalar], _ b: [Unicode.Scalar]) -> Int {
  zip(a, b).prefix { $0 == $1 }.count
}

extension String.UnicodeScalarView {
  fileprivate var utf8Count: Int { reduce(0) { $0 + UTF8.width($1) } }
}
