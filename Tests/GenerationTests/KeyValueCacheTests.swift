import Basics
import Compute
import Models
import TestSupport
import Testing

@testable import Generation

/// Whatever way the keys and values came into the cache, the logits are those of one pass over all tokens.
@Suite struct KeyValueCacheTests {
  let cpu: CPU

  init() throws { cpu = try CPU(threads: 2) }

  static func tokens(_ count: Int, seed: UInt64 = 1) -> [Int32] {
    var noise = Noise(state: seed)
    return (0..<count).map { _ in Int32((noise.next() + 1) / 2 * Float(TestModel.vocabulary - 1)) }
  }

  /// Logits after every token, without a cache.
  func uncached(_ model: Decoder, _ tokens: [Int32], compute: DType = .f32) throws -> [[Float]] {
    let (T, V) = (tokens.count, model.spec.vocabularySize)
    let buffer = try cpu.allocate(bytes: (2 * T + 4 + T * V) * 4)
    let ids = Tensor(buffer, rows: 1, columns: T, dtype: .i32)
    let positions = Tensor(buffer, offset: 4 * T, rows: 1, columns: T, dtype: .i32)
    let table = Tensor(buffer, offset: 8 * T, rows: 1, columns: 4, dtype: .i32)
    let logits = Tensor(buffer, offset: 8 * T + 16, rows: T, columns: V, dtype: .f32)
    _ = ids.hostInts.update(fromContentsOf: tokens)
    _ = positions.hostInts.update(fromContentsOf: 0..<Int32(T))
    _ = table.hostInts.update(fromContentsOf: [0, Int32(T), 0, Int32(T)])
    let rows = Rows(
      positions: positions, segments: Segments(table: table, longest: T),
      rotary: try model.spec.rotary.table(positions: T, headSize: model.spec.headSize, on: cpu))
    try Step.runOnce(on: cpu) { s in
      s.copy(model.logits(model.hidden(ids, rows, s, compute: compute), s), into: logits)
    }
    return withExtendedLifetime(buffer) { (0..<T).map { Array(logits.hostFloats[$0 * V..<($0 + 1) * V]) } }
  }

  /// |a - b| / |b|
  func relativeError(_ a: [Float], _ b: [Float]) -> Float {
    (zip(a, b).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) } / b.reduce(0) { $0 + $1 * $1 }).squareRoot()
  }

  func difference(_ a: [Float], _ b: [Float]) -> Float {
    zip(a, b).map { abs($0 - $1) }.max() ?? 0
  }

  @Test(arguments: TestModel.Kind.allCases)
  func decodesAsWithoutCache(kind: TestModel.Kind) throws {
    let model = try TestModel.random(kind, on: cpu)
    let tokens = Self.tokens(80)
    let expected = try uncached(model, tokens)
    let generator = try Generator(model, on: cpu)
    for count in 1...tokens.count {
      let logits = try generator.logits(after: Array(tokens.prefix(count)))
      #expect(difference(logits, expected[count - 1]) < 1e-5, "\(count) tokens")
    }
  }

  @Test(arguments: TestModel.Kind.allCases, [1, 7, 64, 512])
  func prefillsInChunks(kind: TestModel.Kind, rows: Int) throws {
    let model = try TestModel.random(kind, on: cpu)
    let tokens = Self.tokens(150)
    let expected = try uncached(model, tokens)
    let generator = try Generator(model, on: cpu, settings: GeneratorSettings(prefillRows: rows))
    #expect(difference(try generator.logits(after: tokens), expected[149]) < 1e-5)
  }

  /// The window must count: without it the same weights give other logits.
  @Test func windowsHideOldTokens() throws {
    let windowed = try TestModel.random(.mistralWindow, on: cpu)
    let whole = try TestModel.random(.llama, on: cpu)
    let tokens = Self.tokens(30)
    let logits = try Generator(windowed, on: cpu).logits(after: tokens)
    #expect(difference(logits, try Generator(whole, on: cpu).logits(after: tokens)) > 1e-2)
  }

  @Test func keepsItsRowsFromStepToStep() throws {
    let model = try TestModel.random(.llama, on: cpu)
    let tokens = Self.tokens(300)
    let generator = try Generator(model, on: cpu)
    for count in [250, 256, 257, 300] {
      let expected = try Generator(model, on: cpu).logits(after: Array(tokens.prefix(count)))
      #expect(difference(try generator.logits(after: Array(tokens.prefix(count))), expected) < 1e-5)
    }
  }

  /// Whole pages of what was computed before are there, except the last token, whose logits are wanted.
  @Test(arguments: [1, 4, 16])
  func reusesTheCommonStart(pageSize: Int) throws {
    let model = try TestModel.random(.qwen3, on: cpu)
    let generator = try Generator(model, on: cpu, settings: GeneratorSettings(pageSize: pageSize))
    let first = Self.tokens(40)
    _ = try generator.logits(after: first)
    // Longer, changed in the middle, the same again, shorter, altogether different.
    let others = [
      first + Self.tokens(9, seed: 2), first.prefix(20) + Self.tokens(9, seed: 3), first,
      Array(first.prefix(11)), Self.tokens(30, seed: 4),
    ]
    for (tokens, common) in zip(others, [40, 20, 39, 10, 0]) {
      let before = generator.totals.reusedTokens
      let logits = try generator.logits(after: tokens)
      #expect(generator.totals.reusedTokens - before == common / pageSize * pageSize)
      let fresh = try Generator(model, on: cpu).logits(after: tokens)
      #expect(difference(logits, fresh) < 1e-5)
    }
  }

  /// The cache adds no error of its own to what bfloat16 products have.
  @Test func computesInBFloat16() throws {
    let model = try TestModel.random(.llama, on: cpu)
    let tokens = Self.tokens(60)
    let exact = try uncached(model, tokens).flatMap(\.self)
    let whole = try uncached(model, tokens, compute: .bf16).flatMap(\.self)
    let generator = try Generator(model, on: cpu, compute: .bf16)
    let cached = try (1...60).flatMap { try generator.logits(after: Array(tokens.prefix($0))) }
    #expect(relativeError(whole, exact) > 1e-3)
    #expect(relativeError(cached, exact) < 1.2 * relativeError(whole, exact))
  }

  @Test func takesAdaptersIn() throws {
    var model = try TestModel.random(.llama, on: cpu)
    let tokens = Self.tokens(20)
    let base = try Generator(model, on: cpu).logits(after: tokens)
    var configuration = LoRAConfiguration()
    configuration.r = 4
    let parameters = try model.addLoRA(configuration, seed: 1, on: cpu)
    var noise = Noise(state: 5)
    for value in parameters.allValues.hostFloats.indices {
      parameters.allValues.hostFloats[value] = noise.next() / 4
    }
    let expected = try uncached(model, tokens)
    let generator = try Generator(model, on: cpu)
    for count in [10, 11, 20] {
      let logits = try generator.logits(after: Array(tokens.prefix(count)))
      #expect(difference(logits, expected[count - 1]) < 1e-4)
    }
    #expect(difference(expected[19], base) > 0.1)
  }
}
