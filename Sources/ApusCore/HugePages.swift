import Glibc
import Synchronization

/// Pages of 2 MiB, in which large memory is faulted in once where small pages take 512 faults, and read about a sixth faster.
///
/// Getting one is quick where the system has a free one at hand (0.1 to 0.4 ms, where small pages take 0.2 to 2 ms for the same
/// memory) and slow where it must first move others together or a virtual machine's host must find the memory (5 ms). Nobody
/// says beforehand which; so the pages are touched one by one, and a process that has lost too much time goes on with small ones.
enum HugePages {
    static let byteCount = 2 << 20

    /// Nanoseconds for a page up to which small pages would not have been quicker by much.
    private static let fairTime: Int64 = 1_000_000
    /// Nanoseconds beyond the fair time that a process may lose before it goes on with small pages.
    private static let mostLost: Int64 = 16_000_000
    /// A region so large is not touched before it is filled: deadlines must be kept meanwhile.
    private static let mostPages = 512

    private static let lost = Atomic<Int64>(0)

    /// Asks for huge pages for `count` of them from `base` on, which nobody has written to yet.
    static func claim(_ base: UnsafeMutableRawPointer, count: Int) {
        for page in 0..<min(count, mostPages) {
            guard lost.load(ordering: .relaxed) < mostLost else {
                // Memory may be freed, or found, later: some allocations on, one page tries again.
                lost.subtract(fairTime, ordering: .relaxed)
                return
            }
            let start = RunControl.now()
            let place = base + page * byteCount
            guard madvise(place, byteCount, MADV_HUGEPAGE) == 0 else { return }
            place.storeBytes(of: 0, as: UInt8.self)
            let loss = RunControl.now() &- start &- fairTime
            if loss > 0 { lost.add(loss, ordering: .relaxed) }
        }
    }
}
