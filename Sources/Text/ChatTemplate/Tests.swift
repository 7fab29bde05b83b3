extension Jinja {
  /// What `is` asks.
  enum Tests {
    private enum Test: String, CaseIterable {
      case defined, undefined, null = "none", string, number, integer, float, boolean
      case isTrue = "true"
      case isFalse = "false"
      case mapping, iterable, sequence, callable, escaped, filter, test
      case odd, even, lower, upper
      case divisibleby, sameas, isIn = "in"
      case equal = "eq"
      case notEqual = "ne"
      case less = "lt"
      case lessOrEqual = "le"
      case greater = "gt"
      case greaterOrEqual = "ge"

      var comparison: Comparison? {
        switch self {
        case .equal: .equal
        case .notEqual: .notEqual
        case .less: .less
        case .lessOrEqual: .lessOrEqual
        case .greater: .greater
        case .greaterOrEqual: .greaterOrEqual
        case .isIn: .isIn
        default: nil
        }
      }
    }

    private static let aliases = [
      "==": "eq", "equalto": "eq", "!=": "ne", "<": "lt", "lessthan": "lt", "<=": "le", ">": "gt",
      "greaterthan": "gt", ">=": "ge",
    ]

    private static func test(_ name: String) -> Test? { Test(rawValue: aliases[name] ?? name) }

    static func run(_ name: String, _ value: Value, _ arguments: CallArguments) throws(Failure) -> Bool {
      guard let test = test(name) else {
        throw Failure("no test named '\(name)'" + Filters.suggestion(name, Test.allCases.map(\.rawValue)))
      }
      if test == .divisibleby || test == .sameas || test.comparison != nil {
        let other = try arguments.bound(to: ["other"], in: name).value(0)
        if let comparison = test.comparison { return try value.holds(comparison, other) }
        if test == .sameas { return try value.isSame(as: other) }
        return try remainder(value, other).equals(.int(0))
      }
      _ = try arguments.bound(to: [], in: name)
      return try run(test, value)
    }

    private static func run(_ test: Test, _ value: Value) throws(Failure) -> Bool {
      switch test {
      case .odd: return try remainder(value, .int(2)).equals(.int(1))
      case .even: return try remainder(value, .int(2)).equals(.int(0))
      case .lower: return try StringMethod.islower.call(on: try value.text(), CallArguments()).isTrue
      case .upper: return try StringMethod.isupper.call(on: try value.text(), CallArguments()).isTrue
      case .filter: return value.asString.map(Filters.exists) ?? false
      case .test: return value.asString.map { self.test($0) != nil } ?? false
      default: return isOfKind(test, value)
      }
    }

    private static func remainder(_ value: Value, _ divisor: Value) throws(Failure) -> Value {
      try value.arithmetic(.modulo, divisor)
    }

    private static func isOfKind(_ test: Test, _ value: Value) -> Bool {
      switch (test, value) {
      case (.defined, _): !value.isUndefined
      case (.undefined, .undefined), (.null, .null), (.string, .string), (.mapping, .dict): true
      case (.integer, .int), (.float, .double), (.boolean, .bool): true
      case (.isTrue, .bool(let bool)): bool
      case (.isFalse, .bool(let bool)): !bool
      case (.number, .int), (.number, .double), (.number, .bool): true
      // An undefined value can be iterated over (there is nothing) and has a length (0).
      case (.iterable, .string), (.iterable, .list), (.iterable, .tuple), (.iterable, .dict): true
      case (.iterable, .undefined), (.iterable, .loop), (.sequence, .undefined): true
      case (.sequence, .string), (.sequence, .list), (.sequence, .tuple), (.sequence, .dict): true
      case (.callable, .function), (.callable, .loop), (.callable, .undefined): true
      default: false
      }
    }
  }
}
