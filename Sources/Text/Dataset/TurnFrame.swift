import Basics

/// What a chat template writes around the assistant's turns, learned from small chats.
struct TurnFrame: Sendable, Equatable {
  /// What begins a turn, such as `<|im_start|>assistant\n`: what finished turns have in common with the generation
  /// prompt. May be empty.
  let opening: String
  /// What ends a turn within a chat, such as `<|im_end|>`: all up to the first special token behind the content, or,
  /// when none follows it at the end of a chat, the text that always follows it, which may be empty.
  let closing: String

  /// A character no data holds and no template changes.
  static let sentinel: Unicode.Scalar = "\u{F8D0}"

  /// The frame of the template behind `render`, or nil when it renders no such chat.
  init?(
    _ tokenizer: Tokenizer, render: (_ messages: [JSON], _ addGenerationPrompt: Bool) -> String?
  ) {
    let user: JSON = ["role": "user", "content": "a"]
    let assistant: JSON = ["role": "assistant", "content": .string(String(Self.sentinel))]
    // Some templates refuse a system message, some demand one.
    for system: [JSON] in [[], [["role": "system", "content": "a"]]] {
      let chat = system + [user, assistant, user]
      guard let question = render(chat.dropLast(2), false), let prompt = render(chat.dropLast(2), true),
        let answered = render(chat.dropLast(), false).flatMap(Self.split),
        let goingOn = render(chat, false).flatMap(Self.split)
      else { continue }
      // What stands behind the question: in the prompt, and before the answer at the end of a chat and within it.
      let heads = [prompt, answered.before, goingOn.before].filter { $0.utf8.starts(with: question.utf8) }
        .map { Self.drop(question, from: $0) }
      opening =
        heads.count < 3 ? "" : Self.common(heads[0], Self.common(heads[1], heads[2], tokenizer), tokenizer)
      closing = Self.closing(goingOn.after, answered.after, tokenizer)
      return
    }
    return nil
  }

  /// The text before and behind the sentinel.
  private static func split(_ text: String) -> (before: String, after: String)? {
    guard let place = text.unicodeScalars.firstIndex(of: sentinel) else { return nil }
    let after = text.unicodeScalars.index(after: place)
    return (String(text.unicodeScalars[..<place]), String(text.unicodeScalars[after...]))
  }

  private static func drop(_ prefix: String, from text: String) -> String {
    String(decoding: text.utf8.dropFirst(prefix.utf8.count), as: UTF8.self)
  }

  /// What ends a turn, from what follows the content within a chat and at the end of one.
  private static func closing(_ inside: String, _ atEnd: String, _ tokenizer: Tokenizer) -> String {
    if let end = throughSpecial(inside, tokenizer), throughSpecial(atEnd, tokenizer) != nil { return end }
    return String(common(inside, atEnd, tokenizer).reversed().drop(while: \.isWhitespace).reversed())
  }

  /// The text up to the end of the first special token; nil without one.
  private static func throughSpecial(_ text: String, _ tokenizer: Tokenizer) -> String? {
    let (ids, ranges) = tokenizer.encodeWithOffsets(text)
    guard let special = ids.firstIndex(where: tokenizer.isSpecial) else { return nil }
    return String(decoding: text.utf8.prefix(ranges[special].upperBound), as: UTF8.self)
  }

  /// The text of the tokens with which both texts begin: `<a>` and `<b>` do not share a `<`.
  private static func common(_ a: String, _ b: String, _ tokenizer: Tokenizer) -> String {
    let (ids, ranges) = tokenizer.encodeWithOffsets(a)
    let count = zip(ids, tokenizer.encode(b)).prefix { $0 == $1 }.count
    return String(decoding: a.utf8.prefix(count == 0 ? 0 : ranges[count - 1].upperBound), as: UTF8.self)
  }
}
