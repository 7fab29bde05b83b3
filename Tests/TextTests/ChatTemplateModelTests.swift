import Basics
import Foundation
import Testing

@testable import Text

/// The templates of well-known models, over many conversations, against what transformers renders;
/// `Fixtures/chat_template_models.py` made the expected texts.
@Suite struct ChatTemplateModelTests {
  struct Case: Sendable, CustomTestStringConvertible {
    let model: String
    let conversation: String
    let prompt: Bool
    let text: String?
    let ranges: [[Int]]?
    let error: String?
    var testDescription: String { "\(model): \(conversation)" }
  }

  static let fixture = try? Fixture.json("chat_template_models.json")
  static let cases = (fixture?["cases"]?.array ?? []).map { one in
    Case(
      model: one["model"]?.string ?? "", conversation: one["conversation"]?.string ?? "",
      prompt: one["prompt"]?.bool ?? false, text: one["text"]?.string,
      ranges: one["ranges"]?.array?.map { $0.array?.compactMap(\.int) ?? [] }, error: one["error"]?.string)
  }

  static func template(_ model: String) throws -> (source: String, template: ChatTemplate) {
    let path = Fixture.folder + "/chat_template_models/\(model).jinja"
    let source = try String(contentsOfFile: path, encoding: .utf8)
    var template = try ChatTemplate(source: source, name: model)
    let now = Date(timeIntervalSince1970: fixture?["now"]?.double ?? 0)
    template.clock = { now }
    return (source, template)
  }

  @Test func hasCases() {
    #expect(Self.cases.count > 300)
    #expect(Self.cases.contains { $0.ranges?.isEmpty == false })
  }

  @Test(arguments: cases) func rendersAsTransformers(one: Case) throws {
    let (source, template) = try Self.template(one.model)
    var variables = Self.fixture?["conversations"]?[one.conversation]?.object ?? [:]
    let messages = variables.removeValue(forKey: "messages") ?? []
    let tools = variables.removeValue(forKey: "tools")
    variables["bos_token"] = "<s>"
    variables["eos_token"] = "</s>"
    do {
      let (text, ranges) = try template.renderWithGenerationRanges(
        messages: messages, addGenerationPrompt: one.prompt, tools: tools, variables: variables)
      #expect(Array(text.utf8) == Array((one.text ?? "an error: \(one.error ?? "")").utf8), "\(text)")
      #expect(template.marksGeneration == (one.ranges != nil))
      #expect(ranges.map { [$0.lowerBound, $0.upperBound] } == one.ranges ?? [])
    } catch {
      let expected = try #require(one.error, "\(error)")
      #expect(error.code == .template)
      #expect(error.message.hasPrefix("\(one.model), line "))
      // Python's own messages are worded otherwise; the template's and Jinja's are the same.
      if source.contains(expected) || expected.contains("has no") {
        #expect(error.message.contains(expected))
      }
    }
  }
}
