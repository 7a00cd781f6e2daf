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
            tensor.storage.dropPages()
            return storage
        }
    }

    /// Bytes of all forms that are kept.
    package var byteCount: Int {
        entries.withLock { $0.forms.values.reduce(0) { $0 + $1.byteCount } }
    }
}
