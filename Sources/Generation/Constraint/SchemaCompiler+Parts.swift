import Basics

/// How schemas are found and joined.
extension SchemaCompiler {
  /// The parts, each once, and what they refer to in place of mere references.
  func distinct(_ parts: [SchemaPart]) throws(SwiftletError) -> [SchemaPart] {
    var seen: Set<String> = []
    var distinct: [SchemaPart] = []
    for part in parts {
      let target = try followed(part)
      if seen.insert(target.place).inserted { distinct.append(target) }
    }
    return distinct
  }

  /// What all of `parts` ask, with what they refer to and `allOf` brings in.
  func joined(_ parts: [SchemaPart]) throws(SwiftletError) -> Schema {
    var schema = Schema(place: parts.first?.place ?? root.place)
    for part in parts { try join(part, to: &schema, inside: []) }
    return schema
  }

  private func join(
    _ part: SchemaPart, to schema: inout Schema, inside open: [String]
  ) throws(SwiftletError) {
    if open.contains(part.place) { throw part.error(.unsupported, "the schema holds itself") }
    let open = open + [part.place]
    if part.json["$ref"] != nil { try join(try target(of: part), to: &schema, inside: open) }
    if let all = part.json["allOf"] {
      let reader = KeywordReader(keyword: "allOf", value: all, schema: part)
      for member in try reader.parts() { try join(member, to: &schema, inside: open) }
    }
    // The properties of what a schema builds on come before its own.
    schema.formIntersection(try Schema(part))
  }

  /// What a chain of references that have nothing but remarks beside them ends at.
  private func followed(_ part: SchemaPart) throws(SwiftletError) -> SchemaPart {
    var part = part
    var seen: Set<String> = []
    while let members = part.json.object, members["$ref"] != nil,
      members.keys.allSatisfy({ $0 == "$ref" || Schema.remarks.contains($0) })
    {
      if !seen.insert(part.place).inserted { throw part.error(.unsupported, "'$ref' refers to itself") }
      part = try target(of: part)
    }
    return part
  }

  /// The schema to which `$ref` points.
  private func target(of part: SchemaPart) throws(SwiftletError) -> SchemaPart {
    guard let reference = part.json["$ref"]?.string else {
      throw part.error(.invalidConfiguration, "'$ref' must be a string")
    }
    guard reference == "#" || reference.hasPrefix("#/") else {
      throw part.error(
        .unsupported, "'$ref' is '\(reference)'; it must point into the schema, as in #/$defs/name")
    }
    var found = SchemaPart(json: root.json, place: reference)
    for step in reference.split(separator: "/").dropFirst() {
      let key = String(step).replacing("~1", with: "/").replacing("~0", with: "~")
      let index = Int(key)
      let next = found.json.array.flatMap { list in
        index.flatMap { list.indices.contains($0) ? list[$0] : nil }
      }
      guard let json = found.json[key] ?? next else {
        throw part.error(.invalidConfiguration, "'$ref' is '\(reference)', which is not in the schema")
      }
      found.json = json
    }
    return found
  }
}
