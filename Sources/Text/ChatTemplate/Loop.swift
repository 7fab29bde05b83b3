extension Jinja {
  /// The variable `loop` inside a `for`.
  final class Loop: Container {
    fileprivate(set) var items: [Value]
    fileprivate(set) var index0 = 0
    private let depth0: Int
    /// Renders the loop for other items, one level deeper; nil without `recursive`.
    private var recurse: ((Value, Int) throws(Failure) -> Value)?
    /// What `loop.changed` was last called with.
    private var watched: Value?

    fileprivate init(
      _ items: [Value], depth0: Int, recurse: ((Value, Int) throws(Failure) -> Value)?
    ) {
      self.items = items
      self.depth0 = depth0
      self.recurse = recurse
    }

    override func empty() {
      items = []
      watched = nil
      recurse = nil
    }

    func attribute(_ name: String) -> Value? {
      switch name {
      case "index": .int(index0 + 1)
      case "index0": .int(index0)
      case "revindex": .int(items.count - index0)
      case "revindex0": .int(items.count - index0 - 1)
      case "first": .bool(index0 == 0)
      case "last": .bool(index0 == items.count - 1)
      case "length": .int(items.count)
      case "depth": .int(depth0 + 1)
      case "depth0": .int(depth0)
      case "previtem": index0 > 0 ? items[index0 - 1] : .undefined(.because("there is no previous item"))
      case "nextitem":
        index0 + 1 < items.count ? items[index0 + 1] : .undefined(.because("there is no next item"))
      case "cycle": .function(Function("cycle", cycle))
      case "changed": .function(Function("changed", changed))
      default: nil
      }
    }

    private func cycle(_: Interpreter, _ arguments: CallArguments) throws(Failure) -> Value {
      if arguments.positional.isEmpty { throw Failure("no items for cycling given") }
      return arguments.positional[index0 % arguments.positional.count]
    }

    private func changed(_: Interpreter, _ arguments: CallArguments) throws(Failure) -> Value {
      let now = Value.tuple(arguments.positional)
      if let watched, try watched.equals(now) { return .bool(false) }
      watched = now
      return .bool(true)
    }

    /// `loop(items)`
    func callAsFunction(_ arguments: CallArguments) throws(Failure) -> Value {
      guard let recurse else {
        throw Failure("the loop must be marked 'recursive' to be called")
      }
      guard let items = arguments.positional.first else {
        throw Failure("loop() needs the items to loop over")
      }
      return try recurse(items, depth0 + 1)
    }
  }
}

extension Jinja.Interpreter {
  func run(_ loop: Jinja.ForLoop, in scope: Jinja.Scope) throws(Jinja.Failure) {
    try run(loop, over: try evaluate(loop.items, in: scope), depth0: 0, in: scope)
  }

  private func run(
    _ loop: Jinja.ForLoop, over value: Jinja.Value, depth0: Int, in scope: Jinja.Scope
  ) throws(Jinja.Failure) {
    let items = try select(loop, from: try elements(of: value, in: loop), in: scope)
    if items.isEmpty {
      _ = try execute(loop.otherwise, in: Jinja.Scope(scope))
      return
    }
    let state = Jinja.Loop(items, depth0: depth0, recurse: loop.recursive ? recursion(loop, scope) : nil)
    for (index, item) in items.enumerated() {
      state.index0 = index
      // A scope for each item: what is set in the loop is gone with the next item.
      let inner = Jinja.Scope(scope)
      inner.variables["loop"] = .loop(state)
      try assign(item, to: loop.target, in: inner)
      if try execute(loop.body, in: inner) == .leaveLoop { break }
    }
  }

  private func elements(
    of value: Jinja.Value, in loop: Jinja.ForLoop
  ) throws(Jinja.Failure) -> [Jinja.Value] {
    do { return try value.elements() } catch { throw error.located(at: loop.items.span) }
  }

  /// The items that the loop's own `if` lets through.
  private func select(
    _ loop: Jinja.ForLoop, from items: [Jinja.Value], in scope: Jinja.Scope
  ) throws(Jinja.Failure) -> [Jinja.Value] {
    guard let condition = loop.condition else { return items }
    var selected: [Jinja.Value] = []
    for item in items {
      let inner = Jinja.Scope(scope)
      try assign(item, to: loop.target, in: inner)
      if try evaluate(condition, in: inner).isTrue { selected.append(item) }
    }
    return selected
  }

  private func recursion(
    _ loop: Jinja.ForLoop, _ scope: Jinja.Scope
  ) -> (Jinja.Value, Int) throws(Jinja.Failure) -> Jinja.Value {
    { [unowned self] value, depth0 throws(Jinja.Failure) in
      let text = try captured { () throws(Jinja.Failure) in
        try run(loop, over: value, depth0: depth0, in: scope)
      }
      return try adopt(.string(text))
    }
  }
}
