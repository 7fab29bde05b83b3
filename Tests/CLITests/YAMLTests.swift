import Swiftlet
import Testing

@testable import CLI

@Suite struct YAMLTests {
  @Test(
    arguments: [
      ("1", .int(1)), ("-7", -7), ("0x10", 16), ("1.5", 1.5), ("1.0e-3", 0.001), (".inf", .double(.infinity)),
      ("true", true), ("off", false), ("~", nil), ("", nil), ("\"1\"", "1"), ("'true'", "true"),
      ("all-linear", "all-linear"),
      ("2024-01-01", "2024-01-01"), ("99999999999999999999", "99999999999999999999"),
      ("[1, a, [2.5]]", [1, "a", [2.5]]),
      ("- 1\n- x: y\n", [1, ["x": "y"]]),
      ("z: 1\na:\n  b: [true]\n1: one\n", ["z": 1, "a": ["b": [true]], "1": "one"]),
      ("text: |\n  {q}\n  {a}\n", ["text": "{q}\n{a}\n"]),
      ("a: &x {r: 1}\nb: *x", ["a": ["r": 1], "b": ["r": 1]]),
    ] as [(String, JSON)])
  func keepsKinds(yaml: String, expected: JSON) throws {
    #expect(try JSON(yaml: yaml, source: "c") == expected)
  }

  @Test(arguments: [
    ("a: 1\nb: [1", "c.yaml, line 3, column 1: did not find expected ',' or ']'"),
    ("a: 1\n  b: 2", "c.yaml, line 2, column 4: mapping values are not allowed in this context"),
    ("a: 1\na: 2", "'a' stands twice in the mapping"),
    ("a: 1\n? [b]\n: 2", "c.yaml, line 2, column 3: a key must be"),
    ("a: \"x", "c.yaml, line 1"), ("a: \t- b", "c.yaml, line 1"), ("a: *nowhere", "c.yaml, line 1, column 4"),
    ("a: 1\n---\nb: 2", "c.yaml, line 2"),
  ])
  func namesThePlace(yaml: String, expected: String) {
    #expect {
      try JSON(yaml: yaml, source: "c.yaml")
    } throws: { error in
      let error = error as? SwiftletError
      return error?.code == .malformedFile && error?.message.contains(expected) == true
    }
  }
}
