import Basics

/// How a row's columns become text.
public enum RowFormat: Sendable, Hashable {
  /// A column of `{"role", "content"}` objects, as chat APIs take them.
  case messages(column: String)
  /// A column of `{"from", "value"}` objects with the speakers `human` and `gpt`.
  case shareGPT(column: String)
  /// The columns `instruction`, `input` (may be absent or empty) and `output`; `system` where there is one.
  case alpaca
  /// Two columns of text, or of messages.
  case promptCompletion(prompt: String, completion: String)
  /// A column of text, all of which is trained on.
  case text(column: String)
  /// Columns put into a text of the user's own.
  case template(RowTemplate)
}

extension RowFormat {
  /// Names under which files hold chats, and pairs of a prompt and its completion, in the order they are tried.
  private static let chatColumns = ["messages", "conversations", "conversation", "chat"]
  private static let pairs = [
    ("prompt", "completion"), ("prompt", "response"), ("instruction", "response"), ("question", "answer"),
  ]

  /// The format of a file whose first rows are `rows`; nil when the columns are not known ones.
  ///
  /// The names decide, except that a chat column is told by its entries' keys: `conversations` often holds
  /// `role`/`content`. Columns that are there beside the recognised ones are ignored.
  public static func recognise(_ rows: [JSON.Object]) -> RowFormat? {
    let has = { (name: String) in rows.contains { $0[name].map { !$0.isNull } ?? false } }
    for column in chatColumns where has(column) {
      let turns = rows.lazy.compactMap { $0[column] }.compactMap { try? Conversation.list($0, column) }
      guard let turn = turns.first(where: { !$0.isEmpty })?.first else { continue }
      if turn["role"] != nil { return .messages(column: column) }
      if turn["from"] != nil { return .shareGPT(column: column) }
    }
    if has("instruction"), has("output") { return .alpaca }
    for (prompt, completion) in pairs where has(prompt) && has(completion) {
      return .promptCompletion(prompt: prompt, completion: completion)
    }
    return has("text") ? .text(column: "text") : nil
  }

  /// The error of a file whose format is not recognised.
  static func unrecognised(_ columns: some Sequence<String>, in path: String) -> SwiftletError {
    if let chat = columns.first(where: chatColumns.contains) {
      return SwiftletError(
        .invalidData, "\(path): the column \"\(chat)\" holds no conversation",
        remedy: "It must be a list of objects with role and content, or from and value.")
    }
    let names = columns.map { "\"\($0)\"" }.joined(separator: ", ")
    let example = columns.map { "{\($0)}" }.joined(separator: " ")
    return SwiftletError(
      .invalidData, "\(path): the columns \(names) are no data-set format known here",
      remedy: "Rename them to messages, conversations, instruction/input/output, prompt/completion or text, "
        + "or give a template over them like \"\(example)\".")
  }
}
