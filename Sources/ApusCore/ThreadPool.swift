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
/// wake a thread takes longer than many of them. One pool may serve many sessions: a call that finds it busy does its work alone. Threads are not
/// pinned: the host program's scheduler decides.
package final class ThreadPool: @unchecked Sendable {
    package let size: Int
    private let shared: UnsafeMutablePointer<Shared>
    private var workers: [pthread_t] = []

    /// What workers see of the current job. Guarded by `mutex`, except for what is atomic; threads take chunks from `next`.
    private struct Shared: ~Copyable {
        var mutex = pthread_mutex_t()
        var workReady = pthread_cond_t()
        var workDone = pthread_cond_t()
        /// Changed under the mutex; read without it by waiting threads.
        let generation = Atomic<UInt64>(0)
        let running = Atomic<Int>(0)
        var stopping = false
        /// Whether there is a CPU for every thread, so that waiting in a loop takes none from a working one.
        let maySpin: Bool

        init(maySpin: Bool) { self.maySpin = maySpin }

        /// Lives on the stack of the caller, who waits.
        var body: UnsafePointer<apus_closure>?
        var count = 0
        let next = Atomic<Int>(0)
        let busy = Atomic<Bool>(false)
    }

    /// `size` threads in all, the caller's included; nil: as many as this process may use at once.
    ///
    /// Where the system refuses threads, the pool is smaller than asked for.
    package init(size: Int? = nil) {
        let wanted = max(1, min(size ?? ThreadPool.defaultSize(), 1024))
        shared = .allocate(capacity: 1)
        shared.initialize(to: Shared(maySpin: wanted <= ThreadPool.defaultSize()))
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

    deinit {
        pthread_mutex_lock(&shared.pointee.mutex)
        shared.pointee.stopping = true
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

    private func run(_ count: Int, _ body: UnsafePointer<apus_closure>) {
        pthread_mutex_lock(&shared.pointee.mutex)
        shared.pointee.body = body
        shared.pointee.count = count
        shared.pointee.next.store(0, ordering: .relaxed)
        shared.pointee.generation.add(1, ordering: .releasing)
        pthread_cond_broadcast(&shared.pointee.workReady)
        pthread_mutex_unlock(&shared.pointee.mutex)
        ThreadPool.takeChunks(shared, body, count)
        pthread_mutex_lock(&shared.pointee.mutex)
        // No worker may start on this job any more: the closure lives on this stack.
        shared.pointee.body = nil
        if shared.pointee.running.load(ordering: .acquiring) > 0, shared.pointee.maySpin {
            pthread_mutex_unlock(&shared.pointee.mutex)
            ThreadPool.spin(until: { shared.pointee.running.load(ordering: .acquiring) == 0 })
            pthread_mutex_lock(&shared.pointee.mutex)
        }
        while shared.pointee.running.load(ordering: .acquiring) > 0 {
            pthread_cond_wait(&shared.pointee.workDone, &shared.pointee.mutex)
        }
        pthread_mutex_unlock(&shared.pointee.mutex)
    }

    private static func takeChunks(_ shared: UnsafeMutablePointer<Shared>, _ body: UnsafePointer<apus_closure>, _ count: Int) {
        while true {
            let index = shared.pointee.next.add(1, ordering: .relaxed).oldValue
            if index >= count { return }
            apus_closure_call(body, index)
        }
    }

    /// Nanoseconds to wait in a loop before sleeping: a few times what it takes to wake a thread.
    private static let spinTime: Int64 = 40_000

    /// Returns when `isDone` says so, or after `spinTime`.
    @inline(__always)
    private static func spin(until isDone: () -> Bool) {
        let end = RunControl.now() &+ spinTime
        repeat {
            for _ in 0..<64 {
                if isDone() { return }
                apus_cpu_pause()
            }
        } while RunControl.now() < end
    }

    private static let work: @convention(c) (UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? = { argument in
        guard let shared = argument?.assumingMemoryBound(to: Shared.self) else { return nil }
        var seen: UInt64 = 0
        // Whether the last job has just ended, so that another one may follow.
        var isFresh = false
        pthread_mutex_lock(&shared.pointee.mutex)
        while !shared.pointee.stopping {
            if shared.pointee.generation.load(ordering: .acquiring) == seen || shared.pointee.body == nil {
                seen = shared.pointee.generation.load(ordering: .acquiring)
                if shared.pointee.maySpin, isFresh {
                    isFresh = false
                    pthread_mutex_unlock(&shared.pointee.mutex)
                    ThreadPool.spin(until: { shared.pointee.generation.load(ordering: .acquiring) != seen })
                    pthread_mutex_lock(&shared.pointee.mutex)
                    continue
                }
                pthread_cond_wait(&shared.pointee.workReady, &shared.pointee.mutex)
                continue
            }
            seen = shared.pointee.generation.load(ordering: .acquiring)
            guard let body = shared.pointee.body else { continue }
            let count = shared.pointee.count
            shared.pointee.running.add(1, ordering: .relaxed)
            pthread_mutex_unlock(&shared.pointee.mutex)
            ThreadPool.takeChunks(shared, body, count)
            pthread_mutex_lock(&shared.pointee.mutex)
            isFresh = true
            if shared.pointee.running.subtract(1, ordering: .releasing).newValue == 0 { pthread_cond_signal(&shared.pointee.workDone) }
        }
        pthread_mutex_unlock(&shared.pointee.mutex)
        return nil
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
