import Swiftlet

/// The members of a JSON object, read with complaints that name the member. Null counts as missing; members that
/// nobody asks for are let be.
struct RequestFields {
  let members: JSON.Object
  /// What leads here: "stream_options." inside of `stream_options`.
  private let path: String

  init(_ members: JSON.Object, path: String = "") {
    self.members = members
    self.path = path
  }

  /// - Throws: for a body that is no object.
  init(body: JSON) throws(APIError) {
    guard let members = body.object else { throw .invalid("The body must be a JSON object.") }
    self.init(members)
  }

  subscript(key: String) -> JSON? {
    guard let value = members[key], !value.isNull else { return nil }
    return value
  }

  func name(_ key: String) -> String { path + key }

  func string(_ key: String) throws(APIError) -> String? {
    try field(key, "a string") { $0.string }
  }

  func bool(_ key: String) throws(APIError) -> Bool? {
    try field(key, "true or false") { $0.bool }
  }

  func array(_ key: String) throws(APIError) -> [JSON]? {
    try field(key, "an array") { $0.array }
  }

  func object(_ key: String) throws(APIError) -> RequestFields? {
    try field(key, "an object") { $0.object }.map { RequestFields($0, path: name(key) + ".") }
  }

  func int(_ key: String, _ range: ClosedRange<Int>) throws(APIError) -> Int? {
    let expected =
      range.upperBound == .max
      ? "an integer of at least \(range.lowerBound)"
      : "an integer from \(range.lowerBound) to \(range.upperBound)"
    return try field(key, expected) { $0.int.flatMap { range.contains($0) ? $0 : nil } }
  }

  /// - Parameter aboveLower: whether the range's lower bound itself is not allowed.
  func number(
    _ key: String, _ range: ClosedRange<Double>, aboveLower: Bool = false
  ) throws(APIError) -> Double? {
    let lower = "\(aboveLower ? "above" : "at least") \(range.lowerBound)"
    let expected = "a number of \(lower)" + (range.upperBound.isFinite ? ", at most \(range.upperBound)" : "")
    return try field(key, expected) { value in
      guard let number = value.double, number.isFinite, range.contains(number) else { return nil }
      return aboveLower && number == range.lowerBound ? nil : number
    }
  }

  /// One value of an enumeration.
  func choice<Choice: RawRepresentable & CaseIterable>(
    _ key: String, of type: Choice.Type
  ) throws(APIError) -> Choice? where Choice.RawValue == String {
    let names = type.allCases.map { "'\($0.rawValue)'" }.joined(separator: ", ")
    return try field(key, "one of \(names)") { $0.string.flatMap(Choice.init(rawValue:)) }
  }

  /// A string, or an array of them.
  func strings(_ key: String) throws(APIError) -> [String]? {
    try field(key, "a string or an array of strings") { value in
      if let string = value.string { return [string] }
      guard let array = value.array else { return nil }
      let strings = array.compactMap(\.string)
      return strings.count == array.count ? strings : nil
    }
  }

  /// What is asked for but cannot be had.
  ///
  /// - Throws: when `key` has another value than `harmless`.
  func refuse(_ key: String, unless harmless: JSON...) throws(APIError) {
    guard let value = self[key], !harmless.contains(value) else { return }
    throw .invalid("'\(name(key))' is not supported.", param: name(key), code: "unsupported_parameter")
  }

  private func field<Value>(
    _ key: String, _ expected: String, _ read: (JSON) -> Value?
  ) throws(APIError) -> Value? {
    guard let value = self[key] else { return nil }
    guard let read = read(value) else {
      throw .invalid("Invalid value for '\(name(key))': \(value.excerpt); it must be \(expected).", param: name(key))
    }
    return read
  }
}

extension JSON {
  /// As much of the value's text as an error message bears.
  var excerpt: String {
    let text = text()
    return text.count > 60 ? text.prefix(57) + "..." : text
  }
}
