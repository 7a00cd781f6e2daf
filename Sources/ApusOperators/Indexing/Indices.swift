import ApusCore

/// Reads the elements of an int32 or int64 tensor.
struct IndexReader {
    let pointer: UnsafeRawPointer
    /// Whether they are int64.
    let isWide: Bool

    init(_ pointer: UnsafeRawPointer, _ type: ElementType) {
        self.pointer = pointer
        isWide = type == .int64
    }

    @inline(__always)
    subscript(position: Int) -> Int {
        isWide
            ? Int(pointer.loadUnaligned(fromByteOffset: position &* 8, as: Int64.self))
            : Int(pointer.loadUnaligned(fromByteOffset: position &* 4, as: Int32.self))
    }

    /// The index at `position` counted from the front; throws unless it lies within a dimension of `size`.
    @inline(__always)
    func checked(_ position: Int, size: Int) throws -> Int {
        let index = self[position]
        let counted = index < 0 ? index &+ size : index
        guard counted >= 0, counted < size else { throw ApusError.outOfRange(index, size) }
        return counted
    }
}

/// The types that indices may have.
let indexTypes: [ElementType] = [.int32, .int64]
