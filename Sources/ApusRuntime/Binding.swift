import ApusCore
import ApusOperators

/// Type and shape of a value given to a plan, compared without allocation.
struct SignatureEntry {
    /// A dense tensor's, else nil.
    let dense: (type: ElementType, shape: Shape)?
    /// Of a value of another kind.
    let other: ValueType?

    init(_ info: ValueInfo) throws {
        if let type = info.type.elementType, type != .string, let shape = try info.concreteShape() {
            dense = (type, shape)
            other = nil
        } else {
            dense = nil
            other = info.type
        }
    }

    func matches(_ value: Value) -> Bool {
        if case .tensor(let tensor) = value {
            return dense.map { $0.type == tensor.type && $0.shape.dimensions == tensor.shape.dimensions } ?? false
        }
        return other.map { $0 == value.type } ?? false
    }

    func matches(_ entry: SignatureEntry) -> Bool {
        switch (dense, entry.dense) {
        case (let a?, let b?): a.type == b.type && a.shape.dimensions == b.shape.dimensions
        case (nil, nil): other == entry.other
        default: false
        }
    }

    var info: ValueInfo? {
        if let dense { return ValueInfo(dense.type, dense.shape) }
        return other.map { ValueInfo($0) }
    }
}

/// A captured value as it is handed to a subgraph's frame: where it lies, what it is, and itself where it has no place in
/// an arena.
struct CaptureBinding {
    let pointer: UnsafeMutableRawPointer?
    let value: Value?
    let entry: SignatureEntry
}
