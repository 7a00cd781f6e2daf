@_exported import ApusCore

/// How far the graph is rewritten before it runs. Results agree at every level, up to the rounding of sums that are taken
/// in another order.
public enum OptimizationLevel: Int32, Sendable, CaseIterable {
    /// The graph as it is in the file.
    case none = 0
    /// Constants folded, dead code, no-ops and repeated work removed.
    case basic = 1
    /// Fused operators as well: BatchNormalization, bias and activation in convolutions and products.
    case extended = 2
    /// Everything, the choice of memory layouts included.
    case all = 99
}

/// How serious a log message is.
public enum LogLevel: Int32, Sendable, CaseIterable {
    case verbose = 0
    case info, warning, error
}

/// Threads that sessions run on; several sessions may share one. Idle threads sleep.
public final class Pool: Sendable {
    package let threads: ThreadPool

    /// `size` threads, the one that calls included; nil: as many as this process may use (affinity and cgroup quota).
    public init(size: Int? = nil) {
        threads = ThreadPool(size: size)
    }

    /// The number of threads, the calling one included.
    public var size: Int { threads.size }
}

/// What a session is made with.
public struct SessionOptions: Sendable {
    /// Threads that one run uses, the calling one included; nil: as many as this process may use.
    public var threads: Int?
    /// Threads shared with other sessions; takes precedence over `threads`.
    public var pool: Pool?
    public var optimizationLevel: OptimizationLevel = .all
    /// The highest instruction-set level to use, spelled as in `APUS_CPU`; nil: what that variable says, or no maximum.
    public var cpu: String?
    /// Bytes that this session may hold beside the model itself; nil: what the machine allows.
    public var memoryLimit: Int?
    /// Names of optimiser passes to leave out.
    public var disabledPasses: Set<String> = []
    /// Operators of the program's own.
    public var operators: [CustomOperator] = []
    /// Called with messages for people, on any thread; nil: no messages.
    public var log: (@Sendable (LogLevel, String) -> Void)?

    public init() {}
}
