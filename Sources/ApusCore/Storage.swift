import Glibc
import Synchronization

/// A region of memory that tensors view. Owned regions count against a budget and are freed with the last reference.
package final class Storage: @unchecked Sendable {
    package let base: UnsafeMutableRawPointer
    package let byteCount: Int
    /// Whether Apus allocated the region; false for memory of the caller or of a mapped file.
    package let isOwned: Bool
    /// Differs between any two storages of the process's life: the identity of the contents for caches.
    package let identifier: UInt64
    private let onRelease: () -> Void
    private let onDropPages: ((Range<Int>) -> Void)?

    /// What kernels may assume of any buffer that Apus allocates.
    package static let alignment = 64

    private init(
        base: UnsafeMutableRawPointer, byteCount: Int, isOwned: Bool, onRelease: @escaping () -> Void,
        onDropPages: ((Range<Int>) -> Void)? = nil
    ) {
        self.isOwned = isOwned
        self.base = base
        self.byteCount = byteCount
        identifier = Storage.counter.add(1, ordering: .relaxed).newValue
        self.onRelease = onRelease
        self.onDropPages = onDropPages
    }

    private static let counter = Atomic<UInt64>(0)

    deinit { onRelease() }

    /// Uninitialised memory aligned to 64 bytes. Throws `memoryLimit` before asking the system, or `outOfMemory`.
    package static func allocate(byteCount: Int, budget: MemoryBudget, purpose: @autoclosure () -> String = "a tensor") throws -> Storage {
        try budget.reserve(byteCount, for: purpose())
        var pointer: UnsafeMutableRawPointer?
        // Large regions begin at a multiple of a huge page, so that the system can put them into such.
        let isLarge = byteCount >= 2 * HugePages.byteCount
        guard posix_memalign(&pointer, isLarge ? HugePages.byteCount : alignment, max(byteCount, alignment)) == 0, let pointer else {
            budget.release(byteCount)
            throw ApusError(.outOfMemory, "the system has no \(byteCount) bytes for \(purpose())")
        }
        // Only pages that the region fills: a rest would take memory that nobody asked for.
        if isLarge { HugePages.claim(pointer, count: byteCount / HugePages.byteCount) }
        return Storage(base: pointer, byteCount: byteCount, isOwned: true) {
            free(pointer)
            budget.release(byteCount)
        }
    }

    /// Memory of someone else, kept alive by `owner` (or by contract, where nil). `onRelease` runs with the last reference.
    ///
    /// `onDropPages` may give the pages of some of the bytes back to the system; they must reappear unchanged when read again
    /// (a file map).
    package static func borrow(
        _ base: UnsafeRawPointer, byteCount: Int, owner: AnyObject? = nil,
        onRelease: @escaping () -> Void = {}, onDropPages: ((Range<Int>) -> Void)? = nil
    ) -> Storage {
        Storage(
            base: UnsafeMutableRawPointer(mutating: base), byteCount: byteCount, isOwned: false,
            onRelease: { withExtendedLifetime(owner) { onRelease() } }, onDropPages: onDropPages)
    }

    /// Tells that the contents are complete and will be read again and again: the system may gather what is not in huge pages
    /// yet into such, when it finds the time.
    package func preferHugePages() {
        if hugePageCount > 0 { madvise(base, hugePageCount * HugePages.byteCount, MADV_HUGEPAGE) }
    }

    /// Huge pages that the region fills; 0 for a small one or memory of others.
    package var hugePageCount: Int { isOwned && byteCount >= 2 * HugePages.byteCount ? byteCount / HugePages.byteCount : 0 }

    /// Has the system gather huge page `index` now, which takes it about a millisecond. Returns false where it cannot at all.
    package func gatherHugePage(_ index: Int) -> Bool {
        guard (0..<hugePageCount).contains(index) else { return true }
        // MADV_COLLAPSE, which Linux has had since 6.1.
        return madvise(base + index * HugePages.byteCount, HugePages.byteCount, 25) == 0 || errno != EINVAL
    }

    /// Tells that the contents, or the bytes in `range`, have been packed elsewhere and are not needed soon.
    package func dropPages(_ range: Range<Int>? = nil) {
        onDropPages?((range ?? 0..<byteCount).clamped(to: 0..<byteCount))
    }
}
