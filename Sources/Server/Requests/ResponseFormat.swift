import Swiftlet

/// What shape an answer is to have.
enum ResponseFormat: Equatable {
  case text
  /// Any JSON object.
  case jsonObject
  case jsonSchema(JSON)

  private enum Kind: String, CaseIterable {
    case text
    case jsonObject = "json_object"
    case jsonSchema = "json_schema"
  }

  init(_ fields: RequestFields) throws(APIError) {
    guard let format = try fields.object("response_format") else {
      self = .text
      return
    }
    switch try format.choice("type", of: Kind.self) {
    case nil: throw .invalid("'response_format.type' is missing.", param: "response_format.type")
    case .text: self = .text
    case .jsonObject: self = .jsonObject
    case .jsonSchema:
      guard let schema = try format.object("json_schema")?["schema"] else {
        throw .invalid(
          "'response_format.json_schema.schema' is missing.", param: "response_format.json_schema.schema")
      }
      self = .jsonSchema(schema)
    }
  }

  /// - Returns: nil for text.
  func constraint(_ vocabulary: TokenVocabulary) throws(APIError) -> OutputConstraint? {
    do {
      switch self {
      case .text: return nil
      case .jsonObject: return try OutputConstraint.anyObject(vocabulary: vocabulary)
      case .jsonSchema(let schema): return try OutputConstraint(jsonSchema: schema, vocabulary: vocabulary)
      }
    } catch {
      throw APIError(error, param: "response_format")
    }
  }
}
