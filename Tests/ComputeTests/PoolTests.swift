import CKernels
import Synchronization
import Testing

/// The thread pool under the CPU backend.
@Suite(.serialized)
struct PoolTests {
  /// How often each index came, and the highest thread number.
  final class Calls: Sendable {
    let counts: Mutex<[Int]>
    let highestThread = Atomic<Int>(0)

    init(count: Int) { counts = Mutex(Array(repeating: 0, count: count)) }
  }

  private func run(_ pool: OpaquePointer, _ calls: Calls, count: Int) {
    sw_pool_run(
      pool, Int64(count),
      { context, index, thread in
        let calls = Unmanaged<Calls>.fromOpaque(context!).takeUnretainedValue()
        calls.counts.withLock { $0[Int(index)] += 1 }
        calls.highestThread.max(Int(thread), ordering: .relaxed)
      }, Unmanaged.passUnretained(calls).toOpaque())
  }

  @Test(arguments: [1, 2, 3, 7], [0, 1, 2, 5, 1000])
  func everyIndexComesOnce(threads: Int32, count: Int) throws {
    let pool = try #require(sw_pool_create(threads))
    defer { sw_pool_destroy(pool) }
    #expect(sw_pool_threads(pool) == threads)
    let calls = Calls(count: count)
    run(pool, calls, count: count)
    #expect(calls.counts.withLock { $0.allSatisfy { $0 == 1 } })
    #expect(calls.highestThread.load(ordering: .relaxed) < Int(threads))
  }

  /// Jobs that follow at once, and jobs that find the threads asleep.
  @Test func jobsFollowInOrder() throws {
    let pool = try #require(sw_pool_create(4))
    defer { sw_pool_destroy(pool) }
    var total = 0
    for job in 1...2000 {
      let count = job % 9
      let calls = Calls(count: count)
      run(pool, calls, count: count)
      // All of a job has ended when the call returns.
      total += calls.counts.withLock { $0.reduce(0, +) }
      if job % 400 == 0 { sw_pool_run(pool, 1, { _, _, _ in }, nil) }
    }
    #expect(total == (1...2000).reduce(0) { $0 + $1 % 9 })
  }

  @Test func poolsComeAndGo() throws {
    for _ in 0..<200 {
      let pool = try #require(sw_pool_create(3))
      let calls = Calls(count: 3)
      run(pool, calls, count: 3)
      sw_pool_destroy(pool)
      #expect(calls.counts.withLock { $0 == [1, 1, 1] })
    }
  }
}
