import Basics

extension Schema {
  /// Reads the keywords of one place, all but `$ref` and `allOf`, which join others.
  ///
  /// - Throws: `.unsupported` for a keyword that is not known here, and `.invalidConfiguration` for a value that the
  ///   keyword cannot have.
  init(_ part: SchemaPart) throws(SwiftletError) {
    self.init(place: part.place)
    switch part.json {
    case .bool(true): break
    case .bool(false): kinds = []
    case .object(let members):
      for (keyword, value) in members {
        try read(KeywordReader(keyword: keyword, value: value, schema: part))
      }
    default: throw part.error(.invalidConfiguration, "a schema must be an object, true or false")
    }
  }

  /// Keywords that ask nothing of a value.
  static let remarks: Set<String> = [
    "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "discriminator",
    "$schema",
    "$id", "$comment", "$defs", "definitions", "contentEncoding", "contentMediaType",
  ]

  private mutating func read(_ keyword: KeywordReader) throws(SwiftletError) {
    switch keyword.keyword {
    case "type": kinds = try keyword.kinds()
    case "enum", "const":
      let allowed = keyword.keyword == "const" ? [keyword.value] : try keyword.list()
      values = values?.filter(allowed.contains) ?? allowed
    case "anyOf", "oneOf": alternatives.append(try keyword.parts())
    case "minLength", "maxLength", "pattern", "format":
      impliedKinds.insert(.string)
      try readString(keyword)
    case "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf":
      impliedKinds.formUnion([.number, .integer])
      try readNumber(keyword)
    case "items", "prefixItems", "minItems", "maxItems", "uniqueItems":
      impliedKinds.insert(.array)
      try readArray(keyword)
    case "properties", "required", "additionalProperties":
      impliedKinds.insert(.object)
      try readObject(keyword)
    case "$ref", "allOf": break
    case _ where Self.remarks.contains(keyword.keyword): break
    case _ where keyword.keyword.hasPrefix("x-"): break
    default: throw keyword.unsupported("is not supported")
    }
  }

  private mutating func readString(_ keyword: KeywordReader) throws(SwiftletError) {
    switch keyword.keyword {
    case "minLength": minLength = try keyword.count()
    case "maxLength": maxLength = try keyword.count()
    case "pattern": patterns.insert(try keyword.string())
    default:
      if let format = StringFormat(rawValue: try keyword.string()) { patterns.insert(format.pattern) }
    }
  }

  private mutating func readNumber(_ keyword: KeywordReader) throws(SwiftletError) {
    switch keyword.keyword {
    case "minimum": raiseMinimum(to: try keyword.bound(isExclusive: false))
    case "exclusiveMinimum": raiseMinimum(to: try keyword.bound(isExclusive: true))
    case "maximum": lowerMaximum(to: try keyword.bound(isExclusive: false))
    case "exclusiveMaximum": lowerMaximum(to: try keyword.bound(isExclusive: true))
    default:
      guard let factor = keyword.value.double, factor > 0 else {
        throw keyword.invalid("must be greater than 0")
      }
      multiples.insert(keyword.value.int.map { .int($0) } ?? keyword.value)
    }
  }

  private mutating func readArray(_ keyword: KeywordReader) throws(SwiftletError) {
    switch keyword.keyword {
    case "items":
      if keyword.value.array != nil {
        throw keyword.unsupported("may not be a list; prefixItems takes one")
      }
      items = [keyword.part]
    case "prefixItems": prefixItems = try keyword.parts().map { [$0] }
    case "minItems": minItems = try keyword.count()
    case "maxItems": maxItems = try keyword.count()
    default:
      if keyword.value != false { throw keyword.unsupported("is not supported") }
    }
  }

  private mutating func readObject(_ keyword: KeywordReader) throws(SwiftletError) {
    switch keyword.keyword {
    case "properties": properties = try keyword.members().map { ($0, [$1]) }
    case "required":
      for name in try keyword.list() {
        guard let name = name.string else { throw keyword.invalid("must be a list of names") }
        if !required.contains(name) { required.append(name) }
      }
    default: additional = [keyword.part]
    }
  }
}

/// The value of a keyword, as what the keyword needs.
struct KeywordReader {
  let keyword: String
  let value: JSON
  let schema: SchemaPart

  func unsupported(_ what: String) -> SwiftletError {
    schema.error(.unsupported, "'\(keyword)' \(what)")
  }

  func invalid(_ what: String) -> SwiftletError {
    schema.error(.invalidConfiguration, "'\(keyword)' \(what)")
  }

  /// The value as a schema.
  var part: SchemaPart { SchemaPart(json: value, place: schema.place + "/" + keyword) }

  func string() throws(SwiftletError) -> String {
    guard let text = value.string else { throw invalid("must be a string") }
    return text
  }

  func list() throws(SwiftletError) -> [JSON] {
    guard let elements = value.array else { throw invalid("must be a list") }
    return elements
  }

  /// A list of schemas.
  func parts() throws(SwiftletError) -> [SchemaPart] {
    let elements = try list()
    if elements.isEmpty { throw invalid("must not be empty") }
    return elements.enumerated().map { index, json in
      SchemaPart(json: json, place: "\(part.place)/\(index)")
    }
  }

  /// Schemas by name.
  func members() throws(SwiftletError) -> [(name: String, part: SchemaPart)] {
    guard let object = value.object else { throw invalid("must be an object") }
    return object.map { name, json in
      let escaped = name.replacing("~", with: "~0").replacing("/", with: "~1")
      return (name, SchemaPart(json: json, place: part.place + "/" + escaped))
    }
  }

  func count() throws(SwiftletError) -> Int {
    guard let count = value.int, count >= 0 else { throw invalid("must be a whole number from 0 on") }
    return count
  }

  func bound(isExclusive: Bool) throws(SwiftletError) -> NumberRange.Bound {
    guard value.double != nil else { throw invalid("must be a number") }
    guard let digits = DecimalDigits(value) else { throw unsupported("has too many digits") }
    return NumberRange.Bound(value: digits, isExclusive: isExclusive)
  }

  func kinds() throws(SwiftletError) -> Set<Schema.Kind> {
    var kinds: Set<Schema.Kind> = []
    for name in value.array ?? [value] {
      guard let kind = name.string.flatMap(Schema.Kind.init(rawValue:)) else {
        let known = Schema.Kind.allCases.map(\.rawValue).joined(separator: ", ")
        throw invalid("is \(name.text()); it must be one or more of \(known)")
      }
      kinds.insert(kind)
      if kind == .number { kinds.insert(.integer) }
    }
    return kinds
  }
}
