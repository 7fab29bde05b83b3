import Swiftlet
import Testing

@testable import Server

struct ToolCallTests {
  struct Case: Sendable {
    let text: String
    let pieces: [ToolCallParser.Piece]

    init(_ text: String, _ pieces: ToolCallParser.Piece...) {
      self.text = text
      self.pieces = pieces
    }
  }

  private static let tools: JSON = [
    ["type": "function", "function": ["name": "add"]], ["type": "function", "function": ["name": "time"]],
  ]
  private static let add = ToolCallParser.Piece.call(ToolCall(name: "add", arguments: #"{"a":1,"b":"x;y"}"#))
  private static let time = ToolCallParser.Piece.call(ToolCall(name: "time", arguments: "{}"))

  static let cases = [
    Case("Plain text, 1 < 2.", .text("Plain text, 1 < 2.")),
    Case(#"<tool_call>\#n{"name": "add", "arguments": {"a": 1, "b": "x;y"}}\#n</tool_call>"#, add),
    Case(
      #"Let me see.\#n\#n<tool_call>{"name":"add","arguments":{"a":1,"b":"x;y"}}</tool_call>\#n"#
        + #"<tool_call>{"name": "time", "arguments": {}}</tool_call>\#n"#, .text("Let me see."), add, time),
    // Llama 3.
    Case(#"{"name": "add", "parameters": {"a": 1, "b": "x;y"}}"#, add),
    Case(#"<|python_tag|>{"name": "add", "parameters": {"a": 1, "b": "x;y"}}; {"name": "time"}"#, add, time),
    // Arguments that are text already; an end that is missing.
    Case(#"<tool_call>{"name": "time", "arguments": "{}"}"#, time),
    // What only looks like calls.
    Case("<tool_call>no JSON</tool_call> there", .text("<tool_call>no JSON</tool_call> there")),
    Case(#"{"name": "Ada", "parameters": {}}"#, .text(#"{"name": "Ada", "parameters": {}}"#)),
    Case("{ a brace", .text("{ a brace")),
    Case("a < b <tool", .text("a < b <tool")),
    Case("  \n", .text("  \n")),
  ]

  /// However the text comes in pieces.
  @Test(arguments: cases, [1, 2, 7, 1000])
  func findsCalls(_ example: Case, length: Int) {
    var parser = ToolCallParser(tools: Self.tools)
    var pieces: [ToolCallParser.Piece] = []
    var rest = example.text[...]
    while !rest.isEmpty {
      pieces += parser.append(String(rest.prefix(length)))
      rest = rest.dropFirst(length)
    }
    pieces += parser.finish()
    #expect(joined(pieces) == example.pieces)
  }

  /// Text need not wait for the end of the answer.
  @Test func tellsTextAtOnce() {
    var parser = ToolCallParser(tools: Self.tools)
    #expect(parser.append("It is <b>") == [.text("It is <b>")])
    #expect(parser.append(" so <to") == [.text(" so")])
  }

  /// Neighbouring texts as one.
  private func joined(_ pieces: [ToolCallParser.Piece]) -> [ToolCallParser.Piece] {
    pieces.reduce(into: []) { joined, piece in
      if case .text(let new) = piece, case .text(let old)? = joined.last {
        joined[joined.count - 1] = .text(old + new)
      } else {
        joined.append(piece)
      }
    }
  }
}
