import Basics

// The steps of tokenizer.json around the model. Each is an object with a `type`, and null for none.

extension JSON {
  /// The type of a step; nil for none.
  fileprivate func stepType() throws(SwiftletError) -> String? {
    if isNull { return nil }
    guard let type = self["type"]?.string else { throw .tokenizer(malformed: "\(text()) has no 'type'") }
    return type
  }

  fileprivate func pattern(_ key: String = "pattern") throws(SwiftletError) -> TextPattern {
    if let literal = self[key]?["String"]?.string { return .literal(Array(literal.utf8)) }
    guard let regex = self[key]?["Regex"]?.string else {
      throw .tokenizer(malformed: "\(text()) has no '\(key)'")
    }
    return try TextPattern(regex: regex)
  }

  fileprivate func bytes(_ key: String) throws(SwiftletError) -> [UInt8] {
    guard let text = self[key]?.string else { throw .tokenizer(malformed: "\(text()) has no '\(key)'") }
    return Array(text.utf8)
  }

  fileprivate func list(_ key: String) throws(SwiftletError) -> [JSON] {
    guard let list = self[key]?.array else { throw .tokenizer(malformed: "\(text()) has no '\(key)'") }
    return list
  }
}

extension Normalizer {
  init?(json: JSON?) throws(SwiftletError) {
    guard let json, let type = try json.stepType() else { return nil }
    switch type {
    case "Sequence":
      var steps: [Normalizer] = []
      for step in try json.list("normalizers") {
        if let step = try Normalizer(json: step) { steps.append(step) }
      }
      self = .sequence(steps)
    case "Lowercase": self = .lowercase
    case "StripAccents": self = .stripAccents
    case "Strip":
      self = .strip(left: json["strip_left"]?.bool ?? true, right: json["strip_right"]?.bool ?? true)
    case "Prepend": self = .prepend(try json.bytes("prepend"))
    case "Replace": self = .replace(try json.pattern(), with: try json.bytes("content"))
    default:
      guard let form = UnicodeForm(rawValue: type) else {
        throw .tokenizer(unsupported: "the normalizer \(type)")
      }
      self = .unicode(form)
    }
  }
}

extension PreTokenizer {
  init?(json: JSON?) throws(SwiftletError) {
    guard let json, let type = try json.stepType() else { return nil }
    switch type {
    case "Sequence": self = .sequence(try Self.steps(json))
    case "ByteLevel":
      self = .byteLevel(
        addsPrefixSpace: json["add_prefix_space"]?.bool ?? true, splits: json["use_regex"]?.bool ?? true)
    case "Split":
      self = .split(
        try json.pattern(), try Self.behavior(json), isInverted: json["invert"]?.bool ?? false)
    case "Digits":
      let isIndividual = json["individual_digits"]?.bool ?? false
      self = .split(.characters(.number), isIndividual ? .isolated : .contiguous, isInverted: false)
    case "Metaspace": self = try Self.metaspace(json)
    case "Whitespace":
      let words = try TextPattern(regex: #"\w+|[^\w\s]+"#, dialect: .unicode)
      self = .split(words, .removed, isInverted: true)
    case "WhitespaceSplit": self = .split(.characters(.whitespace), .removed, isInverted: false)
    case "Punctuation":
      self = .split(.characters(.punctuation), try Self.behavior(json), isInverted: false)
    case "BertPreTokenizer":
      self = .sequence([
        .split(.characters(.whitespace), .removed, isInverted: false),
        .split(.characters(.punctuation), .isolated, isInverted: false),
      ])
    default: throw .tokenizer(unsupported: "the pre-tokenizer \(type)")
    }
  }

  private static func steps(_ json: JSON) throws(SwiftletError) -> [PreTokenizer] {
    var steps: [PreTokenizer] = []
    for step in try json.list("pretokenizers") {
      guard let step = try PreTokenizer(json: step) else { continue }
      if steps.contains(where: \.isByteLevel) {
        guard case .split = step else {
          throw .tokenizer(unsupported: "a pre-tokenizer that changes text after the ByteLevel one")
        }
      }
      steps.append(step)
    }
    return steps
  }

  private static func behavior(_ json: JSON) throws(SwiftletError) -> SplitBehavior {
    let name = json["behavior"]?.string ?? SplitBehavior.isolated.rawValue
    guard let behavior = SplitBehavior(rawValue: name) else {
      throw .tokenizer(unsupported: "the split behaviour \(name)")
    }
    return behavior
  }

  private static func metaspace(_ json: JSON) throws(SwiftletError) -> PreTokenizer {
    // Older files say `add_prefix_space`, which newer ones replace by `prepend_scheme`.
    let addsPrefix = json["add_prefix_space"]?.bool ?? true
    let name = json["prepend_scheme"]?.string ?? (addsPrefix ? "always" : "never")
    guard let prepends = PrependScheme(rawValue: name) else {
      throw .tokenizer(unsupported: "the prepend scheme \(name)")
    }
    return .metaspace(
      mark: try json.bytes("replacement"), prepends: prepends, splits: json["split"]?.bool ?? true)
  }

  /// Whether words leave this step spelled by the byte-level alphabet.
  var isByteLevel: Bool {
    switch self {
    case .sequence(let steps): steps.contains(where: \.isByteLevel)
    case .byteLevel: true
    default: false
    }
  }
}

extension TokenDecoder {
  init(json: JSON?) throws(SwiftletError) {
    self.init()
    guard let json, try json.stepType() != nil else {
      separator = [UInt8(ascii: " ")]
      return
    }
    var isFused = false
    try add(json, &isFused)
  }

  /// - Parameter isFused: whether the tokens are one text already.
  private mutating func add(_ json: JSON, _ isFused: inout Bool) throws(SwiftletError) {
    let type = try json.stepType() ?? "null"
    if isFused, type != "Strip", type != "Fuse" {
      throw .tokenizer(unsupported: "the decoder \(type) after Fuse")
    }
    switch type {
    case "Sequence": for step in try json.list("decoders") { try add(step, &isFused) }
    case "ByteLevel": steps.append(.byteLevel)
    case "ByteFallback": steps.append(.byteFallback)
    case "Fuse": isFused = true
    case "Replace": steps.append(.replace(try json.pattern(), with: try json.bytes("content")))
    case "Metaspace":
      let keepsFirst = json["prepend_scheme"]?.string == "never" || json["add_prefix_space"]?.bool == false
      steps.append(.metaspace(mark: try json.bytes("replacement"), dropsFirst: !keepsFirst))
    case "Strip":
      let content = try json.bytes("content")
      let start = json["start"]?.int ?? 0
      let stop = json["stop"]?.int ?? 0
      guard content.count == 1, start >= 0, stop >= 0, !isFused || stop == 0 && leading.count == 0 else {
        throw .tokenizer(unsupported: "the decoder \(json.text())")
      }
      if isFused {
        leading = (content[0], start)
      } else {
        steps.append(.strip(content: content[0], start: start, stop: stop))
      }
    default: throw .tokenizer(unsupported: "the decoder \(type)")
    }
  }
}

extension TokenFrame {
  init(json: JSON?) throws(SwiftletError) {
    self.init()
    guard let json, let type = try json.stepType() else { return }
    switch type {
    // Trims offsets, which `encodeWithOffsets` does not.
    case "ByteLevel": break
    case "Sequence":
      for step in try json.list("processors") {
        let outer = try TokenFrame(json: step)
        prefix = outer.prefix + prefix
        suffix += outer.suffix
      }
    case "RobertaProcessing", "BertProcessing":
      guard let first = json["cls"]?.array?.last?.int, let last = json["sep"]?.array?.last?.int else {
        throw .tokenizer(malformed: "\(type) without 'cls' or 'sep'")
      }
      prefix = [Int32(truncatingIfNeeded: first)]
      suffix = [Int32(truncatingIfNeeded: last)]
    case "TemplateProcessing": try readTemplate(json)
    default: throw .tokenizer(unsupported: "the post-processor \(type)")
    }
  }

  private mutating func readTemplate(_ json: JSON) throws(SwiftletError) {
    var isAfterText = false
    for piece in try json.list("single") {
      guard let name = piece["SpecialToken"]?["id"]?.string else {
        isAfterText = true
        continue
      }
      let ids = json["special_tokens"]?[name]?["ids"]?.array?.compactMap {
        $0.int.flatMap { Int32(exactly: $0) }
      }
      guard let ids, !ids.isEmpty else {
        throw .tokenizer(malformed: "the template names '\(name)', which has no ids in 'special_tokens'")
      }
      if isAfterText { suffix += ids } else { prefix += ids }
    }
  }

  /// Lets explicit settings of tokenizer_config.json, or of a GGUF file, overrule the template; nil leaves it.
  mutating func set(_ roles: Tokenizer.Roles, addsBOS: Bool?, addsEOS: Bool?) {
    if let bos = roles.bos, let addsBOS, prefix.contains(bos) != addsBOS {
      if addsBOS { prefix.insert(bos, at: 0) } else { prefix.removeAll { $0 == bos } }
    }
    if let eos = roles.eos, let addsEOS, suffix.contains(eos) != addsEOS {
      if addsEOS { suffix.append(eos) } else { suffix.removeAll { $0 == eos } }
    }
  }
}
