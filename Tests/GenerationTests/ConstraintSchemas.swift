import Basics

/// Schemas of every kind that constraints support.
enum ConstraintSchemas {
  static let all: [JSON] = [
    ["type": "object"],
    true,
    ["type": "array"],
    ["type": ["string", "null"]],
    ["type": "string", "minLength": 2, "maxLength": 5],
    ["type": "string", "maxLength": 3],
    ["type": "string", "minLength": 4],
    ["enum": ["red", "green \"x\"", 1, 2.5, nil, true, ["a": [1, "b"]], [], .object([:]), "日本\n"]],
    ["type": "string", "enum": ["a", "b", 3]],
    ["const": ["kind": "fixed", "list": [1, 2]]],
    person, tree, shapes, joined, tuple, numbers, patterns, formats, defaults, nested, excluded,
    ["type": "array", "items": ["type": "integer"], "minItems": 2, "maxItems": 4],
    ["type": "array", "prefixItems": [["const": 1], ["const": 2]], "items": ["const": 3], "minItems": 1],
    ["type": "array", "prefixItems": [["const": 1]], "items": ["const": 3], "minItems": 3, "maxItems": 5],
    ["type": "array", "items": false],
    ["type": "integer", "multipleOf": 7, "minimum": -50, "maximum": 1000],
    ["type": "number", "multipleOf": 0.01, "minimum": 0],
    ["anyOf": [["type": "integer"], ["type": "number"], ["type": "string"]]],
    [
      "type": "array",
      "items": ["anyOf": [["type": "array", "items": ["$ref": "#"]], ["$ref": "#"], ["type": "null"]]],
    ],
  ]

  static let person: JSON = [
    "type": "object",
    "properties": [
      "name": ["type": "string"], "age": ["type": "integer", "minimum": 0, "maximum": 150],
      "email": ["type": ["string", "null"]], "tags": ["type": "array", "items": ["type": "string"]],
      "a/b~\"c": ["type": "boolean"],
    ],
    "required": ["name", "age"], "additionalProperties": false,
  ]

  static let tree: JSON = [
    "$defs": [
      "node": [
        "type": "object",
        "properties": [
          "value": ["type": "number"], "children": ["type": "array", "items": ["$ref": "#/$defs/node"]],
        ],
        "required": ["value"],
      ]
    ],
    "$ref": "#/$defs/node",
  ]

  static let shapes: JSON = [
    "type": "array",
    "items": [
      "oneOf": [
        [
          "type": "object",
          "properties": ["kind": ["const": "circle"], "radius": ["type": "number", "exclusiveMinimum": 0]],
          "required": ["kind", "radius"],
        ],
        [
          "type": "object",
          "properties": [
            "kind": ["const": "square"], "side": ["type": "number", "minimum": 0.5, "maximum": 2],
          ],
          "required": ["kind", "side"],
        ],
      ]
    ],
  ]

  static let joined: JSON = [
    "allOf": [
      ["type": "object", "properties": ["a": ["type": "number", "minimum": 2]], "required": ["a"]],
      ["properties": ["a": ["maximum": 10, "multipleOf": 2], "b": ["type": "string"]], "required": ["b"]],
    ],
    "properties": ["c": ["type": "null"]],
    "anyOf": [["required": ["c"]], ["properties": ["d": ["type": "boolean"]], "required": ["d"]]],
  ]

  static let tuple: JSON = [
    "type": "array",
    "prefixItems": [
      ["type": "string"], ["type": "number", "minimum": -1, "maximum": 1], ["type": "boolean"],
    ],
  ]

  static let numbers: JSON = [
    "type": "object",
    "properties": [
      "p": ["type": "number", "minimum": 0, "maximum": 1],
      "q": ["type": "number", "exclusiveMaximum": -0.25],
      "r": ["type": "number", "exclusiveMinimum": 99.5, "exclusiveMaximum": 100.25], "s": ["type": "integer"],
      "t": ["type": "integer", "exclusiveMinimum": -3, "exclusiveMaximum": 3], "u": ["type": "number"],
      "v": ["type": "integer", "minimum": 98765, "maximum": 123_456],
      "w": ["type": "number", "minimum": -12.5, "maximum": 1e-3], "x": ["type": "integer", "minimum": 2.5],
      "y": ["type": "integer", "minimum": -9_223_372_036_854_775_808, "maximum": 9_223_372_036_854_775_807],
    ],
    "required": ["p", "q", "r", "s", "t", "u", "v", "w", "x", "y"],
  ]

  static let patterns: JSON = [
    "type": "object",
    "properties": [
      "a": ["pattern": "^[A-Z]{2,3}-\\d+$"], "b": ["pattern": "^[^x]?(foo|bär)+$"],
      "c": ["pattern": "^[^a-z\"]*$"],
      "d": ["pattern": "^(?:\\w+@\\w+\\.(com|org)|none)$", "maxLength": 12],
      "e": ["pattern": "^\\w{0,3}x[ \\t]y\\d?$"],
      "f": ["pattern": "^[\\u3040-\\u309f日本]{1,4}$"], "g": ["pattern": "^\"\\\\.?\\n$|^t\\.$"],
      "h": ["pattern": "^[^x]{3}$", "minLength": 2], "i": ["pattern": "^ax?|^x?b$"],
    ],
    "required": ["a", "b", "c", "d", "e", "f", "g", "h", "i"],
  ]

  static let formats: JSON = [
    "type": "object",
    "properties": [
      "a": ["type": "string", "format": "date"], "b": ["type": "string", "format": "date-time"],
      "c": ["type": "string", "format": "uuid"], "d": ["type": "string", "format": "email"],
      "e": ["type": "string", "format": "ipv4"], "f": ["type": "string", "format": "uri"],
      "g": ["type": "string", "format": "time"],
    ],
    "required": ["a", "b", "c", "d", "e", "f", "g"],
  ]

  /// Without `type`, and with members that only `required` names.
  static let defaults: JSON = [
    "properties": ["a": ["minLength": 1]], "required": ["z", "a"],
    "additionalProperties": ["type": "integer"],
  ]

  static let nested: JSON = [
    "title": "What a function is called with", "type": "object",
    "properties": [
      "function": ["enum": ["search", "open", "close", "read", "write", "seek", "tell", "stat", "sync"]],
      "arguments": ["type": "object", "additionalProperties": true],
      "next": ["$ref": "#", "description": "The call after this one"],
      "limit": ["anyOf": [["type": "integer", "minimum": 1], ["type": "null"]], "default": nil],
    ],
    "required": ["function", "arguments"], "additionalProperties": false,
  ]

  static let excluded: JSON = [
    "type": "object", "properties": ["n": ["type": "null"], "name": ["type": "null"]],
    "additionalProperties": ["type": "integer"],
  ]
}
