import Foundation

extension Jinja {
  /// Runs a program once. This file holds the statements; expressions are in `Evaluator.swift`.
  final class Interpreter {
    let program: Program
    let clock: @Sendable () -> Date
    /// What has been written: the rendered text, or inside a macro or a block `set` that block's text.
    private var output = ""
    /// Blocks around the current place whose output does not go straight to the rendered text.
    private var captures = 0
    /// UTF-8 ranges of the `generation` blocks.
    private(set) var generationRanges: [Range<Int>] = []
    /// The first `generation` block inside a capture, whose place in the text is unknown.
    private(set) var capturedGeneration: Span?
    private let stepBudget: Int
    private var steps = 0
    private var depth = 0
    private var heap: [Container] = []

    init(_ program: Program, clock: @escaping @Sendable () -> Date, stepBudget: Int = Limits.steps) {
      self.program = program
      self.clock = clock
      self.stepBudget = stepBudget
    }

    func run(variables: [String: Value]) throws(Failure) -> String {
      defer { for container in heap { container.empty() } }
      let globals = Scope(nil)
      globals.variables = Globals.all
      let root = Scope(globals)
      root.variables = variables
      _ = try execute(program.body, in: root)
      return output
    }

    // MARK: Budgets

    func charge(_ amount: Int = 1) throws(Failure) {
      steps += amount
      if steps > stepBudget { throw Failure("the template did not end within \(stepBudget) steps") }
    }

    /// Counts a new value against the budgets and remembers it, so that it is emptied in the end.
    func adopt(_ value: Value) throws(Failure) -> Value {
      switch value {
      case .string(let text):
        try Limits.check(text: text.utf8.count)
        try charge(text.utf8.count >> 10)
      case .list(let list), .tuple(let list):
        try charge(list.items.count)
        remember(list)
      case .dict(let dict):
        try charge(dict.entries.count)
        remember(dict)
      case .namespace(let namespace): remember(namespace)
      default: break
      }
      return value
    }

    /// Has a container emptied in the end.
    func remember(_ container: Container) { heap.append(container) }

    /// Runs `body` one level deeper and says where it failed.
    func nested<Result>(
      at span: Span, _ body: () throws(Failure) -> Result
    ) throws(Failure) -> Result {
      depth += 1
      defer { depth -= 1 }
      do throws(Failure) {
        if depth > Limits.depth { throw Failure("calls and blocks nest deeper than \(Limits.depth) levels") }
        try charge()
        return try body()
      } catch {
        throw error.located(at: span)
      }
    }

    // MARK: Statements

    /// How a statement ended.
    enum Flow {
      case onward
      case leaveLoop
      case nextIteration
    }

    func execute(_ statements: [Statement], in scope: Scope) throws(Failure) -> Flow {
      for statement in statements {
        let flow = try nested(at: statement.span) { () throws(Failure) in
          try execute(statement.kind, statement.span, in: scope)
        }
        if flow != .onward { return flow }
      }
      return .onward
    }

    private func execute(
      _ statement: Statement.Kind, _ span: Span, in scope: Scope
    ) throws(Failure) -> Flow {
      switch statement {
      case .text(let text): try write(text)
      case .output(let expression): try write(try evaluate(expression, in: scope).text())
      case .branch(let branches, let otherwise):
        for branch in branches where try evaluate(branch.condition, in: scope).isTrue {
          return try execute(branch.body, in: scope)
        }
        return try execute(otherwise, in: scope)
      case .loop(let loop): try run(loop, in: scope)
      case .set(let target, let expression):
        try assign(try evaluate(expression, in: scope), to: target, in: scope)
      case .capture(let target, let filters, let body):
        var value = Value.string(try captured(body, in: Scope(scope)))
        if let filters { value = try apply(filters, to: value, in: scope) }
        try assign(value, to: target, in: scope)
      case .macro(let macro): scope.variables[macro.name] = .function(function(macro, in: scope))
      case .call(let call, let caller):
        let value = try evaluateCall(call, caller: function(caller, in: scope), in: scope)
        try write(try value.text())
      case .filter(let filters, let body):
        let text = Value.string(try captured(body, in: Scope(scope)))
        try write(try apply(filters, to: text, in: scope).text())
      case .with(let assignments, let body): return try runWith(assignments, body, in: scope)
      case .generation(let body): try runGeneration(body, span, in: scope)
      case .leaveLoop: return .leaveLoop
      case .nextIteration: return .nextIteration
      }
      return .onward
    }

    private func write(_ text: String) throws(Failure) {
      try Limits.check(text: output.utf8.count + text.utf8.count)
      output += text
    }

    /// What `body` writes.
    func captured(_ body: [Statement], in scope: Scope) throws(Failure) -> String {
      try captured { () throws(Failure) in _ = try execute(body, in: scope) }
    }

    func captured(_ body: () throws(Failure) -> Void) throws(Failure) -> String {
      let outer = output
      output = ""
      captures += 1
      defer {
        output = outer
        captures -= 1
      }
      try body()
      return output
    }

    private func runWith(
      _ assignments: [(Target, Expression)], _ body: [Statement], in scope: Scope
    ) throws(Failure) -> Flow {
      let inner = Scope(scope)
      // The values do not see one another.
      for (target, expression) in assignments {
        try assign(try evaluate(expression, in: scope), to: target, in: inner)
      }
      return try execute(body, in: inner)
    }

    private func runGeneration(_ body: [Statement], _ span: Span, in scope: Scope) throws(Failure) {
      let start = output.utf8.count
      _ = try execute(body, in: Scope(scope))
      if captures > 0 {
        capturedGeneration = capturedGeneration ?? span
      } else {
        generationRanges.append(start..<output.utf8.count)
      }
    }

    func assign(_ value: Value, to target: Target, in scope: Scope) throws(Failure) {
      switch target {
      case .name(let name): scope.variables[name] = value
      case .attribute(let name, let attribute):
        guard case .namespace(let namespace) = scope.lookup(name) else {
          throw Failure("cannot set an attribute of '\(name)': it is no namespace")
        }
        namespace.attributes[attribute] = value
      case .tuple(let targets):
        let items = try value.elements()
        guard items.count == targets.count else {
          throw Failure("expected \(targets.count) values to unpack, got \(items.count)")
        }
        for (target, item) in zip(targets, items) { try assign(item, to: target, in: scope) }
      }
    }

    // MARK: Macros

    private func function(_ macro: Macro, in scope: Scope) -> Function {
      // The macro holds its scope and the scope may hold the macro.
      remember(scope)
      return Function(macro.name) { interpreter, arguments throws(Failure) in
        let inner = try interpreter.bind(arguments, to: macro, in: scope)
        return try interpreter.adopt(.string(try interpreter.captured(macro.body, in: inner)))
      }
    }

    /// The scope a macro's body runs in. A default is evaluated in it, so that it can use the parameters
    /// before its own.
    private func bind(
      _ arguments: CallArguments, to macro: Macro, in scope: Scope
    ) throws(Failure) -> Scope {
      let inner = Scope(scope)
      var named = arguments.named
      for (index, parameter) in macro.parameters.enumerated() {
        let place = named.firstIndex { $0.name == parameter.name }
        if index < arguments.positional.count {
          inner.variables[parameter.name] = arguments.positional[index]
        } else if let place {
          inner.variables[parameter.name] = named.remove(at: place).value
        } else if let standard = parameter.standard {
          inner.variables[parameter.name] = try evaluate(standard, in: inner)
        } else {
          inner.variables[parameter.name] = .undefined(
            .because("parameter '\(parameter.name)' was not provided"))
        }
      }
      try bindImplicit(arguments.positional.dropFirst(macro.parameters.count), &named, macro, inner)
      return inner
    }

    private func bindImplicit(
      _ rest: ArraySlice<Value>, _ named: inout [(name: String, value: Value)], _ macro: Macro, _ inner: Scope
    ) throws(Failure) {
      if macro.usesCaller {
        let place = named.firstIndex { $0.name == "caller" }
        inner.variables["caller"] =
          place.map { named.remove(at: $0).value } ?? .undefined(.because("No caller defined"))
      }
      if macro.usesKwargs {
        let kwargs = Dict()
        for (name, value) in named { kwargs.set(name, value) }
        inner.variables["kwargs"] = try adopt(.dict(kwargs))
      } else if let extra = named.first {
        throw Failure("macro '\(macro.name)' takes no keyword argument '\(extra.name)'")
      }
      if macro.usesVarargs {
        inner.variables["varargs"] = try adopt(.tuple(Array(rest)))
      } else if !rest.isEmpty {
        throw Failure("macro '\(macro.name)' takes not more than \(macro.parameters.count) argument(s)")
      }
    }
  }
}
