import ApusCore
import Synchronization

/// Packed forms of the session's weights, shared by all its plans.
///
/// Other constants, which planning for some shape computes, belong to that plan, and their forms with them.
package final class PackCache: Sendable {
    private struct Key: Hashable {
        let storage: UInt64
        let offset: Int
        let form: String
    }

    private struct Entries {
        var forms: [Key: Storage] = [:]
        var kept = Set<UInt64>()
    }

    private let entries = Mutex(Entries())
    package let budget: MemoryBudget

    package init(budget: MemoryBudget) {
        self.budget = budget
    }

    /// Declares `tensor` a weight: its forms are kept as long as this cache lives.
    package func keepForms(of tensor: Tensor) {
        _ = entries.withLock { $0.kept.insert(tensor.storage.identifier) }
    }

    /// The form `key` of `tensor`; of a weight it is made by `make` when it is asked for the first time.
    package func storage(of tensor: Tensor, key: String, make: (Tensor, MemoryBudget) throws -> Storage) throws -> Storage {
        let key = Key(storage: tensor.storage.identifier, offset: tensor.offset, form: key)
        return try entries.withLock { entries in
            guard entries.kept.contains(key.storage) else { return try make(tensor, budget) }
            if let storage = entries.forms[key] { return storage }
            let storage = try make(tensor, budget)
            entries.forms[key] = storage
            storage.preferHugePages()
            if storage.hugePageCount > 0 {
                scattered.withLock {
                    $0.regions.append(storage)
                    $0.byteCount &+= storage.byteCount
                }
                isScattered.store(true, ordering: .relaxed)
            }
            tensor.storage.dropPages()
            return storage
        }
    }

    /// Large forms whose pages the system has not gathered into huge ones.
    private struct Scattered {
        var regions: [Storage] = []
        /// Of all that were ever here.
        var byteCount = 0
        /// Of the last region.
        var nextPage = 0
        /// Nanoseconds that may be spent.
        var credit: Int64 = 0
    }

    private let scattered = Mutex(Scattered())

    /// Bytes per nanosecond of large forms beyond which a run waits for memory: a third of what one core reads.
    private static let readRate = 8

    /// Whether `gather` has something to do.
    package let isScattered = Atomic<Bool>(false)

    /// Has the system gather some pages of large forms, if the run that has just ended, and took `time` nanoseconds, may be limited by
    /// reading them.
    ///
    /// By itself the system takes minutes, and to do it while a model is loaded would make that slower: a small share of each run
    /// pays for the next ones.
    package func gather(afterRunOf time: Int64) {
        scattered.withLock { scattered in
            guard Int64(scattered.byteCount / PackCache.readRate) > time else { return }
            scattered.credit = min(scattered.credit &+ time / 32, 20_000_000)
            while scattered.credit > 0, let region = scattered.regions.last {
                let start = RunControl.now()
                if scattered.nextPage >= region.hugePageCount {
                    scattered.regions.removeLast()
                    scattered.nextPage = 0
                } else if region.gatherHugePage(scattered.nextPage) {
                    scattered.nextPage += 1
                } else {
                    scattered.regions = []
                }
                scattered.credit &-= RunControl.now() &- start
            }
            if scattered.regions.isEmpty { isScattered.store(false, ordering: .relaxed) }
        }
    }

    /// Bytes of all forms that are kept.
    package var byteCount: Int {
        entries.withLock { $0.forms.values.reduce(0) { $0 + $1.byteCount } }
    }
}
