import Testing

@testable import Basics

@Suite struct JSONTests {
  @Test func keepsOrderAndKinds() throws {
    let text = #"{"z":1,"a":[1.5,true,null,"é\n\u00e9\ud83d\ude00"],"m":{}}"#
    let value = try JSON(parsing: text)
    #expect(value.object?.keys == ["z", "a", "m"])
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

  /// "é" as one scalar and as two: equal as Swift's strings, but not as keys.
  @Test func keysAreBytes() throws {
    let (composed, decomposed) = ("\u{e9}", "e\u{301}")
    let text = "{\"\(decomposed)\":1,\"\(composed)\":2}"
    var object = try #require(try JSON(parsing: text).object)
    #expect(object[decomposed] == 1)
    #expect(object[composed] == 2)
    #expect(JSON.object(object).text().utf8.elementsEqual(text.utf8))
    object[composed] = 3
    object[decomposed] = nil
    #expect(Array(object.map(\.value)) == [3])
    #expect(JSON.object([composed: 1]) != JSON.object([decomposed: 1]))
    #expect { try JSON(parsing: #"{"\u00e9":1,"é":2}"#) } throws: { "\($0)".contains("stands twice") }
  }

  @Test func mergesInPlace() {
    var object: JSON.Object = ["a": 1, "b": 2]
    #expect(object.filter { $0.value == 2 } == ["b": 2])
    #expect(object == ["a": 1, "b": 1, "b": 2] && object != ["b": 2, "a": 1])
    object.merge(["c": 3, "a": 4])
    #expect(object == ["a": 4, "b": 2, "c": 3])
  }

  @Test func suggestsTheNearest() {
    #expect(nearest(to: "learning_rat", in: ["learning_rate", "lora_alpha"]) == "learning_rate")
    #expect(nearest(to: "unrelated", in: ["learning_rate", "lora_alpha"]) == nil)
  }
}
