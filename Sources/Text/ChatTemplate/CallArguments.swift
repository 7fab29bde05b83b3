extension Jinja {
  /// The arguments of a call of a function, method, filter or test.
  struct CallArguments {
    var positional: [Value] = []
    var named: [(name: String, value: Value)] = []

    /// The arguments in the order of `parameters`; nil where none was given.
    ///
    /// - Parameter required: how many of the first parameters must be given.
    func bound(
      to parameters: [String], required: Int = 0, in function: String
    ) throws(Failure) -> Bound {
      guard positional.count <= parameters.count else {
        throw Failure("\(function)() takes at most \(parameters.count) argument(s), got \(positional.count)")
      }
      var values: [Value?] = positional + Array(repeating: nil, count: parameters.count - positional.count)
      for (name, value) in named {
        guard let place = parameters.firstIndex(of: name) else {
          throw Failure("\(function)() got an unexpected keyword argument '\(name)'")
        }
        guard values[place] == nil else { throw Failure("\(function)() got '\(name)' twice") }
        values[place] = value
      }
      if let missing = values.prefix(required).firstIndex(where: { $0 == nil }) {
        throw Failure("\(function)() misses its argument '\(parameters[missing])'")
      }
      return Bound(function: function, parameters: parameters, values: values)
    }
  }

  /// Arguments by place, with the types that functions ask for.
  struct Bound {
    let function: String
    let parameters: [String]
    let values: [Value?]

    subscript(place: Int) -> Value? { values[place] }

    /// A required argument.
    func value(_ place: Int) throws(Failure) -> Value {
      guard let value = values[place] else {
        throw Failure("\(function)() misses its argument '\(parameters[place])'")
      }
      return value
    }

    func string(_ place: Int) throws(Failure) -> String {
      guard let text = try optionalString(place) else { throw mistyped(place, "a string") }
      return text
    }

    /// nil where nothing or `none` was given.
    func optionalString(_ place: Int) throws(Failure) -> String? {
      switch values[place] {
      case nil, .null: return nil
      case .string(let text): return text
      default: throw mistyped(place, "a string")
      }
    }

    func int(_ place: Int, else standard: Int? = nil) throws(Failure) -> Int {
      if let value = try optionalInt(place) { return value }
      guard let standard else { throw mistyped(place, "an integer") }
      return standard
    }

    /// nil where nothing or `none` was given.
    func optionalInt(_ place: Int) throws(Failure) -> Int? {
      switch values[place] {
      case nil, .null: return nil
      case let value?:
        guard let int = value.asInt else { throw mistyped(place, "an integer") }
        return int
      }
    }

    func flag(_ place: Int, else standard: Bool = false) -> Bool { values[place]?.isTrue ?? standard }

    private func mistyped(_ place: Int, _ expected: String) -> Failure {
      let type = values[place]?.typeName ?? "nothing"
      return Failure("\(function)(): '\(parameters[place])' must be \(expected), not \(type)")
    }
  }
}
