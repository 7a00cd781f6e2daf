import ApusCore
import Synchronization

/// Packed forms of constants, shared by all plans of a session.
package final class PackCache: Sendable {
    private struct Key: Hashable {
        let storage: UInt64
        let offset: Int
        let form: String
    }

    private let entries = Mutex<[Key: Storage]>([:])
    package let budget: MemoryBudget

    package init(budget: MemoryBudget) {
        self.budget = budget
    }

    /// The form `key` of `tensor`, made by `make` when it is asked for the first time.
    package func storage(of tensor: Tensor, key: String, make: (Tensor, MemoryBudget) throws -> Storage) throws -> Storage {
        let key = Key(storage: tensor.storage.identifier, offset: tensor.offset, form: key)
        return try entries.withLock { entries in
            if let storage = entries[key] { return storage }
            let storage = try make(tensor, budget)
            entries[key] = storage
            tensor.storage.dropPages()
            return storage
        }
    }

    /// Bytes of all packed forms.
    package var byteCount: Int {
        entries.withLock { $0.values.reduce(0) { $0 + $1.byteCount } }
    }
}
