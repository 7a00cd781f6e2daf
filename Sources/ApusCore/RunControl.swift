import Glibc
import Synchronization

/// How a caller stops a run: a flag that any thread may raise, and a point in time.
public final class RunControl: Sendable {
    private let cancelled = Atomic<Bool>(false)
    /// Nanoseconds of CLOCK_MONOTONIC; .max: none.
    private let deadline = Atomic<Int64>(.max)

    public init() {}

    public func cancel() { cancelled.store(true, ordering: .relaxed) }

    /// Forgets an earlier cancel.
    public func reset() { cancelled.store(false, ordering: .relaxed) }

    /// The run must end within `nanoseconds` from now; nil: no limit.
    public func setTimeLimit(nanoseconds: Int64?) {
        guard let nanoseconds else { return deadline.store(.max, ordering: .relaxed) }
        let (end, overflow) = RunControl.now().addingReportingOverflow(max(0, nanoseconds))
        deadline.store(overflow ? .max : end, ordering: .relaxed)
    }

    /// Whether a run must end now; cheap enough for every step.
    package var isStopped: Bool {
        if cancelled.load(ordering: .relaxed) { return true }
        let end = deadline.load(ordering: .relaxed)
        return end != .max && RunControl.now() >= end
    }

    /// Throws `cancelled` or `deadlineExceeded` where the run must end.
    package func check() throws {
        if cancelled.load(ordering: .relaxed) { throw ApusError(.cancelled, "the run was cancelled") }
        let end = deadline.load(ordering: .relaxed)
        if end != .max, RunControl.now() >= end { throw ApusError(.deadlineExceeded, "the run passed its deadline") }
    }

    package static func now() -> Int64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Int64(time.tv_sec) &* 1_000_000_000 &+ Int64(time.tv_nsec)
    }
}
