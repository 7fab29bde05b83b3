import Basics
import Testing

@testable import Text

/// A template, and what of `DatasetMaskTests.chat` it makes the loss count.
struct MaskCase: Sendable, CustomTestStringConvertible {
  let testDescription: String
  let source: String
  let trained: [String]
}

@Suite struct DatasetMaskTests {
  /// The second answer ends in a byte that also ends the private-use character by which answers are found.
  static let chat: JSON = [
    ["role": "system", "content": "Be kind."],
    ["role": "user", "content": "Hello, how are you?"],
    ["role": "assistant", "content": "<think>\nhm\n</think>\n\nI am fine,  thank you. "],
    ["role": "user", "content": "I am fine,  thank you."],
    ["role": "assistant", "content": "The weather is sunny\u{3000}"],
  ]

  static let cases = [
    MaskCase(
      testDescription: "ChatML", source: ChatTemplate.chatML,
      trained: [
        "<think>\nhm\n</think>\n\nI am fine,  thank you. <|im_end|>",
        "The weather is sunny\u{3000}<|im_end|>",
      ]),
    MaskCase(
      testDescription: "ChatML that marks generation",
      source: """
        {% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}{% if m.role == 'assistant' %}\
        {% generation %}{{ m.content + '<|im_end|>' }}{% endgeneration %}{{ '\\n' }}\
        {% else %}{{ m.content + '<|im_end|>\\n' }}{% endif %}{% endfor %}
        """,
      trained: [
        "<think>\nhm\n</think>\n\nI am fine,  thank you. <|im_end|>",
        "The weather is sunny\u{3000}<|im_end|>",
      ]),
    MaskCase(
      testDescription: "no thoughts in earlier turns, an empty one in the last (Qwen3)",
      source: """
        {% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}{% if m.role == 'assistant' %}\
        {% set answer = m.content.split('</think>')[-1].lstrip('\\n') %}\
        {% if loop.last %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}{{ answer }}\
        {% else %}{{ m.content }}{% endif %}{{ '<|im_end|>\\n' }}{% endfor %}\
        {% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}
        """,
      trained: [
        "I am fine,  thank you. <|im_end|>",
        "<think>\n\n</think>\n\nThe weather is sunny\u{3000}<|im_end|>",
      ]),
    MaskCase(
      testDescription: "a generation prompt that opens a thought (DeepSeek R1)",
      source: """
        {% for m in messages %}{% if m.role == 'assistant' %}\
        {{ 'assistant: ' + m.content.split('</think>')[-1] + '<|endoftext|>' }}\
        {% else %}{{ m.role + ': ' + m.content }}{% endif %}{% endfor %}\
        {% if add_generation_prompt %}{{ 'assistant: <think>\\n' }}{% endif %}
        """,
      trained: [
        "\n\nI am fine,  thank you. <|endoftext|>", "The weather is sunny\u{3000}<|endoftext|>",
      ]),
    MaskCase(
      testDescription: "trimmed contents, the system prompt in the last question (Mistral)",
      source: """
        {{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] \
        {% if loop.index0 >= messages | length - 2 %}{{ messages[0].content + '\\n' }}{% endif %}\
        {{ m.content }}[/INST]{% elif m.role == 'assistant' %}{{ ' ' + m.content | trim + eos_token }}{% endif %}\
        {% endfor %}
        """,
      trained: [
        "<think>\nhm\n</think>\n\nI am fine,  thank you.<|endoftext|>",
        // Found by its prefix, so that it begins right behind the prompt.
        " The weather is sunny<|endoftext|>",
      ]),
    MaskCase(
      testDescription: "another end for the last turn, an opening that goes on (gpt-oss)",
      source: """
        {% for m in messages %}{{ '<|im_start|>' + m.role }}{% if m.role == 'assistant' %}\
        {{ ' final\\n' + m.content.split('</think>')[-1] }}\
        {% if loop.last and not add_generation_prompt %}{{ '<|endoftext|>' }}{% else %}{{ '<|im_end|>' }}{% endif %}\
        {% else %}{{ '\\n' + m.content + '<|im_end|>' }}{% endif %}{% endfor %}\
        {% if add_generation_prompt %}{{ '<|im_start|>assistant' }}{% endif %}
        """,
      trained: [
        " final\n\n\nI am fine,  thank you. <|im_end|>", " final\nThe weather is sunny\u{3000}<|endoftext|>",
      ]),
    MaskCase(
      testDescription: "no end of turn",
      source: """
        {% for m in messages %}{{ m.role + ': ' + m.content + '\\n' }}{% endfor %}\
        {% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}
        """,
      trained: [
        "<think>\nhm\n</think>\n\nI am fine,  thank you. \n", "The weather is sunny\u{3000}\n",
      ]),
    MaskCase(
      testDescription: "an end of text behind the last turn (Phi), and no chat without a system message",
      source: """
        {% if messages[0].role != 'system' %}{{ raise_exception('no system message') }}{% endif %}\
        {% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}\
        {% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% else %}{{ eos_token }}{% endif %}
        """,
      trained: [
        "<think>\nhm\n</think>\n\nI am fine,  thank you. <|im_end|>",
        "The weather is sunny\u{3000}<|im_end|>\n<|endoftext|>",
      ]),
  ]

  private func encoder(_ source: String?, _ format: RowFormat, _ options: DatasetOptions) throws -> RowEncoder
  {
    try RowEncoder(
      format: format, tokenizer: try Tokenizer.fixture(),
      chatTemplate: try source.map { try ChatTemplate(source: $0) }, options: options)
  }

  /// The texts of the runs of tokens that the loss counts.
  private func trained(_ row: RowEncoder.Encoded) throws -> [String] {
    let tokenizer = try Tokenizer.fixture()
    var runs: [[Int32]] = []
    for (index, token) in row.tokens.enumerated() where row.isTrained[index] {
      if !row.isTrained[index - 1] { runs.append([]) }
      runs[runs.count - 1].append(token)
    }
    return runs.map { tokenizer.decode($0) }
  }

  @Test(arguments: cases)
  func countsWhatTheAssistantWrote(_ example: MaskCase) throws {
    let encoder = try encoder(example.source, .messages(column: "messages"), DatasetOptions())
    let row = try #require(try encoder.encode(["messages": Self.chat]))
    #expect(try trained(row) == example.trained)
    #expect(try Tokenizer.fixture().decode(row.tokens) == row.text.text)
    // The preview shows the same, and the whole text.
    let preview = try #require(try encoder.preview(["messages": Self.chat]))
    #expect(preview.pieces.map(\.text).joined() == row.text.text)
    #expect(preview.pieces.filter { $0.fate == .trained }.map(\.text) == example.trained)
  }

  /// Calls of functions, in a template that puts an empty thought before all that follows the last question (Qwen3):
  /// the first call is in an earlier turn, the second in the last, where no prefix of the chat renders as it.
  @Test func countsFunctionCalls() throws {
    let source = """
      {% set ns = namespace(last=0) %}{% for m in messages %}{% if m.role == 'user' %}\
      {% set ns.last = loop.index0 %}{% endif %}{% endfor %}\
      {% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}\
      {% if m.role == 'assistant' and loop.last and loop.index0 > ns.last %}{{ '<think>\\n\\n</think>\\n' }}{% endif %}\
      {{ m.content }}{% for call in m.tool_calls or [] %}\
      {% if m.content %}{{ '\\n' }}{% endif %}{{ '<tool_call>' + call.function.name }}{% endfor %}{{ '<|im_end|>\\n' }}\
      {% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}
      """
    let call = { (name: String) -> JSON in
      [
        "role": "assistant", "content": "",
        "tool_calls": [["type": "function", "function": ["name": .string(name), "arguments": [:]]]],
      ]
    }
    let messages: JSON = [
      ["role": "user", "content": "one"], call("weather"), ["role": "tool", "content": "warm"],
      ["role": "assistant", "content": "fine"], ["role": "user", "content": "two"], call("think"),
      ["role": "tool", "content": "four"], ["role": "assistant", "content": "the answer"],
    ]
    let row = try #require(
      try encoder(source, .messages(column: "m"), DatasetOptions()).encode(["m": messages]))
    #expect(
      try trained(row) == [
        "<tool_call>weather<|im_end|>", "fine<|im_end|>", "<tool_call>think<|im_end|>",
        "<think>\n\n</think>\nthe answer<|im_end|>",
      ])
  }

  /// A turn without an opening of its own must not reach back to that of the turn before.
  @Test func keepsTurnsApart() throws {
    let source = """
      {% for m in messages %}{% if loop.first or m.role != 'assistant' or loop.previtem.role != 'tool' %}\
      {{ '<|im_start|>' + m.role + '\\n' }}{% endif %}\
      {{ m.content + '<|im_end|>\\n' }}{% endfor %}\
      {% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}
      """
    let messages: JSON = [
      ["role": "user", "content": "one"], ["role": "assistant", "content": "two"],
      ["role": "tool", "content": "warm"], ["role": "assistant", "content": "fine"],
      ["role": "user", "content": "one"], ["role": "assistant", "content": "four"],
    ]
    let row = try #require(
      try encoder(source, .messages(column: "m"), DatasetOptions()).encode(["m": messages]))
    #expect(try trained(row) == ["two<|im_end|>", "fine<|im_end|>", "four<|im_end|>"])
  }

  @Test func countsOnlyMessagesWithWeight() throws {
    let messages: JSON = [
      ["role": "user", "content": "user"], ["role": "assistant", "content": "four", "weight": 0],
      ["role": "user", "content": "user"], ["role": "assistant", "content": "fine", "weight": 1],
    ]
    for example in Self.cases.prefix(2) {
      let encoder = try encoder(example.source, .messages(column: "m"), DatasetOptions())
      let row = try #require(try encoder.encode(["m": messages]))
      #expect(try trained(row) == ["fine<|im_end|>"])
    }
  }

  @Test func countsAllButTheFirstTokenWhenAsked() throws {
    var options = DatasetOptions()
    options.responsesOnly = false
    let row = try #require(
      try encoder(ChatTemplate.chatML, .messages(column: "m"), options).encode(["m": Self.chat]))
    #expect(row.isTrained == [false] + Array(repeating: true, count: row.tokens.count - 1))
  }

  @Test func saysWhenATurnCannotBeFound() throws {
    let source = "{{ messages | length }}{% for m in messages %}{{ m.content + m.content }}{% endfor %}"
    let encoder = try encoder(source, .messages(column: "m"), DatasetOptions())
    #expect {
      try encoder.encode(["m": Self.chat])
    } throws: {
      let error = $0 as? SwiftletError
      return error?.code == .template && error?.message.contains("message 3") == true
        && error?.remedy?.contains("{% generation %}") == true
    }
  }

  @Test func showsWhatIsCut() throws {
    var options = DatasetOptions()
    options.maxSequenceLength = 12
    let row: JSON.Object = [
      "prompt": "What is the capital?", "completion": "The capital of France is Paris.",
    ]
    let preview = try #require(
      try encoder(nil, .promptCompletion(prompt: "prompt", completion: "completion"), options).preview(row))
    #expect(preview.pieces.map(\.fate) == [.context, .trained, .cut])
    #expect(preview.pieces[0].text == "What is the capital?")
    #expect(
      preview.pieces.map(\.text).joined()
        == "What is the capital?The capital of France is Paris.<|endoftext|>")
    #expect(preview.tokenCount > 12)
    #expect(preview.trainedCount < 12)
  }
}
