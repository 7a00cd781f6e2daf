import CApusClosure
import CApusKernels
import Glibc
import Synchronization

/// The code and context of a closure that the caller keeps alive: see `apus_closure_open`.
@_silgen_name("apus_closure_open")
private func openClosure(_ body: (Int) -> Void, _ closure: UnsafeMutablePointer<apus_closure>)

/// Threads that share the work of one kernel at a time.
///
/// A pool of size n uses the calling thread and n - 1 workers; size 1 creates no thread. Workers sleep while there is
/// no work, but look for the next job for some microseconds before: the steps of a network follow one another closely, and to
/// wake a thread takes longer than many of them. One pool may serve many sessions: a call that finds it busy does its work
/// alone. Threads are not pinned: the host program's scheduler decides.
package final class ThreadPool: @unchecked Sendable {
    package let size: Int
    private let shared: UnsafeMutablePointer<Shared>
    private var workers: [pthread_t] = []
    /// Whose threads these are; nil: its own.
    private let owner: ThreadPool?
    /// What may end the work early, of a pool that serves one execution context.
    private var control: RunControl?
    /// Whether work was left out since the run began.
    private let hasLeftOut = Atomic<Bool>(false)

    /// What the threads share. A job is cut into pieces; `job` says which are not taken yet: the first in the upper half, the end
    /// in the lower. The caller takes the first one and workers take the last, so that in a row of like jobs a thread meets
    /// again what it has in its caches. Whoever has taken a piece may read `body`, `count` and `step`: they do not
    /// change before `pending` is 0.
    private struct Shared: ~Copyable {
        let job = Atomic<UInt64>(0)
        /// Lives on the stack of the caller, who waits.
        var body: UnsafePointer<apus_closure>?
        var count = 0
        /// Indices in a piece; the last one may have fewer.
        var step = 1
        /// A line of memory between what threads take from and what the caller watches.
        let space = (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
        /// Pieces that have not ended.
        let pending = Atomic<Int>(0)
        let callerSleeps = Atomic<Bool>(false)
        let busy = Atomic<Bool>(false)

        /// For those who sleep. Whoever goes to sleep says so and then looks once more; whoever has news tells it first and then
        /// looks for sleepers.
        var mutex = pthread_mutex_t()
        var workReady = pthread_cond_t()
        var workDone = pthread_cond_t()
        let sleepers = Atomic<Int>(0)
        let stopping = Atomic<Bool>(false)
        /// Whether there is a CPU for every thread, so that waiting in a loop takes none from a working one.
        let maySpin: Bool

        init(maySpin: Bool) { self.maySpin = maySpin }

        var hasPieces: Bool {
            let job = job.load(ordering: .sequentiallyConsistent)
            return job >> 32 < job & 0xFFFF_FFFF
        }
    }

    /// `size` threads in all, the caller's included; nil: as many as this process may use at once.
    ///
    /// Where the system refuses threads, the pool is smaller than asked for.
    package init(size: Int? = nil) {
        owner = nil
        let wanted = max(1, min(size ?? ThreadPool.defaultSize(), 1024))
        shared = .allocate(capacity: 1)
        shared.initialize(to: Shared(maySpin: wanted > 1 && wanted <= ThreadPool.defaultSize()))
        pthread_mutex_init(&shared.pointee.mutex, nil)
        pthread_cond_init(&shared.pointee.workReady, nil)
        pthread_cond_init(&shared.pointee.workDone, nil)
        for _ in 1..<max(wanted, 1) {
            var thread = pthread_t()
            guard pthread_create(&thread, nil, ThreadPool.work, shared) == 0 else { break }
            workers.append(thread)
        }
        self.size = workers.count + 1
    }

    /// The threads of `owner` for the work of one execution context.
    package init(sharing owner: ThreadPool) {
        self.owner = owner.owner ?? owner
        size = owner.size
        shared = owner.shared
    }

    deinit {
        guard owner == nil else { return }
        pthread_mutex_lock(&shared.pointee.mutex)
        shared.pointee.stopping.store(true, ordering: .sequentiallyConsistent)
        pthread_cond_broadcast(&shared.pointee.workReady)
        pthread_mutex_unlock(&shared.pointee.mutex)
        for worker in workers { pthread_join(worker, nil) }
        pthread_cond_destroy(&shared.pointee.workReady)
        pthread_cond_destroy(&shared.pointee.workDone)
        pthread_mutex_destroy(&shared.pointee.mutex)
        shared.deinitialize(count: 1)
        shared.deallocate()
    }

    /// Calls `body` once for each of 0 ..< count, on any thread and in any order, and returns when all calls have ended.
    ///
    /// The number of threads must not change a result: let `count` and what each index does depend on shapes only.
    /// Allocates nothing.
    package func parallel(_ count: Int, _ body: (Int) -> Void) {
        guard count > 1, size > 1,
            shared.pointee.busy.compareExchange(expected: false, desired: true, ordering: .acquiring).exchanged
        else {
            for index in 0..<max(0, count) { body(index) }
            return
        }
        // withoutActuallyEscaping() would allocate a context for each call.
        var closure = apus_closure()
        openClosure(body, &closure)
        withUnsafePointer(to: closure) { run(count, $0) }
        shared.pointee.busy.store(false, ordering: .releasing)
    }

    // MARK: Work that may end early

    /// From now on the work is that of a run which `control` may stop. Only for a pool that serves one execution context.
    package func begin(_ control: RunControl) {
        self.control = control
        hasLeftOut.store(false, ordering: .relaxed)
    }

    /// Whether the rest of the work is for nothing. A caller who acts on it leaves results incomplete, and `checkControl` throws.
    package var mustStop: Bool {
        guard let control else { return false }
        if hasLeftOut.load(ordering: .relaxed) { return true }
        guard control.isStopped else { return false }
        hasLeftOut.store(true, ordering: .relaxed)
        return true
    }

    /// Throws where the run must end, or work was left out because it had to, whatever became of its control since.
    package func checkControl() throws {
        try control?.check()
        if hasLeftOut.load(ordering: .relaxed) { throw ApusError(.cancelled, "the run was cancelled") }
    }

    /// As `parallel`, but leaves out the calls that have not begun when the run must end.
    ///
    /// For products and what takes as long. What follows in the same step sees memory that was never written: no address and
    /// no size may depend on it.
    package func parallelUnlessStopped(_ count: Int, _ body: (Int) -> Void) {
        parallel(count) { index in
            if !mustStop { body(index) }
        }
    }

    // MARK: Jobs

    /// Pieces that a job is cut into at most: enough to even out what threads do, and few enough to take one by one.
    private static let mostPieces = 1024

    private func run(_ count: Int, _ body: UnsafePointer<apus_closure>) {
        let step = count / ThreadPool.mostPieces + (count % ThreadPool.mostPieces == 0 ? 0 : 1)
        let pieces = count / step + (count % step == 0 ? 0 : 1)
        shared.pointee.body = body
        shared.pointee.count = count
        shared.pointee.step = step
        shared.pointee.pending.store(pieces, ordering: .relaxed)
        shared.pointee.job.store(UInt64(pieces), ordering: .sequentiallyConsistent)
        if shared.pointee.sleepers.load(ordering: .sequentiallyConsistent) > 0 {
            pthread_mutex_lock(&shared.pointee.mutex)
            if pieces == 2 { pthread_cond_signal(&shared.pointee.workReady) } else { pthread_cond_broadcast(&shared.pointee.workReady) }
            pthread_mutex_unlock(&shared.pointee.mutex)
        }
        if ThreadPool.takePieces(shared, fromFront: true) { return }
        if shared.pointee.maySpin, ThreadPool.spin(until: { shared.pointee.pending.load(ordering: .acquiring) == 0 }) { return }
        pthread_mutex_lock(&shared.pointee.mutex)
        shared.pointee.callerSleeps.store(true, ordering: .sequentiallyConsistent)
        while shared.pointee.pending.load(ordering: .sequentiallyConsistent) > 0 {
            pthread_cond_wait(&shared.pointee.workDone, &shared.pointee.mutex)
        }
        shared.pointee.callerSleeps.store(false, ordering: .relaxed)
        pthread_mutex_unlock(&shared.pointee.mutex)
    }

    /// Works on pieces until none is left to take. Returns whether the job ended with them.
    private static func takePieces(_ shared: UnsafeMutablePointer<Shared>, fromFront: Bool) -> Bool {
        var taken = 0
        var job = shared.pointee.job.load(ordering: .acquiring)
        while job >> 32 < job & 0xFFFF_FFFF {
            // The first moves on, or the end moves back.
            let (exchanged, original) = shared.pointee.job.weakCompareExchange(
                expected: job, desired: fromFront ? job &+ 1 << 32 : job &- 1, ordering: .acquiringAndReleasing)
            guard exchanged else {
                job = original
                continue
            }
            let piece = Int(fromFront ? job >> 32 : job & 0xFFFF_FFFF - 1), step = shared.pointee.step
            if let body = shared.pointee.body {
                let first = piece * step
                for index in first..<first + min(step, shared.pointee.count - first) { apus_closure_call(body, index) }
            }
            taken += 1
            job = shared.pointee.job.load(ordering: .acquiring)
        }
        guard taken > 0 else { return false }
        return shared.pointee.pending.subtract(taken, ordering: .sequentiallyConsistent).newValue == 0
    }

    /// Nanoseconds to wait in a loop before sleeping: a few times what it takes to wake a thread.
    private static let spinTime: Int64 = 40_000

    /// Returns when `isDone` says so (true), or after `spinTime`.
    @inline(__always)
    private static func spin(until isDone: () -> Bool) -> Bool {
        let end = RunControl.now() &+ spinTime
        repeat {
            for _ in 0..<64 {
                if isDone() { return true }
                apus_cpu_pause()
            }
        } while RunControl.now() < end
        return false
    }

    private static let work: @convention(c) (UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? = { argument in
        guard let shared = argument?.assumingMemoryBound(to: Shared.self) else { return nil }
        // Whether a job has just ended, so that another one may follow.
        var isFresh = false
        while !shared.pointee.stopping.load(ordering: .acquiring) {
            if shared.pointee.hasPieces {
                if ThreadPool.takePieces(shared, fromFront: false), shared.pointee.callerSleeps.load(ordering: .sequentiallyConsistent) {
                    pthread_mutex_lock(&shared.pointee.mutex)
                    pthread_cond_signal(&shared.pointee.workDone)
                    pthread_mutex_unlock(&shared.pointee.mutex)
                }
                isFresh = true
            }
            if isFresh, shared.pointee.maySpin {
                isFresh = false
                if ThreadPool.spin(until: { shared.pointee.hasPieces }) { continue }
            }
            pthread_mutex_lock(&shared.pointee.mutex)
            shared.pointee.sleepers.add(1, ordering: .sequentiallyConsistent)
            while !shared.pointee.hasPieces, !shared.pointee.stopping.load(ordering: .sequentiallyConsistent) {
                pthread_cond_wait(&shared.pointee.workReady, &shared.pointee.mutex)
            }
            shared.pointee.sleepers.subtract(1, ordering: .sequentiallyConsistent)
            pthread_mutex_unlock(&shared.pointee.mutex)
            // Work of one kind is rarely alone, even if others were quicker this time.
            isFresh = true
        }
        return nil
    }

    // MARK: Cutting

    /// How many of `extent` units to put into a piece, so that `threads` threads that take pieces of equal work in turn end as
    /// nearly together as can be, with at most about `most` pieces and rather more than fewer. At least 1.
    package static func evenStep(_ extent: Int, most: Int, threads: Int) -> Int {
        func step(_ pieces: Int) -> Int { max(1, extent / pieces + (extent % pieces == 0 ? 0 : 1)) }
        let threads = max(1, threads), most = max(1, most)
        guard extent > 0, threads > 1, most > threads else { return step(most) }
        var best = (score: Int.max, step: 1)
        for wanted in (threads...most).reversed() {
            let step = step(wanted), pieces = extent / step + (extent % step == 0 ? 0 : 1), last = extent - (pieces - 1) * step
            let turns = pieces / threads + (pieces % threads == 0 ? 0 : 1)
            // Where one piece is left over, it is the last and smallest.
            let longest = pieces % threads == 1 ? (turns - 1) * step + last : turns * step
            let (score, overflow) = longest.multipliedReportingOverflow(by: 16)
            if !overflow, score < best.score - step { best = (score + step, step) }
        }
        return best.step
    }

    // MARK: Default size

    /// The CPUs this process may run on, or the CPU quota of its control groups rounded up, whichever is less; at least 1.
    package static func defaultSize() -> Int {
        var count = allowedCPUs() ?? sysconf(Int32(_SC_NPROCESSORS_ONLN))
        if let quota = ControlGroup().cpuQuota { count = min(count, quota) }
        return max(1, count)
    }

    /// The CPUs in this thread's affinity mask. (sched_getaffinity is not visible to Swift: it needs _GNU_SOURCE.)
    private static func allowedCPUs() -> Int? {
        for line in smallFile("/proc/thread-self/status").split(separator: 10) {
            let text = String(decoding: line, as: UTF8.self)
            guard text.hasPrefix("Cpus_allowed:") else { continue }
            let count = text.dropFirst("Cpus_allowed:".count).compactMap(\.hexDigitValue).reduce(0) { $0 + $1.nonzeroBitCount }
            return count > 0 ? count : nil
        }
        return nil
    }
}
