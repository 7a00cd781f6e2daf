import ApusCore
import ApusRuntime

extension RuntimeEnvironment {
    /// The environment that a session with these options runs in. Throws `invalidArgument` for values that are none.
    package convenience init(_ options: SessionOptions) throws {
        let cap = try options.cpu.map { try CPUCap(name: $0, source: "the CPU option") } ?? Environment.cpuCap()
        if let threads = options.threads, threads < 1 {
            throw ApusError(.invalidArgument, "a session needs at least 1 thread, not \(threads)")
        }
        self.init(
            levels: CPUCap.levels(cap), pool: options.pool?.threads ?? ThreadPool(size: options.threads),
            budget: MemoryBudget(cap: options.memoryLimit))
    }
}
