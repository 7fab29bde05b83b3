/// Evaluates expressions.
extension Jinja.Interpreter {
  typealias Value = Jinja.Value
  typealias Failure = Jinja.Failure
  typealias Expression = Jinja.Expression
  typealias Scope = Jinja.Scope

  func evaluate(_ expression: Expression, in scope: Scope) throws(Failure) -> Value {
    try nested(at: expression.span) { () throws(Failure) in try evaluate(expression.kind, in: scope) }
  }

  private func evaluate(_ kind: Expression.Kind, in scope: Scope) throws(Failure) -> Value {
    switch kind {
    case .none: return .null
    case .bool(let value): return .bool(value)
    case .int(let value): return .int(value)
    case .double(let value): return .double(value)
    case .string(let value): return .string(value)
    case .name(let name): return scope.lookup(name) ?? .undefined(.name(name))
    case .list(let items): return try adopt(.list(try evaluate(items, in: scope)))
    case .tuple(let items): return try adopt(.tuple(try evaluate(items, in: scope)))
    case .dict(let members): return try evaluateDict(members, in: scope)
    case .attribute(let operand, let name): return try evaluate(operand, in: scope).attribute(name)
    case .item(let operand, let key):
      return try evaluate(operand, in: scope).item(try evaluate(key, in: scope))
    case .slice(let operand, let start, let stop, let step):
      let value = try evaluate(operand, in: scope)
      return try adopt(
        try value.slice(
          try bound(start, in: scope), try bound(stop, in: scope), try bound(step, in: scope)))
    case .call: return try evaluateCall(kind, in: scope)
    case .filter(let operand, let name, let arguments):
      guard let operand else { throw Failure("the filter '\(name)' has nothing to work on") }
      return try applyFilter(name, to: try evaluate(operand, in: scope), arguments, in: scope)
    case .test(let operand, let name, let arguments):
      let value = try evaluate(operand, in: scope)
      return .bool(try Jinja.Tests.run(name, value, try evaluate(arguments, in: scope)))
    default: return try evaluateOperator(kind, in: scope)
    }
  }

  private func evaluateOperator(_ kind: Expression.Kind, in scope: Scope) throws(Failure) -> Value {
    switch kind {
    case .not(let operand): return .bool(!(try evaluate(operand, in: scope).isTrue))
    case .negative(let operand): return try evaluate(operand, in: scope).negated()
    case .positive(let operand): return try evaluate(operand, in: scope).asNumber("+")
    case .and(let left, let right):
      let value = try evaluate(left, in: scope)
      return value.isTrue ? try evaluate(right, in: scope) : value
    case .or(let left, let right):
      let value = try evaluate(left, in: scope)
      return value.isTrue ? value : try evaluate(right, in: scope)
    case .arithmetic(let operation, let left, let right):
      let value = try evaluate(left, in: scope)
      return try adopt(try value.arithmetic(operation, try evaluate(right, in: scope)))
    case .concatenation(let parts):
      var text = ""
      for part in parts { text += try evaluate(part, in: scope).text() }
      return try adopt(.string(text))
    case .comparison(let first, let rest): return try evaluateComparison(first, rest, in: scope)
    case .conditional(let condition, let then, let otherwise):
      if try evaluate(condition, in: scope).isTrue { return try evaluate(then, in: scope) }
      guard let otherwise else {
        return .undefined(.because("the inline if-expression was false and has no else"))
      }
      return try evaluate(otherwise, in: scope)
    default: preconditionFailure("evaluate(_:in:) handles the other kinds")
    }
  }

  private func evaluate(_ items: [Expression], in scope: Scope) throws(Failure) -> [Value] {
    var values: [Value] = []
    values.reserveCapacity(items.count)
    for item in items { values.append(try evaluate(item, in: scope)) }
    return values
  }

  private func evaluateDict(
    _ members: [(key: Expression, value: Expression)], in scope: Scope
  ) throws(Failure) -> Value {
    let dict = Jinja.Dict()
    for member in members {
      let key = try evaluate(member.key, in: scope)
      try dict.set(key, try evaluate(member.value, in: scope))
    }
    return try adopt(.dict(dict))
  }

  private func bound(_ expression: Expression?, in scope: Scope) throws(Failure) -> Int? {
    guard let expression else { return nil }
    let value = try evaluate(expression, in: scope)
    if case .null = value { return nil }
    guard let index = value.asInt else {
      throw Failure("slice bounds must be integers or None, not \(value.typeName)", at: expression.span)
    }
    return index
  }

  private func evaluateComparison(
    _ first: Expression, _ rest: [(Jinja.Comparison, Expression)], in scope: Scope
  ) throws(Failure) -> Value {
    var left = try evaluate(first, in: scope)
    for (comparison, expression) in rest {
      let right = try evaluate(expression, in: scope)
      if try !left.holds(comparison, right) { return .bool(false) }
      left = right
    }
    return .bool(true)
  }

  // MARK: Calls and filters

  func evaluate(_ arguments: Jinja.Arguments, in scope: Scope) throws(Failure) -> Jinja.CallArguments {
    var values = Jinja.CallArguments()
    values.positional = try evaluate(arguments.positional, in: scope)
    for (name, expression) in arguments.named {
      values.named.append((name, try evaluate(expression, in: scope)))
    }
    if let spread = arguments.spread {
      values.positional += try evaluate(spread, in: scope).elements()
    }
    if let spread = arguments.spreadNamed {
      guard case .dict(let dict) = try evaluate(spread, in: scope) else {
        throw Failure("what follows ** must be a dict", at: spread.span)
      }
      for entry in dict.entries {
        guard let name = entry.key.asString else {
          throw Failure("keywords must be strings", at: spread.span)
        }
        values.named.append((name, entry.value))
      }
    }
    return values
  }

  private func evaluateCall(_ kind: Expression.Kind, in scope: Scope) throws(Failure) -> Value {
    guard case .call(let callee, let arguments) = kind else { preconditionFailure("no call") }
    let function = try evaluate(callee, in: scope)
    return try call(function, try evaluate(arguments, in: scope))
  }

  /// The call of a `call` block, whose body the called macro gets as `caller`.
  func evaluateCall(
    _ expression: Expression, caller: Jinja.Function, in scope: Scope
  ) throws(Failure) -> Value {
    guard case .call(let callee, let arguments) = expression.kind else { preconditionFailure("no call") }
    return try nested(at: expression.span) { () throws(Failure) in
      let function = try evaluate(callee, in: scope)
      var values = try evaluate(arguments, in: scope)
      values.named.append(("caller", .function(caller)))
      return try call(function, values)
    }
  }

  func call(_ function: Value, _ arguments: Jinja.CallArguments) throws(Failure) -> Value {
    switch function {
    case .function(let function): return try adopt(try function.body(self, arguments))
    case .loop(let loop): return try loop(arguments)
    case .undefined(let missing): throw Failure(missing.message)
    default: throw Failure("'\(function.typeName)' object is not callable")
    }
  }

  private func applyFilter(
    _ name: String, to value: Value, _ arguments: Jinja.Arguments, in scope: Scope
  ) throws(Failure) -> Value {
    try adopt(try Jinja.Filters.apply(name, value, try evaluate(arguments, in: scope), self))
  }

  /// Applies the filters of a block to its text.
  func apply(_ filters: Expression, to text: Value, in scope: Scope) throws(Failure) -> Value {
    guard case .filter(let operand, let name, let arguments) = filters.kind else {
      throw Failure("only filters can be applied to a block", at: filters.span)
    }
    let value = if let operand { try apply(operand, to: text, in: scope) } else { text }
    return try nested(at: filters.span) { () throws(Failure) in
      try applyFilter(name, to: value, arguments, in: scope)
    }
  }
}
