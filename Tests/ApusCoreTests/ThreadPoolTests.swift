import ApusCore
import Foundation
import Synchronization
import Testing

/// Threads of this process; other suites may start some at the same time, so tests look for what cannot be otherwise.
private func threadCount() throws -> Int {
    try FileManager.default.contentsOfDirectory(atPath: "/proc/self/task").count
}

@Suite struct ThreadPoolTests {
    @Test(arguments: [1, 2, 3, 8])
    func everyIndexIsCalledOnce(size: Int) {
        let pool = ThreadPool(size: size)
        for count in [0, 1, 2, 7, 1000, 1025, 5000] {
            let calls = UnsafeMutablePointer<Int32>.allocate(capacity: max(count, 1))
            calls.initialize(repeating: 0, count: max(count, 1))
            defer { calls.deallocate() }
            nonisolated(unsafe) let cells = calls
            pool.parallel(count) { cells[$0] += 1 }
            #expect((0..<count).allSatisfy { calls[$0] == 1 })
        }
    }

    @Test func nestedCallsRunOnTheThreadThatCalls() {
        let pool = ThreadPool(size: 4)
        let sum = Mutex(0)
        pool.parallel(10) { outer in
            pool.parallel(10) { inner in sum.withLock { $0 += outer * 10 + inner } }
        }
        #expect(sum.withLock { $0 } == 4950)
    }

    /// A caller that finds the pool busy does its work alone, so nobody waits for ever and nothing is lost.
    @Test func onePoolServesManyCallers() async {
        let pool = ThreadPool(size: 3)
        let sums = await withTaskGroup(of: Int.self) { group in
            for _ in 0..<4 {
                group.addTask {
                    var total = 0
                    for _ in 0..<200 {
                        let sum = Atomic<Int>(0)
                        pool.parallel(50) { sum.add($0, ordering: .relaxed) }
                        total += sum.load(ordering: .relaxed)
                    }
                    return total
                }
            }
            var all: [Int] = []
            for await sum in group { all.append(sum) }
            return all
        }
        #expect(sums == [245_000, 245_000, 245_000, 245_000])
    }

    @Test func whatAClosureCapturesOutlivesTheCallsOnOtherThreads() {
        let pool = ThreadPool(size: 4)
        var results = [[Int]](repeating: [], count: 64)
        let texts = (0..<64).map { String(repeating: "x", count: $0) }
        results.withUnsafeMutableBufferPointer { buffer in
            nonisolated(unsafe) let cells = buffer
            pool.parallel(64) { cells[$0] = Array(texts[$0].utf8).map(Int.init) }
        }
        #expect(results.enumerated().allSatisfy { $0.element.count == $0.offset })
    }

    /// (extent, most, threads): the step.
    @Test(arguments: [
        ((33, 8, 2), 17), ((36, 8, 2), 6), ((48, 8, 2), 6), ((14, 8, 2), 7), ((7, 8, 2), 1), ((1, 8, 2), 1), ((0, 8, 2), 1),
        ((33, 8, 1), 5), ((33, 1, 2), 33), ((100, 16, 4), 25), ((5, 0, 0), 5),
    ])
    func threadsShareEvenly(_ asked: (Int, Int, Int), _ expected: Int) {
        let step = ThreadPool.evenStep(asked.0, most: asked.1, threads: asked.2)
        #expect(step == expected)
    }

    @Test func sizesAreBounded() {
        #expect(ThreadPool(size: 1).size == 1)
        #expect(ThreadPool(size: 0).size == 1)
        #expect(ThreadPool(size: -5).size == 1)
        #expect(ThreadPool().size == ThreadPool.defaultSize())
        #expect((1...1024).contains(ThreadPool.defaultSize()))
    }
}

@Suite struct RunControlTests {
    @Test func cancelling() throws {
        let control = RunControl()
        try control.check()
        control.cancel()
        #expect(control.isStopped)
        #expect(throws: ApusError.self) { try control.check() }
        control.reset()
        try control.check()
    }

    @Test func deadlines() throws {
        let control = RunControl()
        control.setTimeLimit(nanoseconds: 0)
        do {
            try control.check()
            Issue.record("a passed deadline must stop the run")
        } catch let error as ApusError {
            #expect(error.code == .deadlineExceeded)
        }
        control.setTimeLimit(nanoseconds: .max)
        try control.check()
        control.setTimeLimit(nanoseconds: nil)
        #expect(!control.isStopped)
    }
}

@Suite struct MemoryBudgetTests {
    @Test func nothingPassesTheLimit() throws {
        let budget = MemoryBudget(cap: 1000)
        try budget.reserve(600, for: "a test")
        do {
            try budget.reserve(401, for: "a test")
            Issue.record("601 + 401 bytes must not fit 1000")
        } catch let error as ApusError {
            #expect(error.code == .memoryLimit)
            #expect(error.message.contains("a test"))
        }
        try budget.reserve(400, for: "a test")
        #expect(budget.used == 1000)
        budget.release(1000)
        #expect(budget.used == 0)
        #expect(throws: ApusError.self) { try budget.reserve(.max, for: "a test") }
    }

    @Test func storageCountsUntilItsLastReferenceIsGone() throws {
        let budget = MemoryBudget(cap: 4096)
        var storage: Storage? = try Storage.allocate(byteCount: 4000, budget: budget)
        #expect(UInt(bitPattern: try #require(storage).base) % UInt(Storage.alignment) == 0)
        #expect(throws: ApusError.self) { try Storage.allocate(byteCount: 4000, budget: budget) }
        storage = nil
        #expect(budget.used == 0)
        _ = try Storage.allocate(byteCount: 4000, budget: budget)
    }

    /// Huge pages or not: all of it can be used, and it counts as what was asked for.
    @Test(arguments: [(4 << 20) - 1, 4 << 20, (5 << 20) + 3])
    func largeStorage(byteCount: Int) throws {
        let budget = MemoryBudget()
        let storage = try Storage.allocate(byteCount: byteCount, budget: budget)
        #expect(budget.used == byteCount)
        memset(storage.base, 7, byteCount)
        storage.preferHugePages()
        #expect(storage.hugePageCount == (byteCount < 4 << 20 ? 0 : 2))
        // A system that cannot gather pages says so; either way nothing changes.
        let gathers = storage.gatherHugePage(0)
        #expect(storage.gatherHugePage(1) == gathers || storage.hugePageCount == 0)
        #expect(storage.gatherHugePage(2) && storage.gatherHugePage(-1))
        #expect((0..<byteCount / 4096).allSatisfy { storage.base.load(fromByteOffset: $0 * 4096, as: UInt8.self) == 7 })
        #expect(storage.base.load(fromByteOffset: byteCount - 1, as: UInt8.self) == 7)
    }

    @Test func theMachineHasALimit() {
        #expect(MemoryBudget().limit < 1 << 50)
        #expect(MemoryBudget(cap: .max).limit == MemoryBudget().limit)
    }

    @Test func droppedRangesLieWithinTheStorage() {
        let dropped = Mutex<[Range<Int>]>([])
        let bytes = UnsafeMutableRawPointer.allocate(byteCount: 100, alignment: 1)
        defer { bytes.deallocate() }
        let storage = Storage.borrow(bytes, byteCount: 100, onDropPages: { range in dropped.withLock { $0.append(range) } })
        storage.dropPages()
        storage.dropPages(10..<20)
        storage.dropPages(90..<200)
        #expect(dropped.withLock { $0 } == [0..<100, 10..<20, 90..<100])
    }

    @Test(arguments: [1, 3])
    func workThatIsNoLongerWantedIsLeftOut(size: Int) throws {
        let threads = ThreadPool(size: size)
        let pool = ThreadPool(sharing: threads), other = ThreadPool(sharing: threads)
        #expect(pool.size == threads.size)
        let control = RunControl()
        pool.begin(control)
        other.begin(RunControl())
        let calls = Atomic<Int>(0)
        pool.parallelUnlessStopped(100) { _ in
            if calls.add(1, ordering: .relaxed).newValue == 10 { control.cancel() }
        }
        // Each thread may have been in the middle of one call.
        let made = calls.load(ordering: .relaxed)
        #expect(made >= 10 && made < 10 + size)
        // The results are incomplete even where somebody changed their mind.
        control.reset()
        #expect(throws: ApusError.self) { try pool.checkControl() }
        #expect(pool.mustStop)
        // What shares the threads is not concerned, and neither is the next run.
        try other.checkControl()
        other.parallelUnlessStopped(100) { _ in calls.add(1, ordering: .relaxed) }
        #expect(calls.load(ordering: .relaxed) == made + 100)
        pool.begin(RunControl())
        pool.parallelUnlessStopped(100) { _ in calls.add(1, ordering: .relaxed) }
        #expect(calls.load(ordering: .relaxed) == made + 200)
        try pool.checkControl()
    }

    @Test func aDeadlineEndsTheWork() throws {
        let pool = ThreadPool(sharing: ThreadPool(size: 2))
        let control = RunControl()
        control.setTimeLimit(nanoseconds: 1_000_000)
        pool.begin(control)
        pool.parallelUnlessStopped(100_000) { _ in usleep(1000) }
        do {
            try pool.checkControl()
            Issue.record("the work must not end by itself")
        } catch let error as ApusError {
            #expect(error.code == .deadlineExceeded)
        }
    }
}
