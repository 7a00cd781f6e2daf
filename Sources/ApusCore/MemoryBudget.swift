import Glibc
import Synchronization

/// Counts the memory that Apus holds and refuses, before it is asked of the system, what would pass the limit.
///
/// The limit is the least of the caller's cap, physical memory, the cgroup's limit and RLIMIT_AS (less what the process
/// already maps when the budget is made).
package final class MemoryBudget: Sendable {
    package let limit: Int
    private let reserved = Atomic<Int>(0)

    /// `cap` in bytes; nil: the machine's limits alone.
    package init(cap: Int? = nil) {
        limit = min(cap ?? .max, MemoryBudget.machineLimit())
    }

    package var used: Int { reserved.load(ordering: .relaxed) }

    /// Takes `bytes` from the budget or throws `memoryLimit`; `purpose` says what for.
    package func reserve(_ bytes: Int, for purpose: @autoclosure () -> String) throws {
        var current = reserved.load(ordering: .relaxed)
        while true {
            let (next, overflow) = current.addingReportingOverflow(max(bytes, 0))
            guard !overflow, next <= limit else {
                throw ApusError(
                    .memoryLimit,
                    "\(purpose()) needs \(bytes) bytes, but \(current) of the limit of \(limit) bytes are in use")
            }
            let (exchanged, original) = reserved.compareExchange(expected: current, desired: next, ordering: .relaxed)
            if exchanged { return }
            current = original
        }
    }

    /// Gives back what `reserve` took.
    package func release(_ bytes: Int) {
        reserved.subtract(max(bytes, 0), ordering: .relaxed)
    }

    /// The budget of values that no session made: tests and the public API's own tensors.
    package static let shared = MemoryBudget()

    // MARK: Limits of the machine

    private static func machineLimit() -> Int {
        var limit = Int.max
        let pages = sysconf(Int32(_SC_PHYS_PAGES)), pageSize = sysconf(Int32(_SC_PAGESIZE))
        if pages > 0, pageSize > 0 {
            limit = min(limit, pages.multipliedReportingOverflow(by: pageSize).partialValue)
        }
        if let cgroup = ControlGroup().memoryLimit { limit = min(limit, cgroup) }
        var addressSpace = rlimit()
        if getrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &addressSpace) == 0, addressSpace.rlim_cur < UInt64(Int.max) {
            let mapped = (firstNumber(inFile: "/proc/self/statm") ?? 0).multipliedReportingOverflow(by: max(pageSize, 1))
            limit = min(limit, max(0, Int(addressSpace.rlim_cur) - mapped.partialValue))
        }
        return limit
    }
}

/// The first 4 KiB of a small (virtual) file; empty where it cannot be read.
package func smallFile(_ path: String) -> [UInt8] {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return [] }
    defer { close(descriptor) }
    return [UInt8](unsafeUninitializedCapacity: 4096) { buffer, count in
        count = max(0, read(descriptor, buffer.baseAddress, buffer.count))
    }
}
