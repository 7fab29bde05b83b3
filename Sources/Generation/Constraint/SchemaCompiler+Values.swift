import Basics

/// Values of each kind.
extension SchemaCompiler {
  // MARK: Objects

  /// Members in the order of the schema; those that are not required may be left out.
  mutating func object(_ schema: Schema) throws(SwiftletError) -> ByteExpression {
    // A required member need not be among `properties`.
    let names = schema.properties.map(\.name)
    let members = names + schema.required.filter { !names.contains($0) }
    var graph = ByteExpression.Graph()
    // State 3i is reached without any of the members before i, 3i + 1 with some, 3i + 2 with the comma if one is needed.
    for (index, name) in members.enumerated() {
      let (none, some, next) = (3 * index, 3 * index + 1, 3 * index + 2)
      let value = try expression(for: schema.property(name))
      graph.edges += [
        (none, .empty, next), (some, JSONSyntax.comma, next),
        (next, .sequence([JSONSyntax.literal(.string(name)), JSONSyntax.colon, value]), some + 3),
      ]
      if !schema.required.contains(name) {
        graph.edges += [(none, .empty, none + 3), (some, .empty, some + 3)]
      }
    }
    let (none, some) = (3 * members.count, 3 * members.count + 1)
    graph.accepting = [none, some]
    let additional = schema.additional ?? (schema.properties.isEmpty ? [] : nil)
    if let additional {
      let value = try expression(for: additional)
      let member = ByteExpression.sequence([JSONSyntax.key(excluding: members), JSONSyntax.colon, value])
      graph.edges += [(none, member, some), (some, .sequence([JSONSyntax.comma, member]), some)]
    }
    return JSONSyntax.bracketed("{", .graph(graph), "}")
  }

  // MARK: Arrays

  mutating func array(_ schema: Schema) throws(SwiftletError) -> ByteExpression {
    var graph = ByteExpression.Graph()
    // State i: i items are written.
    let hasRest =
      schema.items != nil || schema.prefixItems.isEmpty || schema.minItems > schema.prefixItems.count
    let most = schema.maxItems ?? (hasRest ? nil : schema.prefixItems.count)
    let chain = most ?? max(schema.prefixItems.count, schema.minItems, 1)
    guard chain <= Self.maximumCount else {
      let keyword = schema.maxItems == nil ? "minItems" : "maxItems"
      throw tooLarge(keyword, schema)
    }
    for index in 0..<chain where hasRest || index < schema.prefixItems.count {
      let item = try expression(for: schema.item(index))
      graph.edges.append((index, index == 0 ? item : .sequence([JSONSyntax.comma, item]), index + 1))
    }
    if most == nil {
      let item = try expression(for: schema.item(chain))
      graph.edges.append((chain, .sequence([JSONSyntax.comma, item]), chain))
    }
    graph.accepting = chain < schema.minItems ? [] : Array(schema.minItems...chain)
    return JSONSyntax.bracketed("[", .graph(graph), "]")
  }

  /// Counts are states.
  private static let maximumCount = 5_000

  private func tooLarge(_ keyword: String, _ schema: Schema) -> SwiftletError {
    SwiftletError(
      .unsupported,
      "JSON schema, \(schema.place): '\(keyword)' is too large; at most \(Self.maximumCount) is supported")
  }

  // MARK: Strings

  mutating func string(_ schema: Schema) throws(SwiftletError) -> ByteExpression {
    let (least, most) = (schema.minLength, schema.maxLength)
    for (keyword, length) in [("minLength", least), ("maxLength", most ?? 0)]
    where length > Self.maximumCount {
      throw tooLarge(keyword, schema)
    }
    let isBounded = least > 0 || most != nil
    if let most, most < least { return .nothing }
    var body: ByteExpression?
    for pattern in schema.patterns.sorted() {
      let expression = try PatternParser.parse(pattern, place: schema.place)
      body = body.map { .both($0, expression) } ?? expression
    }
    if let body {
      let length = ByteExpression.repeated(ScalarSet.all.inString, min: least, max: most)
      return JSONSyntax.quoted(isBounded ? .both(body, length) : body)
    }
    guard isBounded else { return JSONSyntax.string }
    // What escapes can be is the same after each of the many characters.
    let escape = sharedRule("escape", JSONSyntax.escapedCharacter)
    let character = ByteExpression.choice([JSONSyntax.plainCharacter, escape])
    return JSONSyntax.quoted(.repeated(character, min: least, max: most))
  }

  // MARK: Numbers

  func number(_ schema: Schema, isInteger: Bool) throws(SwiftletError) -> ByteExpression {
    var range = NumberRange(minimum: schema.minimum, maximum: schema.maximum, isInteger: isInteger)
    var factors: [Int] = []
    for multiple in schema.multiples {
      if let factor = multiple.int, factor <= Self.maximumCount {
        range.isInteger = true
        if factor > 1 { factors.append(factor) }
      } else if let places = Self.powerOfTenth(multiple) {
        range.fractionLimit = min(range.fractionLimit, places)
      } else {
        throw SwiftletError(
          .unsupported,
          "JSON schema, \(schema.place): 'multipleOf' is \(multiple.text()); integers up to \(Self.maximumCount) and "
            + "0.1, 0.01, ... are supported")
      }
    }
    return factors.sorted().reduce(range.expression) { .both($0, Self.multiples(of: $1)) }
  }

  /// How many digits after the point the multiples of 0.1, 0.01 and so on have.
  private static func powerOfTenth(_ value: JSON) -> Int? {
    guard let digits = DecimalDigits(value), digits.whole == [0], digits.fraction.last == 1,
      digits.fraction.dropLast().allSatisfy({ $0 == 0 })
    else { return nil }
    return digits.fraction.count
  }

  /// Digits by the remainder of what they spell.
  private static func multiples(of factor: Int) -> ByteExpression {
    var graph = ByteExpression.Graph()
    for remainder in 0..<factor {
      for digit in 0..<10 {
        let byte = UInt8(ascii: "0") + UInt8(digit)
        graph.edges.append((remainder, .range(byte...byte), (10 * remainder + digit) % factor))
      }
    }
    graph.accepting = [0]
    return .sequence([.optional(.literal("-")), .graph(graph)])
  }
}
