import OrderedCollections

extension JSON {
  /// The members of an object, in the order in which they were written.
  ///
  /// Two keys are the same when their bytes are (`ByteKey`): a vocabulary holds "é" and "e" with a combining accent
  /// as different tokens.
  public struct Object: Sendable, Hashable {
    private var members: OrderedDictionary<ByteKey, JSON> = [:]

    public init() {}

    /// - Precondition: no two keys are the same.
    public init(uniqueKeysWithValues members: some Sequence<(String, JSON)>) {
      self.members = OrderedDictionary(uniqueKeysWithValues: members.lazy.map { (ByteKey($0), $1) })
    }

    /// The value of `key`; nil when it is not there. Setting nil takes the member out.
    public subscript(key: String) -> JSON? {
      get { members[ByteKey(key)] }
      set { members[ByteKey(key)] = newValue }
    }

    /// Sets the value of `key`, and returns the one it had.
    @discardableResult
    public mutating func updateValue(_ value: JSON, forKey key: String) -> JSON? {
      members.updateValue(value, forKey: ByteKey(key))
    }

    /// Takes out the member `key`, and returns its value.
    @discardableResult
    public mutating func removeValue(forKey key: String) -> JSON? {
      members.removeValue(forKey: ByteKey(key))
    }

    public var keys: [String] { members.keys.map(\.string) }
    public var values: [JSON] { members.values.elements }

    public func filter(_ isIncluded: (Element) throws -> Bool) rethrows -> Object {
      var kept = self
      kept.members = try members.filter { try isIncluded(($0.key.string, $0.value)) }
      return kept
    }

    /// Takes in the members of `other`, which replace those of the same key in place.
    public mutating func merge(_ other: Object) { members.merge(other.members) { $1 } }
  }
}

extension JSON.Object: RandomAccessCollection {
  public typealias Element = (key: String, value: JSON)

  public var startIndex: Int { 0 }
  public var endIndex: Int { members.count }

  public subscript(position: Int) -> Element {
    let (key, value) = members.elements[position]
    return (key.string, value)
  }
}

extension JSON.Object: ExpressibleByDictionaryLiteral {
  public typealias Key = String
  public typealias Value = JSON

  /// Of members with the same key the last counts.
  public init(dictionaryLiteral elements: (String, JSON)...) {
    for (key, value) in elements { updateValue(value, forKey: key) }
  }
}
