import Basics
import Foundation
import Synchronization
import Testing

@testable import Text

/// A row, the format it is recognised as, its text with and without a chat template, and the part that is trained on.
struct FormatCase: Sendable, CustomTestStringConvertible {
  let testDescription: String
  let row: String
  let format: RowFormat
  /// The text under ChatML, or, for a row that is no chat, without a template.
  let text: String
  let trained: [String]
  var isChat = true
}

@Suite struct DatasetFormatTests {
  static let user = "<|im_start|>user\n"
  static let assistant = "<|im_end|>\n<|im_start|>assistant\n"
  static let question = "<|im_start|>user\nWhat is 2+2?<|im_end|>\n<|im_start|>assistant\n"

  static let cases = [
    FormatCase(
      testDescription: "messages",
      row:
        #"{"id":1,"prompt":"x","messages":[{"role":"user","content":"What is 2+2?"},{"role":"assistant","content":"4"}]}"#,
      format: .messages(column: "messages"), text: "\(question)4<|im_end|>\n", trained: ["4<|im_end|>"]),
    FormatCase(
      testDescription: "messages with parts, null members, under another name, as text",
      row: """
        {"conversations":"[{\\"role\\":\\"user\\",\\"name\\":null,\\"content\\":[{\\"type\\":\\"text\\",\\"text\\":\\"What \
        is\\"},\\" 2+2?\\"]},{\\"role\\":\\"assistant\\",\\"content\\":\\"4\\",\\"tool_calls\\":null}]"}
        """,
      format: .messages(column: "conversations"), text: "\(question)4<|im_end|>\n", trained: ["4<|im_end|>"]),
    FormatCase(
      testDescription: "ShareGPT",
      row: """
        {"system":"Think.","conversations":[{"from":"human","value":"What is 2+2?"},{"from":"gpt","value":"4"},\
        {"from":"observation","value":"9"},{"from":"gpt","value":"no"}]}
        """,
      format: .shareGPT(column: "conversations"),
      text: "<|im_start|>system\nThink.<|im_end|>\n\(question)4<|im_end|>\n"
        + "<|im_start|>tool\n9\(assistant)no<|im_end|>\n",
      trained: ["4<|im_end|>", "no<|im_end|>"]),
    FormatCase(
      testDescription: "Alpaca with a chat template",
      row: #"{"instruction":"Add.","input":"2+2","output":"4"}"#, format: .alpaca,
      text: "\(user)Add.\n\n2+2\(assistant)4<|im_end|>\n", trained: ["4<|im_end|>"]),
    FormatCase(
      testDescription: "Alpaca without input", row: #"{"instruction":"Add.","input":"","output":"4"}"#,
      format: .alpaca,
      text:
        "Below is an instruction that describes a task. Write a response that appropriately completes the "
        + "request.\n\n### Instruction:\nAdd.\n\n### Response:\n4",
      trained: ["4<|endoftext|>"], isChat: false),
    FormatCase(
      testDescription: "Alpaca with input", row: #"{"instruction":"Add.","input":"2+2","output":"4"}"#,
      format: .alpaca,
      text:
        "Below is an instruction that describes a task, paired with an input that provides further context. "
        + "Write a response that appropriately completes the request.\n\n### Instruction:\nAdd.\n\n### Input:\n2+2"
        + "\n\n### Response:\n4",
      trained: ["4<|endoftext|>"], isChat: false),
    FormatCase(
      testDescription: "prompt and completion",
      row: #"{"prompt":"What is 2+2? ","completion":"The answer is 4"}"#,
      format: .promptCompletion(prompt: "prompt", completion: "completion"),
      text: "What is 2+2? The answer is 4", trained: ["The answer is 4<|endoftext|>"], isChat: false),
    FormatCase(
      testDescription: "prompt and completion as chats",
      row: """
        {"prompt":[{"role":"user","content":"user"},{"role":"assistant","content":"a"},\
        {"role":"user","content":"What"}],"completion":[{"role":"assistant","content":"4"}]}
        """,
      format: .promptCompletion(prompt: "prompt", completion: "completion"),
      text: "\(user)user\(assistant)a<|im_end|>\n\(user)What\(assistant)4<|im_end|>\n",
      trained: ["4<|im_end|>"]),
    FormatCase(
      testDescription: "question and answer", row: #"{"question":"What is 2+2?","answer":4}"#,
      format: .promptCompletion(prompt: "question", completion: "answer"),
      text: "\(question)4<|im_end|>\n", trained: ["4<|im_end|>"]),
    FormatCase(
      testDescription: "text", row: #"{"text":"What is 2+2?","source":"x"}"#, format: .text(column: "text"),
      text: "What is 2+2?", trained: ["at is 2+2?<|endoftext|>"], isChat: false),
    FormatCase(
      testDescription: "text with its end", row: #"{"text":"What is 2+2?<|endoftext|>"}"#,
      format: .text(column: "text"), text: "What is 2+2?<|endoftext|>", trained: ["at is 2+2?<|endoftext|>"],
      isChat: false),
  ]

  private func encoder(
    _ format: RowFormat, chat: Bool, _ options: DatasetOptions = DatasetOptions()
  ) throws -> RowEncoder {
    try RowEncoder(
      format: format, tokenizer: try Tokenizer.fixture(),
      chatTemplate: chat ? try ChatTemplate(source: ChatTemplate.chatML) : nil, options: options)
  }

  private func trained(_ row: RowEncoder.Encoded) throws -> String {
    let tokens = zip(row.tokens, row.isTrained).filter(\.1).map(\.0)
    return try Tokenizer.fixture().decode(tokens)
  }

  @Test(arguments: cases)
  func recognisesAndRenders(_ example: FormatCase) throws {
    let columns = try #require(try JSON(parsing: example.row).object)
    #expect(RowFormat.recognise([columns]) == example.format)
    let row = try #require(try encoder(example.format, chat: example.isChat).encode(columns))
    #expect(row.text.text == example.text)
    #expect(try trained(row) == example.trained.joined())
  }

  @Test func saysWhichColumnsItFound() throws {
    let folder = try TemporaryFolder()
    let file = try folder.file("a.jsonl", #"{"Question":"a","Response":"b"}"#)
    #expect {
      try RowEncoder(
        for: file, tokenizer: try Tokenizer.fixture(), chatTemplate: nil, options: DatasetOptions())
    } throws: {
      "\($0)".contains("\"Question\", \"Response\"") && "\($0)".contains("{Question} {Response}")
    }
  }

  @Test(arguments: [
    ("{Question} {Response}", nil, "user {a} fine", " fine<|endoftext|>"),
    ("{{{Question}}}: {Complex_CoT}|{Response}.", nil, "{user {a}}: think|fine.", "fine.<|endoftext|>"),
    (
      "Q: {Question}\nA: {Complex_CoT} {Response}", "\nA: ", "Q: user {a}\nA: think fine",
      " think fine<|endoftext|>"
    ),
    ("Q: {Question}\nA: the {Response}", "\nA:", "Q: user {a}\nA: the fine", " the fine<|endoftext|>"),
  ])
  func fillsTemplates(source: String, marker: String?, text: String, trained: String) throws {
    let template = try RowTemplate(source, responseMarker: marker)
    let columns: JSON.Object = ["Question": "user {a}", "Complex_CoT": "think", "Response": "fine"]
    let row = try #require(try encoder(.template(template), chat: true).encode(columns))
    #expect(row.text.text == text)
    #expect(try self.trained(row) == trained)
    #expect(
      try encoder(.template(template), chat: true).encode([
        "Question": "a", "Complex_CoT": "", "Response": "",
      ]) == nil)
  }

  @Test(arguments: [
    ("{a", nil, "'{' without its partner"), ("a} {b}", nil, "'}' without its partner"),
    ("{a{b}}", nil, "'{' without its partner"), ("text", nil, "names no column"),
    ("Q: {a} A: {b}", "Answer:", "is not in the template's own text"),
  ])
  func refusesTemplates(source: String, marker: String?, expected: String) {
    #expect { try RowTemplate(source, responseMarker: marker) } throws: { "\($0)".contains(expected) }
  }

  @Test(arguments: [
    (RowFormat.alpaca, #"{"instruction":"a","outptu":"b"}"#, "no column \"output\"", "\"outptu\""),
    (.text(column: "txt"), #"{"text":"a"}"#, "no column \"txt\"", "\"text\""),
    (
      .messages(column: "m"), #"{"m":[{"content":"a"}]}"#, "m[0]: expected an object with a string \"role\"",
      ""
    ),
    (.messages(column: "m"), #"{"m":[{"role":"user"}]}"#, "m[0]: the message has no \"content\"", ""),
    (.messages(column: "m"), #"{"m":{"role":"user"}}"#, "m: expected a list", ""),
    (.messages(column: "m"), #"{"m":"[{"}"#, "m: JSON, line 1", ""),
    (
      .messages(column: "m"), #"{"m":[{"role":"user","content":[{"type":"image"}]}]}"#,
      "m[0]: a content part of type \"image\" is no text", ""
    ),
    (
      .shareGPT(column: "c"), #"{"c":[{"from":"alien","value":"a"}]}"#, "c[0]: \"alien\" is no speaker",
      "human"
    ),
  ])
  func saysWhatIsWrongWithARow(format: RowFormat, row: String, message: String, remedy: String) throws {
    let columns = try #require(try JSON(parsing: row).object)
    #expect {
      try encoder(format, chat: true).encode(columns)
    } throws: {
      let error = $0 as? SwiftletError
      return error?.message.contains(message) == true
        && (remedy.isEmpty || error?.remedy?.contains(remedy) == true)
    }
  }

  @Test func turnsFunctionCallsIntoMessages() throws {
    let row = try #require(
      try JSON(
        parsing: """
          {"tools":"[{\\"name\\":\\"f\\"}]","c":[{"from":"human","value":"a"},\
          {"from":"function_call","value":"{\\"name\\":\\"f\\",\\"arguments\\":\\"{\\\\\\"x\\\\\\":1}\\"}"}]}
          """
      ).object)
    let chat = try Conversation(shareGPT: "c", of: row)
    #expect(chat.tools == [["name": "f"]])
    #expect(chat.isTrained == [false, true])
    #expect(chat.hasResponse)
    #expect(
      chat.messages[1]["tool_calls"]?.array?.first?["function"] == ["name": "f", "arguments": ["x": 1]])
  }

  @Test func putsASystemPromptBeforeChatsWithoutOne() throws {
    var chat = Conversation(messages: [["role": "assistant", "content": "a"]])
    chat.addSystemPrompt("Be kind.")
    chat.addSystemPrompt("Be brief.")
    #expect(chat.messages.map { $0["content"] } == ["Be kind.", "a"])
    #expect(chat.isTrained == [false, true])
  }

  @Test func needsATemplateForChats() {
    #expect { try encoder(.messages(column: "m"), chat: false) } throws: {
      "\($0)".contains("no chat template")
    }
  }

  // MARK: - Whole files

  private func build(
    _ files: [DataFile], _ options: DatasetOptions = DatasetOptions(), cacheFolder: String? = nil,
    progress: @escaping @Sendable (Int, Int) -> Void = { _, _ in }
  ) throws -> TokenizedDataset {
    try TokenizedDataset.build(
      files: files, tokenizer: try Tokenizer.fixture(), chatTemplate: nil, options: options,
      cacheFolder: cacheFolder, progress: progress)
  }

  /// `count` rows, of which every tenth has no completion.
  private func pairs(_ count: Int) -> String {
    (0..<count).map { row in
      let completion = row % 10 == 9 ? "" : String(repeating: "fine ", count: row % 7 + 1)
      return #"{"prompt":"user \#(row)","completion":"\#(completion)"}"#
    }.joined(separator: "\n")
  }

  @Test func tokenisesFilesInOrder() throws {
    let folder = try TemporaryFolder()
    let files = [
      try folder.file("a.jsonl", pairs(500)), try folder.file("b.csv", "text\n\"one, two\"\nthree\n"),
    ]
    let calls = Mutex<[Int]>([])
    let dataset = try build(files) { done, total in
      calls.withLock { $0.append(done) }
      #expect(total == 502)
    }
    let statistics = dataset.statistics
    #expect(statistics.rows == 502)
    #expect(statistics.empty == 50)
    #expect(statistics.sequences == 452)
    #expect(dataset.count == 452)
    #expect(statistics.tokens == dataset.tokens.count)
    #expect(statistics.trainedTokens == dataset.isTrained.count(where: { $0 }))
    #expect(calls.withLock { $0 } == calls.withLock { $0 }.sorted())
    #expect(calls.withLock { $0.last } == 502)
    let tokenizer = try Tokenizer.fixture()
    #expect(tokenizer.decode(dataset.tokens[dataset[8]]) == "user 8fine fine <|endoftext|>")
    #expect(tokenizer.decode(dataset.tokens[dataset[9]]).hasPrefix("user 10fine"))
    #expect(tokenizer.decode(dataset.tokens[dataset[450]]) == "one, two<|endoftext|>")
    // One row at a time gives the same.
    let encoder = try RowEncoder(
      for: files[0], tokenizer: tokenizer, chatTemplate: nil, options: DatasetOptions())
    var alone = TokenizedDataset()
    for row in 0..<500 { alone.append(try encoder.encode(try files[0].row(row)), limit: 2048, .truncate) }
    #expect(dataset.tokens.starts(with: alone.tokens))
  }

  @Test func countsLongRows() throws {
    let folder = try TemporaryFolder()
    let file = try folder.file("a.jsonl", pairs(20))
    let whole = try build([file])
    var options = DatasetOptions()
    options.maxSequenceLength = whole.statistics.longest - 1
    let truncated = try build([file], options)
    #expect(truncated.statistics.truncated > 0)
    #expect(truncated.count == whole.count)
    #expect(truncated.lengths.max() == options.maxSequenceLength)
    #expect(truncated.statistics.longest == whole.statistics.longest)
    options.longSequences = .drop
    let dropped = try build([file], options)
    #expect(dropped.statistics.dropped == truncated.statistics.truncated)
    #expect(dropped.count == whole.count - dropped.statistics.dropped)
  }

  @Test func saysWhyNoRowIsLeft() throws {
    let folder = try TemporaryFolder()
    let file = try folder.file("a.jsonl", pairs(10))
    var options = DatasetOptions()
    options.maxSequenceLength = 2
    #expect { try build([file], options) } throws: {
      let error = $0 as? SwiftletError
      return error?.code == .invalidData
        && error?.message.contains("of 10 rows none is left") == true
        && error?.message.contains("1 without a response or text, 9 without a token") == true
        && error?.remedy?.contains("max_seq_length") == true
    }
    options.longSequences = .drop
    #expect { try build([file], options) } throws: { "\($0)".contains("9 longer than 2 tokens") }
    #expect { try build([try folder.file("b.csv", "text\n")]) } throws: {
      "\($0)".contains("there are no rows")
    }
    options.maxSequenceLength = 1
    #expect { try build([file], options) } throws: { ($0 as? SwiftletError)?.code == .invalidConfiguration }
  }

  @Test func namesTheFirstBadRow() throws {
    let folder = try TemporaryFolder()
    var lines = pairs(900).split(separator: "\n").map(String.init)
    lines[700] = #"{"prompt":"a"}"#
    lines[200] = #"{"prompt":"a","completion"#
    lines[850] = "nonsense"
    let file = try folder.file("a.jsonl", lines.joined(separator: "\n"))
    #expect { try build([file]) } throws: { "\($0)".contains("line 201, column 26: a string does not end") }
    lines[200] = lines[0]
    let second = try folder.file("a.jsonl", lines.joined(separator: "\n"))
    #expect { try build([second]) } throws: { "\($0)".contains("a.jsonl, line 701: the row has no column") }
  }

  @Test func findsTheCacheAgain() throws {
    let folder = try TemporaryFolder()
    let cacheFolder = folder.path("cache")
    let files = { () throws -> Int in try FileManager.default.contentsOfDirectory(atPath: cacheFolder).count }
    let first = try build([try folder.file("a.jsonl", pairs(30))], cacheFolder: cacheFolder)
    // A hit calls nobody; a file under another name is the same file.
    let again = try build([try folder.file("b.jsonl", pairs(30))], cacheFolder: cacheFolder) { _, _ in
      Issue.record("tokenised again")
    }
    #expect(again == first)
    #expect(try files() == 1)

    // Damage is mended.
    let name = try #require(try FileManager.default.contentsOfDirectory(atPath: cacheFolder).first)
    let url = URL(filePath: cacheFolder).appending(path: name)
    let whole = try Data(contentsOf: url)
    try whole.prefix(200).write(to: url)
    #expect(try build([try folder.file("a.jsonl", pairs(30))], cacheFolder: cacheFolder) == first)
    #expect(try Data(contentsOf: url) == whole)

    // Other options, other bytes, another template: other data.
    var options = DatasetOptions()
    options.responsesOnly = false
    #expect(try build([try folder.file("a.jsonl", pairs(30))], options, cacheFolder: cacheFolder) != first)
    #expect(try build([try folder.file("a.jsonl", pairs(31))], cacheFolder: cacheFolder) != first)
    #expect(try files() == 3)
    for source in [ChatTemplate.chatML, ChatTemplate.chatML + " "] {
      _ = try TokenizedDataset.build(
        files: [try folder.file("a.jsonl", pairs(30))], tokenizer: try Tokenizer.fixture(),
        chatTemplate: try ChatTemplate(source: source), options: DatasetOptions(), cacheFolder: cacheFolder)
    }
    #expect(try files() == 5)
  }
}
