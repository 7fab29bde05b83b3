import Basics
import Compute
import Models

/// The memory of keys and values, in pages that sequences hold as long as they need them (Kwon et al., arXiv:2309.06180).
///
/// A page whose tokens are all known is remembered after its last holder let it go, until its memory is wanted: a
/// sequence that starts as an earlier one did takes the earlier one's pages.
final class PagePool {
  /// Tokens of a page.
  let pageSize: Int
  /// One entry a layer.
  let layers: [KeyValuePages]
  /// Pages there may be: fewer once the device has no memory for more.
  private(set) var limit: Int
  let bytesPerPage: Int

  private let memory: any GrowingMemory
  private var pages: [Page] = []
  private var free: [Int32] = []
  private var known: [Content: Int32] = [:]
  /// Pages without holders, with the time they were let go; those that were taken again since have another time.
  private var idle: [(page: Int32, time: Int)] = []
  private var firstIdle = 0
  private var time = 0
  /// Pages without holders that are remembered.
  private(set) var remembered = 0

  private struct Page {
    var holders = 0
    var content: Content?
    /// Names the content for those that follow it; never used twice.
    var number = 0
    /// When the last holder let go.
    var time = 0
  }

  /// What a page's keys and values depend on: its tokens and all before them, by the number of the page before.
  private struct Content: Hashable {
    var previous: Int
    var tokens: [Int32]
  }

  /// - Parameters:
  ///   - bytes: at most.
  ///   - most: pages that could ever be wanted.
  /// - Throws: `.outOfMemory` when `bytes` hold no page.
  init(
    _ spec: ModelSpec, dtype: DType, pageSize: Int, bytes: Int, most: Int, on backend: any Backend
  ) throws(SwiftletError) {
    let width = spec.keyValueHeads * spec.headSize
    let part = pageSize * width
    bytesPerPage = 2 * spec.layers * part * dtype.size
    limit = min(most, bytes / bytesPerPage)
    guard limit > 0 else {
      throw SwiftletError(
        .outOfMemory,
        "\(bytes >> 20) MB hold no \(pageSize) tokens' keys and values, which take \(bytesPerPage) bytes",
        remedy: "Give the cache more memory.")
    }
    self.pageSize = pageSize
    let memory = try backend.allocateGrowing(most: limit * bytesPerPage)
    self.memory = memory
    let all = Tensor(memory.buffer, rows: limit, columns: 2 * spec.layers * part, dtype: dtype)
    layers = (0..<spec.layers).map { layer in
      KeyValuePages(
        k: all.columns(2 * layer * part..<(2 * layer + 1) * part),
        v: all.columns((2 * layer + 1) * part..<(2 * layer + 2) * part), pageSize: pageSize)
    }
  }

  /// Pages that sequences hold.
  var held: Int { pages.count - free.count - remembered }

  /// Pages that could be taken.
  var available: Int { limit - held }

  /// Pages for `tokens` tokens.
  func pages(for tokens: Int) -> Int { (tokens + pageSize - 1) / pageSize }

  /// A page for one holder; nil when all are held, or the device has no memory for another.
  func take() -> Int32? {
    if let page = free.popLast() { return hold(page) }
    if pages.count < limit, grow() { return hold(Int32(pages.count - 1)) }
    guard let page = forgetOldest() else { return nil }
    return hold(page)
  }

  private func hold(_ page: Int32) -> Int32 {
    pages[Int(page)].holders += 1
    return page
  }

  private func grow() -> Bool {
    let bytes = (pages.count + 1) * bytesPerPage
    // By sixteenths of what there is: few calls, little waste.
    let step = max(bytesPerPage, memory.count / 16)
    if bytes > memory.count {
      let wanted = min(limit * bytesPerPage, max(bytes, memory.count + step))
      do { try memory.grow(to: wanted) } catch {
        limit = pages.count
        return false
      }
    }
    pages.append(Page())
    return true
  }

  private func forgetOldest() -> Int32? {
    while firstIdle < idle.count {
      let (page, time) = idle[firstIdle]
      firstIdle += 1
      if firstIdle > 1024, firstIdle * 2 > idle.count {
        idle.removeFirst(firstIdle)
        firstIdle = 0
      }
      let entry = pages[Int(page)]
      guard entry.holders == 0, entry.time == time, let content = entry.content else { continue }
      known[content] = nil
      pages[Int(page)].content = nil
      remembered -= 1
      return page
    }
    return nil
  }

  /// Lets pages go, in a sequence's order.
  func release(_ released: [Int32]) {
    // The last first: without the pages before it, a page is worth nothing.
    for page in released.reversed() {
      pages[Int(page)].holders -= 1
      guard pages[Int(page)].holders == 0 else { continue }
      guard pages[Int(page)].content != nil else {
        free.append(page)
        continue
      }
      time += 1
      pages[Int(page)].time = time
      idle.append((page, time))
      remembered += 1
    }
  }

  // MARK: Known contents

  /// The pages that hold the start of `tokens`, held once more each; `tokens` has at least one token more than they.
  ///
  /// - Parameter root: what sequences must share to share pages: their adapter. At most 0.
  func takeKnown(_ tokens: [Int32], root: Int) -> [Int32] {
    var taken: [Int32] = []
    var previous = root
    for start in stride(from: 0, to: tokens.count - pageSize, by: pageSize) {
      let content = Content(previous: previous, tokens: Array(tokens[start..<start + pageSize]))
      guard let page = known[content] else { break }
      if pages[Int(page)].holders == 0 { remembered -= 1 }
      taken.append(hold(page))
      previous = pages[Int(page)].number
    }
    return taken
  }

  /// Tells what `page`, which follows `before`, holds; from now on others may share it.
  func remember(_ page: Int32, tokens: ArraySlice<Int32>, after before: Int32?, root: Int) {
    let previous = before.map { pages[Int($0)].number } ?? root
    let content = Content(previous: previous, tokens: Array(tokens))
    time += 1
    pages[Int(page)].number = time
    // Another sequence may have made the same at the same time.
    guard known[content] == nil, before == nil || pages[Int(before!)].content != nil else { return }
    pages[Int(page)].content = content
    known[content] = page
  }
}
