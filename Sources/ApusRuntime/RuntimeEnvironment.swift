import ApusCore
import ApusOperators

/// What all graphs of one session share.
package final class RuntimeEnvironment: Sendable {
    /// Bit mask of the `apus_isa` levels that kernels may use.
    package let levels: UInt32
    package let pool: ThreadPool
    package let budget: MemoryBudget
    package let packed: PackCache

    package init(levels: UInt32 = CPUCap.levels(nil), pool: ThreadPool, budget: MemoryBudget) {
        self.levels = levels
        self.pool = pool
        self.budget = budget
        packed = PackCache(budget: budget)
    }
}
