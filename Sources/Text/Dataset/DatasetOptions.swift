import Basics

/// How rows become token sequences.
public struct DatasetOptions: Sendable, Hashable {
  /// What happens to a row of more than `maxSequenceLength` tokens.
  public enum LongSequences: String, Sendable, CaseIterable, Codable {
    /// Its first `maxSequenceLength` tokens are kept.
    case truncate
    /// The row is left out.
    case drop
  }

  /// How columns become text; nil recognises it from each file's first rows.
  public var format: RowFormat?
  /// Whether the loss counts only what the assistant writes (`train_on_responses_only`).
  public var responsesOnly = true
  /// In tokens (`max_seq_length`).
  public var maxSequenceLength = 2048
  public var longSequences = LongSequences.truncate
  /// Whether a row that is no chat ends with the end-of-text token. A chat's end is its template's business.
  public var appendsEOS = true
  /// A system message for chats that have none.
  public var systemPrompt: String?
  /// What a chat template may see beside the messages, such as `enable_thinking`.
  public var templateVariables: JSON.Object = [:]

  public init() {}

  func validate() throws(SwiftletError) {
    guard maxSequenceLength >= 2 else {
      throw SwiftletError(
        .invalidConfiguration,
        "max_seq_length is \(maxSequenceLength), but a sequence needs 2 tokens at least",
        remedy: "A label is the token after an input token.")
    }
  }
}
