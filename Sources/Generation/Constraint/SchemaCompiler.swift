import Basics

/// Turns a JSON schema into a grammar: a rule for each place that is no small constant.
///
/// Where a schema leaves open what a text may be, the grammar takes the narrower reading: an object with `properties`
/// has no others unless `additionalProperties` speaks of them, likewise an array after its `prefixItems`, and keywords
/// for one kind of value without a `type` mean that kind.
struct SchemaCompiler {
  let root: SchemaPart
  private var rules = Grammar()
  /// Rules by the places of the parts they were made from.
  private var known: [[String]: ByteExpression] = [:]
  /// How many alternatives of the present rule are being joined with what stands beside them.
  private var depth = 0

  init(_ schema: JSON) { root = SchemaPart(json: schema, place: "#") }

  /// - Throws: `.unsupported` and `.invalidConfiguration`, naming the place in the schema.
  mutating func grammar() throws(SwiftletError) -> Grammar {
    let start = rules.reserve()
    let body = try expression(for: [root])
    rules.define(start, as: .sequence([JSONSyntax.space, body]))
    return rules
  }

  // MARK: - Rules

  /// What all of `parts` allow, as a call of a rule if it is not small.
  mutating func expression(for parts: [SchemaPart]) throws(SwiftletError) -> ByteExpression {
    let parts = try distinct(parts)
    let places = parts.map(\.place)
    if let expression = known[places] { return expression }
    let schema = try joined(parts)
    if schema.isSmall {
      let expression = try values(of: schema)
      known[places] = expression
      return expression
    }
    let shared = schema.sharedPlace
    if let shared, let expression = known[[shared]] { return expression }
    let rule = rules.reserve()
    known[shared.map { [$0] } ?? places] = .rule(rule)
    let outerDepth = depth
    depth = 0
    defer { depth = outerDepth }
    rules.define(rule, as: try values(of: schema))
    return .rule(rule)
  }

  /// A rule that many places share, made when it is first needed.
  mutating func sharedRule(_ name: String, _ body: ByteExpression) -> ByteExpression {
    if let expression = known[[name]] { return expression }
    let rule = rules.reserve()
    rules.define(rule, as: body)
    known[[name]] = .rule(rule)
    return .rule(rule)
  }

  /// The values that `schema` allows.
  private mutating func values(of schema: Schema) throws(SwiftletError) -> ByteExpression {
    if let alternatives = schema.alternatives.first {
      var rest = schema
      rest.alternatives.removeFirst()
      return try choice(of: alternatives, beside: rest)
    }
    if let values = schema.values {
      if !schema.impliedKinds.isEmpty {
        throw SwiftletError(
          .unsupported,
          "JSON schema, \(schema.place): beside 'enum' or 'const' only 'type' is supported")
      }
      return .choice(values.filter { schema.kinds.contains(kind(of: $0)) }.map(JSONSyntax.literal))
    }
    var options: [ByteExpression] = []
    let kinds = schema.writtenKinds
    if kinds.contains(.object) { options.append(try object(schema)) }
    if kinds.contains(.array) { options.append(try array(schema)) }
    if kinds.contains(.string) { options.append(try string(schema)) }
    if kinds.contains(.integer) { options.append(try number(schema, isInteger: !kinds.contains(.number))) }
    if kinds.contains(.boolean) { options += [.literal("true"), .literal("false")] }
    if kinds.contains(.null) { options.append(.literal("null")) }
    return .choice(options)
  }

  private mutating func choice(
    of alternatives: [SchemaPart], beside rest: Schema
  ) throws(SwiftletError) -> ByteExpression {
    depth += 1
    defer { depth -= 1 }
    if depth > 8 {
      throw SwiftletError(
        .unsupported, "JSON schema, \(rest.place): alternatives hold alternatives too deeply, or themselves")
    }
    var options: [ByteExpression] = []
    for alternative in alternatives {
      if rest.isOpen {
        options.append(try expression(for: [alternative]))
      } else {
        var schema = rest
        schema.formIntersection(try joined(try distinct([alternative])))
        options.append(try values(of: schema))
      }
    }
    return .choice(options)
  }

  private func kind(of value: JSON) -> Schema.Kind {
    switch value {
    case .null: .null
    case .bool: .boolean
    case .int: .integer
    case .double: value.int == nil ? .number : .integer
    case .string: .string
    case .array: .array
    case .object: .object
    }
  }
}

extension Schema {
  /// The kinds of value to be written.
  var writtenKinds: Set<Kind> {
    let isTyped = kinds.count < Kind.allCases.count
    return isTyped || impliedKinds.isEmpty ? kinds : impliedKinds
  }

  /// Whether the values are a few words, which need no rule of their own.
  var isSmall: Bool {
    alternatives.isEmpty && (values.map { $0.count < 8 } ?? kinds.isSubset(of: [.boolean, .null]))
  }

  /// Whether nothing is asked, other alternatives aside.
  var isOpen: Bool {
    kinds.count == Kind.allCases.count && impliedKinds.isEmpty && values == nil && alternatives.isEmpty
  }

  /// A name for schemas that many places have, so that they share a rule and what is known of its masks.
  var sharedPlace: String? {
    guard alternatives.isEmpty, values == nil, impliedKinds.isEmpty else { return nil }
    return "any " + kinds.map(\.rawValue).sorted().joined(separator: " or ")
  }
}
