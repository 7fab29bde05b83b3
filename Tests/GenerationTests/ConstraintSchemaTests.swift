import Basics
import Testing

@testable import Generation

/// What single schemas allow and what they refuse.
@Suite struct ConstraintSchemaTests {
  struct Case: Sendable, CustomTestStringConvertible {
    let schema: JSON
    let allowed: [String]
    let refused: [String]

    init(_ schema: JSON, _ allowed: [String], not refused: [String]) {
      self.schema = schema
      self.allowed = allowed
      self.refused = refused
    }

    var testDescription: String { schema.text() }
  }

  static let objects: [Case] = [
    Case(
      ConstraintSchemas.person,
      [
        #"{"name":"x","age":3}"#, #"{"name": "x", "age": 150, "tags": ["a", "b"]}"#,
        "{\n  \"name\": \"\\u00e9\",\n  \"age\": 0,\n  \"email\": null\n}",
        #"{"name":"","age":3,"a/b~\"c":true}"#,
        #" {"name":"x","age":3}"#,
      ],
      not: [
        #"{"age":3,"name":"x"}"#, #"{"name":"x"}"#, #"{"name":"x","age":151}"#, #"{"name":"x","age":-1}"#,
        #"{"name":"x","age":3,"more":1}"#, #"{"name":"x","age":3,}"#, #"{"name":"x" "age":3}"#,
        #"{,"name":"x"}"#,
        #"{"name":"x","age":3.0}"#, #"{"name":"x","age":03}"#, #"{"name" : "x","age":3}"#,
        #"{"name":"x","age":3}}"#,
        #"{"name":"x","age":3,"email":4}"#, #"{"name":"x","name":"x","age":3}"#, "",
      ]),
    Case(
      ConstraintSchemas.excluded,
      [#"{"n":null,"na":1}"#, #"{"name":null,"names":1}"#, #"{"\n":1}"#, #"{"":0}"#, "{}"],
      not: [#"{"n":1}"#, #"{"name":1}"#, #"{"\u006e":1}"#, #"{"x":null}"#]),
    Case(
      ["type": "object", "properties": ["a": true]], [#"{"a":[{"b":1e5}]}"#, "{}", "{ }"],
      not: [#"{"b":1}"#]),
    Case(
      ["type": "object", "properties": ["a": false, "b": true]], [#"{"b":1}"#], not: [#"{"a":1}"#]),
    Case(
      ConstraintSchemas.joined, [#"{"a":4,"b":"","c":null}"#, #"{"a":10,"b":"","d":true}"#],
      not: [#"{"a":4,"b":""}"#, #"{"a":5,"b":"","c":null}"#, #"{"a":12,"b":"","c":null}"#]),
    // One schema forbids what the other's `additionalProperties` leaves to it.
    Case(
      [
        "allOf": [
          ["type": "object", "properties": ["a": ["type": "integer"]], "additionalProperties": false],
          ["properties": ["a": ["maximum": 5], "b": true]],
        ]
      ], [#"{"a":5}"#, "{}"], not: [#"{"b":1}"#, #"{"a":6}"#]),
    Case(
      ConstraintSchemas.tree,
      [#"{"value":1,"children":[{"value":2,"children":[]},{"value":3.5}]}"#],
      not: [#"{"value":1,"children":[{}]}"#]),
    // A member that nothing can fill is left out.
    Case(
      [
        "type": "object", "properties": ["a": ["$ref": "#/$defs/endless"], "b": ["const": 1]],
        "$defs": [
          "endless": ["type": "object", "properties": ["e": ["$ref": "#/$defs/endless"]], "required": ["e"]]
        ],
      ], [#"{"b":1}"#, "{}"], not: [#"{"a":{"#]),
  ]

  static let arrays: [Case] = [
    Case(
      ConstraintSchemas.tuple, ["[]", #"["a"]"#, #"["a",0.5,true]"#],
      not: [#"["a",2]"#, #"["a",0.5,true,1]"#]),
    Case(
      ["type": "array", "items": ["type": "boolean"], "minItems": 1, "maxItems": 3],
      ["[true]", "[true, false]", "[\n  true,\n  false,\n  true\n]"],
      not: ["[]", "[true,true,true,true]", "[true,]", "[1]"]),
    Case(["type": "array", "maxItems": 0], ["[]"], not: ["[1]"]),
    Case(["minItems": 2], ["[1,[]]", "[1,2,3]"], not: ["[1]", "2"]),
  ]

  static let numbers: [Case] = [
    Case(
      ["type": "integer"], ["0", "-1", "123456789012345678"], not: ["-0", "01", "1.0", "1e3", "+1", "-", ""]),
    Case(
      ["type": "number"], ["0", "-0.5", "1.25", "1e9", "-2.5E-07", "10"],
      not: ["1.", ".5", "1e", "00", "-", "1e400", "NaN", "-0"]),
    Case(
      ["type": "integer", "minimum": 17, "exclusiveMaximum": 1024], ["17", "99", "100", "1023"],
      not: ["16", "1024", "9", "-17", "1100", "2"]),
    Case(
      ["type": "integer", "minimum": -20, "maximum": -3], ["-20", "-3", "-10"], not: ["-21", "-2", "0", "3"]),
    Case(
      ["type": "number", "minimum": 0.25, "maximum": 1.5],
      ["0.25", "0.250", "1", "1.5", "1.50", "0.3", "1.49"],
      not: ["0", "0.2", "0.2499", "1.51", "1.501", "2", "-1", "1e0"]),
    Case(
      ["type": "number", "exclusiveMinimum": 0.25, "exclusiveMaximum": 1],
      ["0.251", "0.9", "0.99999", "0.2500001"],
      not: ["0.25", "0.250", "1", "1.0", "1.1"]),
    Case(["type": "integer", "multipleOf": 6], ["0", "6", "-12", "600"], not: ["1", "-13", "604"]),
    Case(["type": "number", "multipleOf": 0.1], ["1", "0.3", "12.5"], not: ["0.25", "1e5"]),
    Case(["type": "number", "multipleOf": 5, "minimum": 3], ["5", "10"], not: ["0", "5.0", "7"]),
  ]

  static let strings: [Case] = [
    Case(
      ["type": "string"], [#""é日🦥""#, #""\ud83e\udda5\n\/""#, #""\uD7ff\uE000""#],
      not: ["\"\n\"", #""\ud83e""#, #""\ud83ex""#, #""\udda5""#, #""\x41""#, "\"a", #""\u12g4""#]),
    Case(
      ["type": "string", "minLength": 2, "maxLength": 3],
      [#""ab""#, #""日本é""#, #""\u00e9\ud83e\udda5""#, #""\"\\""#],
      not: [#""a""#, #""abcd""#, #""🦥""#, #""\ud83e\udda5""#]),
    Case(
      ["pattern": "^[A-Z]{2,3}-\\d+$"], [#""AB-1""#, #""ABC-123""#], not: [#""A-1""#, #""AB-""#, #""xAB-1""#]),
    Case(["pattern": "b+"], [#""b""#, #""\"abba\n""#], not: [#""a""#, #""""#]),
    Case(["pattern": "^[^a-z\"]*$"], [#""A\\\n日🦥""#, #""""#], not: [#""a""#, #""\"""#]),
    Case(
      ["pattern": "^(a|[b-d]x){2}$|^\\.$"], [#""abx""#, #""cxa""#, #"".""#],
      not: [#""a""#, #""aaa""#, #""x""#]),
    Case(["pattern": "^\\u{1F600}[\\x41-C\\-]+?$"], [#""😀AB-""#], not: [#""😀D""#, #""A""#]),
    Case(
      ["pattern": "^.\\s\\S$"], [#""a\tb""#, #""\f\u00a0c""#.replacing("\\u00a0", with: "\u{A0}")],
      not: [#""\n\tb""#, #""abc""#]),
    Case(["pattern": "^a", "maxLength": 2], [#""a""#, #""a\n""#], not: [#""abc""#, #""b""#]),
    Case(
      ["format": "date"], [#""2024-02-29""#, #""1999-12-31""#],
      not: [#""2023-02-29""#, #""2024-13-01""#, #""2024-04-31""#]),
    Case(
      ["format": "date-time"], [#""2024-02-29T23:59:59Z""#, #""2024-01-01T00:00:00.5+02:00""#],
      not: [#""2024-01-01T24:00:00Z""#, #""2024-01-01 00:00:00Z""#]),
    Case(["format": "ipv4"], [#""192.168.0.255""#], not: [#""256.1.1.1""#, #""1.1.1""#]),
    Case(["format": "email"], [#""a.b+c@x-y.org""#], not: [#""a@b""#, #""@x.org""#]),
  ]

  static let choices: [Case] = [
    Case(
      ConstraintSchemas.shapes,
      [#"[{"kind":"circle","radius":0.1},{"kind":"square","side":2}]"#],
      not: [#"[{"kind":"circle","side":2}]"#, #"[{"kind":"circle","radius":0}]"#]),
    Case(["type": "string", "enum": ["a", "b", 3]], [#""a""#, #""b""#], not: ["3", #""c""#]),
    Case(["const": "x", "enum": ["x", "y"]], [#""x""#], not: [#""y""#]),
    Case(["type": "integer", "enum": [1, 2.5, 20]], ["1", "20"], not: ["2.5", "2"]),
    Case(
      ["const": ["a": [1, .object([:])]]], [#"{"a":[1,{}]}"#, #"{ "a": [1, {}] }"#], not: [#"{"a":[1]}"#]),
    Case(
      ["anyOf": [["type": "integer", "minimum": 5], ["type": "null"]], "maximum": 7], ["5", "7", "null"],
      not: ["8", "4"]),
    Case(
      ["anyOf": [["minimum": 2], ["pattern": "^a$"]], "type": ["string", "integer"]], ["2", #""a""#],
      not: ["2.5"]),
    Case(["type": ["boolean", "null"]], ["true", "null"], not: ["0", #""true""#]),
  ]

  @Test(arguments: objects + arrays + numbers + strings + choices)
  func allowsAndRefuses(_ example: Case) throws {
    let vocabulary = try ConstraintVocabulary.crossing.make()
    let constraint = try OutputConstraint(jsonSchema: example.schema, vocabulary: vocabulary)
    for text in example.allowed { #expect(constraint.accepts(text), "\(text)") }
    for text in example.refused { #expect(!constraint.accepts(text), "\(text)") }
  }

  // MARK: Errors

  static let refusedSchemas: [(schema: JSON, message: String)] = [
    (["type": "object", "properties": ["a": ["uniqueItems": true]]], "#/properties/a: 'uniqueItems'"),
    (["type": "object", "patternProperties": [:]], "#: 'patternProperties' is not supported"),
    (["not": ["type": "string"]], "'not' is not supported"),
    (["type": "text"], "'type' is \"text\"; it must be"),
    (["type": "string", "minLength": -1], "'minLength' must be a whole number"),
    (["$ref": "#/$defs/a"], "'$ref' is '#/$defs/a', which is not in the schema"),
    (["$ref": "other.json"], "it must point into the schema"),
    (["$ref": "#"], "refers to itself"),
    (["anyOf": [["$ref": "#"], ["type": "null"]]], "refers to itself"),
    (["allOf": [["$ref": "#"]], "type": "object"], "holds itself"),
    (["type": "object", "anyOf": [["$ref": "#"]]], "hold alternatives too deeply"),
    (["anyOf": []], "'anyOf' must not be empty"),
    (3, "a schema must be an object"),
    (
      ["type": "object", "properties": ["x": ["type": "number", "multipleOf": 0.3]]],
      "#/properties/x: 'multipleOf'"
    ),
    (["multipleOf": 0], "'multipleOf' must be greater than 0"),
    (["enum": ["a"], "minLength": 3], "beside 'enum'"),
    (["type": "string", "maxLength": 100_000], "'maxLength' is too large"),
    (
      ["type": "string", "pattern": "(a{99}){99}(b{99}){99}(c{99}){99}(d{99}){99}(e{99}){99}"],
      "too many states"
    ),
    (["type": "string", "pattern": "((a?){2000}){20}"], "too many states"),
    (["pattern": "(?=a)"], "the pattern '(?=a)' looks around"),
    (["pattern": "\\bx"], "has \\b, which is not supported"),
    (["pattern": "(a)\\1"], "has \\1, which is not supported"),
    (["pattern": "a$b"], "has '$' before its end"),
    (["pattern": "(^a)"], "has '^' elsewhere"),
    (["pattern": "[b-a]"], "out of order"),
    (["pattern": "a)"], "has a ')' too many"),
    (["pattern": "(a"], "has a '(' that is not closed"),
    (["pattern": "[a"], "has a '[' that is not closed"),
    (["pattern": "a{2,1}"], "that is no repetition"),
    (["pattern": "*"], "has a bare '*'"),
    (false, "allows no value"),
    (["type": "integer", "minimum": 5, "maximum": 4], "allows no value"),
    (["type": "object", "properties": ["a": ["$ref": "#"]], "required": ["a"]], "allows no value"),
    (["type": "object", "required": ["a"], "additionalProperties": false], "allows no value"),
  ]

  @Test(arguments: refusedSchemas.indices)
  func saysWhatItCannotObey(_ index: Int) throws {
    let vocabulary = try ConstraintVocabulary.crossing.make()
    let (schema, message) = Self.refusedSchemas[index]
    let error = #expect(throws: SwiftletError.self, "\(schema.text())") {
      try OutputConstraint(jsonSchema: schema, vocabulary: vocabulary)
    }
    #expect(error?.message.contains(message) ?? false, "\(error?.message ?? "") lacks \(message)")
  }
}
