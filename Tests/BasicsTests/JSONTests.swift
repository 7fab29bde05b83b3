import Testing

@testable import Basics

@Suite struct JSONTests {
  @Test func keepsOrderAndKinds() throws {
    let text = #"{"z":1,"a":[1.5,true,null,"é\n\u00e9\ud83d\ude00"],"m":{}}"#
    let value = try JSON(parsing: text)
    #expect(value.object?.keys.elements == ["z", "a", "m"])
    #expect(value["z"] == .int(1))
    #expect(value["a"]?.array?[3].string == "é\né😀")
    #expect(value.text() == #"{"z":1,"a":[1.5,true,null,"é\né😀"],"m":{}}"#)
    #expect(value.text(.spaced) == #"{"z": 1, "a": [1.5, true, null, "é\né😀"], "m": {}}"#)
    #expect(try JSON(parsing: value.text(.indented(2))) == value)
  }

  @Test(arguments: [
    (#"{"a":1"#, "line 1, column 7"), ("[1,\n 2,\n x]", "line 3, column 2"),
    (#"{"a":1,"a":2}"#, "stands twice"),
    (#""\q""#, "no escape"), ("\"a\nb\"", "control character"), ("[1] 2", "end of the text"),
    ("1.", "no number"),
    (String(repeating: "[", count: 300), "nested deeper"), ("", "found the end"),
  ])
  func namesThePlace(text: String, expected: String) {
    #expect { try JSON(parsing: text) } throws: { "\($0)".contains(expected) }
  }

  @Test func suggestsTheNearest() {
    #expect(nearest(to: "learning_rat", in: ["learning_rate", "lora_alpha"]) == "learning_rate")
    #expect(nearest(to: "unrelated", in: ["learning_rate", "lora_alpha"]) == nil)
  }
}
