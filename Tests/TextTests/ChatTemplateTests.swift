import Basics
import Foundation
import Testing

@testable import Text

@Suite struct ChatTemplateTests {
  static func render(_ source: String, _ variables: JSON.Object = [:]) throws -> String {
    try ChatTemplate(source: source, name: "t").render(
      messages: [], addGenerationPrompt: false, variables: variables)
  }

  static func message(_ source: String, _ variables: JSON.Object = [:]) -> String {
    do {
      return try "no error: " + render(source, variables)
    } catch {
      return "\(error)"
    }
  }

  // MARK: Errors

  @Test(arguments: [
    ("a\n{{ x.y.z }}", "t, line 2 (`x.y`): 'x' is undefined"),
    (
      "{% set m = {} %}\n\n{{ 'a' + m.content }}",
      "t, line 3 (`'a' + m.content`): 'dict object' has no attribute 'content'"
    ),
    ("{{ raise_exception('no ' + 'way') }}", "t, line 1 (`raise_exception('no ' + 'way')`): no way"),
    ("{% if 1 %}\n{% for x in 5 %}{% endfor %}{% endif %}", "t, line 2 (`5`): 'int' object is not iterable"),
    ("{% macro f() %}\n{{ 1 / 0 }}{% endmacro %}\n{{ f() }}", "t, line 2 (`1 / 0`): division by zero"),
    ("{{ 'a' | uper }}", "t, line 1 (`'a' | uper`): no filter named 'uper'; did you mean 'upper'?"),
    ("{{ 1 is defind }}", "t, line 1 (`1 is defind`): no test named 'defind'; did you mean 'defined'?"),
    ("x\n{% if a %}b", "t, line 2 (`if a`): the block is not closed: expected 'elif' or 'else' or 'endif'"),
    ("{% elif x %}", "t, line 1 (`elif`): unknown statement 'elif'"),
    ("{{ a b }}", "t, line 1 (`b`): expected the end of the expression, found 'b'"),
    ("{{ a", "t, line 1 (`{{ a`): the tag is not closed by '}}'"),
    ("\n{# a", "t, line 2 (`{# a`): the comment is not closed by '#}'"),
    ("{% include 'x' %}", "t, line 1 (`include`): 'include' needs templates in several files"),
    ("{% set x.y = 1 %}", "t, line 1 (`set x.y = 1`): cannot set an attribute of 'x': it is no namespace"),
    ("{{ missing | tojson }}", "cannot write an undefined value as JSON: 'missing' is undefined"),
  ])
  func namesLineAndExpression(source: String, expected: String) {
    #expect(Self.message(source).contains(expected), "\(Self.message(source))")
  }

  /// Python keeps surrogates apart, and cannot write them; a pair is the character that it stands for, as in JSON.
  @Test(arguments: [
    (#"\ud83d\ude00"#, "\u{1F600}"), (#"\ud83d\u0041"#, "\u{FFFD}A"), (#"\ud83dx"#, "\u{FFFD}x"),
    (#"\ude00\ud83d"#, "\u{FFFD}\u{FFFD}"),
  ])
  func joinsSurrogatePairs(escaped: String, text: String) throws {
    #expect(try Self.render("{{ \"\(escaped)\" }}") == text)
  }

  @Test func shortensLongExpressions() {
    let source = "{{ x.y ~ '" + String(repeating: "a", count: 500) + "\n' }}"
    #expect(Self.message(source).hasPrefix("t, line 1 (`x.y`)"))
    let long = "{{ f('" + String(repeating: "a", count: 500) + "') }}"
    #expect(Self.message(long).utf8.count < 160)
  }

  @Test func saysWhatIsUnsupported() {
    #expect { try ChatTemplate(source: "{% extends 'base' %}") } throws: {
      ($0 as? SwiftletError)?.code == .unsupported
    }
  }

  // MARK: Limits

  @Test(arguments: [
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{% set ns = namespace(s='aaaaaaaa') %}{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
    "{% set ns = namespace(s='aaaaaaaa') %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
    "{% set ns = namespace(s=[1]) %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
    "{% set ns = namespace(s=[1]) %}{% for i in range(99) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s }}",
    "{% set ns = namespace(s=1) %}{% for i in range(99) %}{% set ns.s = {1: ns.s, 2: ns.s} %}{% endfor %}{{ ns.s|tojson }}",
    "{% set ns = namespace(s=1) %}{% for i in range(999) %}{% set ns.s = [ns.s] %}{% endfor %}{{ ns.s|tojson }}",
    "{{ 'a' * 999999999999 }}", "{{ [1] * 999999999999 }}", "{{ 'a' | center(999999999999) }}",
    "{{ 'a'.ljust(999999999999) }}", "{{ '%999999999999d' % 1 }}", "{{ '{:999999999999}'.format(1) }}",
    "{{ 'a' | indent(999999999999, true) }}", "{{ [1] | tojson(indent=999999999999) }}",
    "{{ range(999999999) }}", "{{ range(-9223372036854775807, 9223372036854775807) }}",
    "{{ [1] | batch(9223372036854775807, 0) }}", "{{ 9223372036854775807 + 1 }}",
    "{{ -9223372036854775807 - 2 }}", "{{ 9 ** 99 }}", "{{ (-9223372036854775807 - 1) // -1 }}",
    "{% set a = [] %}{% set _ = a.append(a) %}{{ a }}",
    "{% set d = {} %}{% set _ = d.update(d=d) %}{{ d == d.copy() }}{{ d | tojson }}",
    "{{ " + String(repeating: "(", count: 9999) + "1" + String(repeating: ")", count: 9999) + " }}",
    "{{ " + String(repeating: "not ", count: 9999) + "1 }}",
    "{{ " + String(repeating: "-", count: 9999) + "1 }}",
    "{{ a" + String(repeating: ".a", count: 9999) + " }}",
    "{{ 1" + String(repeating: "+ 1", count: 9999) + " }}",
    "{{ 1" + String(repeating: " | abs", count: 9999) + " }}",
    String(repeating: "{% if 1 %}", count: 999) + String(repeating: "{% endif %}", count: 999),
    "{% set " + String(repeating: "(", count: 9999) + "a %}",
    "{{ 'a' | replace('', 'b' * 999999) | replace('', 'c' * 99999) }}",
  ])
  func stopsRunaways(source: String) {
    #expect(throws: SwiftletError.self) {
      var template = try ChatTemplate(source: source)
      template.stepBudget = 200_000
      _ = try template.render(messages: [], addGenerationPrompt: false)
    }
  }

  @Test func freesDeepNestsAndCycles() throws {
    let nest = "{% set ns = namespace(s=1) %}{% for i in range(90000) %}{% set ns.s = [ns.s] %}{% endfor %}"
    #expect(try Self.render(nest) == "")
    let chain =
      "{% set ns = namespace(l=[]) %}{% for i in range(90000) %}{% set m = [] %}"
      + "{% set _ = ns.l.append(m) %}{% set ns.l = m %}{% endfor %}"
    #expect(try Self.render(chain) == "")
  }

  @Test func freesEveryValue() throws {
    weak var freed: Jinja.List?
    do {
      let list = Jinja.List([])
      freed = list
      let source = "{% set _ = l.append(l) %}{% macro f() %}{{ l }}{% endmacro %}{% set _ = l.append(f) %}"
      _ = try Jinja.Interpreter(try Jinja.Parser.parse(source), clock: { Date() }).run(
        variables: ["l": .list(list)])
    }
    #expect(freed == nil)
  }

  // MARK: Environment

  @Test func asksTheClock() throws {
    var template = try ChatTemplate(source: "{{ strftime_now('%Y %B %d %%') }}{{ strftime_now('') }}")
    template.clock = { Date(timeIntervalSince1970: 951_825_600) }  // noon, 29 February 2000
    #expect(try template.render(messages: [], addGenerationPrompt: false) == "2000 February 29 %")
  }

  @Test func givesToolsAndDocumentsAsNone() throws {
    let source = "{{ tools is none }}{{ documents is none }}{{ tools is defined }}{{ bos_token is defined }}"
    #expect(try Self.render(source) == "TrueTrueTrueFalse")
  }

  @Test func rendersEveryTimeTheSame() throws {
    let template = try ChatTemplate(source: "{% set _ = messages.append(1) %}{{ messages | length }}")
    for _ in 0..<2 {
      #expect(try template.render(messages: ["a"], addGenerationPrompt: false) == "2")
    }
  }

  // MARK: Generation blocks

  @Test func countsRangesInBytes() throws {
    let template = try ChatTemplate(
      source: "é{% for m in messages %}{% generation %}{{ m }}ü{% endgeneration %}|{% endfor %}")
    #expect(template.marksGeneration)
    let (text, ranges) = try template.renderWithGenerationRanges(
      messages: ["日", ""], addGenerationPrompt: false)
    #expect(text == "é日ü|ü|")
    #expect(ranges == [2..<7, 8..<10])
  }

  @Test func refusesRangesInsideCaptures() throws {
    let template = try ChatTemplate(
      source: "{% macro f() %}{% generation %}a{% endgeneration %}{% endmacro %}{{ f() }}")
    #expect(try template.render(messages: [], addGenerationPrompt: false) == "a")
    #expect { try template.renderWithGenerationRanges(messages: [], addGenerationPrompt: false) } throws: {
      ($0 as? SwiftletError)?.code == .unsupported
    }
  }

  // MARK: Fuzzing

  /// Cut and shuffled templates must give a text or an error, never a crash.
  @Test func survivesDamagedTemplates() throws {
    let seeds = ChatTemplateExpressionTests.rows.map { Array($0.template.unicodeScalars) }
    var random = SplitMix(state: 1)
    for _ in 0..<3000 {
      var source = seeds.randomElement(using: &random) ?? []
      for _ in 0..<Int.random(in: 1...3, using: &random) where !source.isEmpty {
        let other = seeds.randomElement(using: &random) ?? []
        let at = Int.random(in: 0..<source.count, using: &random)
        switch Int.random(in: 0..<3, using: &random) {
        case 0: source.removeSubrange(at..<min(source.count, at + Int.random(in: 1...4, using: &random)))
        case 1: source.insert(contentsOf: other.prefix(Int.random(in: 0...9, using: &random)), at: at)
        default: source.insert(contentsOf: other.suffix(Int.random(in: 0...20, using: &random)), at: at)
        }
      }
      _ = Self.message(Jinja.string(source), ChatTemplateExpressionTests.variables)
    }
  }
}

/// SplitMix64 (Steele, Lea and Flood 2014): every run damages the same templates.
private struct SplitMix: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}

@Suite struct ChatTemplateFileTests {
  /// What the template of a folder with these files renders; nil when there is none.
  private func render(_ files: [String: String], named: String? = nil) throws -> String? {
    let folder = FileManager.default.temporaryDirectory.appending(path: "chat-\(UUID().uuidString)")
    defer { try? FileManager.default.removeItem(at: folder) }
    for (name, text) in files {
      let file = folder.appending(path: name)
      try FileManager.default.createDirectory(
        at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
      try text.write(to: file, atomically: true, encoding: .utf8)
    }
    let template = try ChatTemplate.load(folder: folder.path, named: named)
    return try template?.render(messages: [], addGenerationPrompt: false)
  }

  static let config = #"{"chat_template": "config"}"#
  static let list =
    #"{"chat_template": [{"name": "default", "template": "a"}, {"name": "tool_use", "template": "b"}]}"#
  static let several = ["chat_template.jinja": "m", "additional_chat_templates/rag.jinja": "r"]

  @Test func looksInOrder() throws {
    #expect(try render(["chat_template.jinja": "file", "tokenizer_config.json": Self.config]) == "file")
    #expect(try render(["tokenizer_config.json": Self.config]) == "config")
    #expect(try render(["chat_template.json": Self.config, "tokenizer_config.json": "{}"]) == "config")
    #expect(try render(["tokenizer_config.json": "{}"]) == nil)
  }

  @Test func findsNamedTemplates() throws {
    #expect(try render(["tokenizer_config.json": Self.list]) == "a")
    #expect(try render(["tokenizer_config.json": Self.list], named: "tool_use") == "b")
    #expect(try render(Self.several) == "m")
    #expect(try render(Self.several, named: "rag") == "r")
  }

  @Test(arguments: [
    (#"{"chat_template": "{{ x "}"#, "tokenizer_config.json, line 1 (`{{ x `)"),
    (#"{"chat_template": 5}"#, "must be a text or a list"),
    (#"{"chat_template": [{"name": "x"}]}"#, "must have a name and a template"),
    (#"{"chat_template": [{"name": "rag", "template": ""}]}"#, "The folder has: rag."),
    ("{", "tokenizer_config.json: JSON, line 1"),
  ])
  func namesTheFile(config: String, expected: String) {
    #expect { try render(["tokenizer_config.json": config]) } throws: { "\($0)".contains(expected) }
  }
}
