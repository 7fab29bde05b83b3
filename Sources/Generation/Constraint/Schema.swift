import Basics

/// A schema, or a part of one, and where it stands (a JSON pointer).
struct SchemaPart: Hashable {
  var json: JSON
  var place: String

  func error(_ code: SwiftletError.Code, _ what: String) -> SwiftletError {
    SwiftletError(code, "JSON schema, \(place): \(what)")
  }
}

/// What a schema asks of a value, all keywords of a place together.
///
/// A subschema is a list of parts that must all hold, since `allOf` joins schemas; it is read when it is needed, since
/// schemas may hold themselves.
struct Schema {
  enum Kind: String, CaseIterable {
    case object, array, string, number, integer, boolean, null
  }

  var place: String
  /// A number may be an integer: where there is the one there is the other.
  var kinds = Set(Kind.allCases)
  /// Kinds that keywords without a `type` speak of.
  var impliedKinds: Set<Kind> = []
  /// `enum` and `const`.
  var values: [JSON]?
  /// `anyOf` and `oneOf`: of each list one must hold.
  var alternatives: [[SchemaPart]] = []

  var minLength = 0
  var maxLength: Int?
  var patterns: Set<String> = []

  var minimum: NumberRange.Bound?
  var maximum: NumberRange.Bound?
  var multiples: Set<JSON> = []

  var prefixItems: [[SchemaPart]] = []
  var items: [SchemaPart]?
  var minItems = 0
  var maxItems: Int?

  var properties: [(name: String, parts: [SchemaPart])] = []
  var required: [String] = []
  var additional: [SchemaPart]?

  init(place: String) { self.place = place }

  /// What any of the properties must be: its own schema or that of properties which have none.
  func property(_ name: String) -> [SchemaPart] {
    properties.first { $0.name == name }?.parts ?? additional ?? []
  }

  func item(_ index: Int) -> [SchemaPart] {
    index < prefixItems.count ? prefixItems[index] : items ?? []
  }
}

extension Schema {
  /// Asks what `other` asks as well.
  mutating func formIntersection(_ other: Schema) {
    kinds.formIntersection(other.kinds)
    impliedKinds.formUnion(other.impliedKinds)
    if let values = other.values { self.values = (self.values ?? values).filter(values.contains) }
    alternatives += other.alternatives

    minLength = max(minLength, other.minLength)
    maxLength = [maxLength, other.maxLength].compactMap(\.self).min()
    patterns.formUnion(other.patterns)

    if let bound = other.minimum { raiseMinimum(to: bound) }
    if let bound = other.maximum { lowerMaximum(to: bound) }
    multiples.formUnion(other.multiples)

    prefixItems = (0..<max(prefixItems.count, other.prefixItems.count)).map { item($0) + other.item($0) }
    items = Self.joined(items, other.items)
    minItems = max(minItems, other.minItems)
    maxItems = [maxItems, other.maxItems].compactMap(\.self).min()

    let names = properties.map(\.name)
    let added = other.properties.map(\.name).filter { !names.contains($0) }
    properties = (names + added).map { ($0, property($0) + other.property($0)) }
    required += other.required.filter { !required.contains($0) }
    additional = Self.joined(additional, other.additional)
  }

  private static func joined(_ a: [SchemaPart]?, _ b: [SchemaPart]?) -> [SchemaPart]? {
    a == nil && b == nil ? nil : (a ?? []) + (b ?? [])
  }

  mutating func raiseMinimum(to bound: NumberRange.Bound) {
    guard let known = minimum, !(known.value < bound.value) else { return minimum = bound }
    if known.value == bound.value, bound.isExclusive { minimum = bound }
  }

  mutating func lowerMaximum(to bound: NumberRange.Bound) {
    guard let known = maximum, !(bound.value < known.value) else { return maximum = bound }
    if known.value == bound.value, bound.isExclusive { maximum = bound }
  }
}
