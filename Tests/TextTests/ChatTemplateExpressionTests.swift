import Basics
import Foundation
import Testing

@testable import Text

/// Small templates against what Python's jinja2 renders; `Fixtures/chat_template_expressions.py` made them.
@Suite struct ChatTemplateExpressionTests {
  struct Row: Sendable, CustomTestStringConvertible {
    let template: String
    /// nil where Python raises an error.
    let text: String?
    var testDescription: String { template }
  }

  static let fixture = try? Fixture.json("chat_template_expressions.json")
  static let variables = fixture?["variables"]?.object ?? [:]
  static let rows = (fixture?["rows"]?.array ?? []).map {
    Row(template: $0["template"]?.string ?? "", text: $0["text"]?.string)
  }

  @Test func hasRows() { #expect(Self.rows.count > 600) }

  @Test(arguments: rows) func rendersAsPython(row: Row) throws {
    func render() throws -> String {
      try ChatTemplate(source: row.template).render(
        messages: [], addGenerationPrompt: false, variables: Self.variables)
    }
    guard let text = row.text else {
      #expect(throws: SwiftletError.self) { try render() }
      return
    }
    let rendered = try render()
    #expect(Array(rendered.utf8) == Array(text.utf8), "\(rendered)")
  }
}

enum Fixture {
  static let folder = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "Fixtures").path

  static func json(_ name: String) throws -> JSON {
    try JSON(parsing: Array(try Data(contentsOf: URL(filePath: folder + "/" + name))))
  }
}
