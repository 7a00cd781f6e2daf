/// A dense, row-major tensor of any fixed-size element type: a view of some storage.
public struct Tensor: @unchecked Sendable {
    public let type: ElementType
    public let shape: Shape
    package let storage: Storage
    /// Where the first element lies, in bytes from the storage's base.
    package let offset: Int

    /// Fails where the elements would not fit the storage.
    package init(type: ElementType, shape: Shape, storage: Storage, offset: Int = 0) throws {
        guard let bytes = type.byteCount(shape.count), offset >= 0, bytes <= storage.byteCount - offset else {
            throw ApusError(.internal, "a \(type.name) tensor of shape \(shape) does not fit \(storage.byteCount) bytes")
        }
        self.type = type
        self.shape = shape
        self.storage = storage
        self.offset = offset
    }

    private init(unchecked type: ElementType, _ shape: Shape, _ storage: Storage, _ offset: Int) {
        self.type = type
        self.shape = shape
        self.storage = storage
        self.offset = offset
    }

    /// A new tensor with uninitialised elements.
    package static func allocate(_ type: ElementType, _ shape: Shape, budget: MemoryBudget = .shared) throws -> Tensor {
        guard let bytes = type.byteCount(shape.count) else {
            throw ApusError(.memoryLimit, "a \(type.name) tensor of shape \(shape) has no size in memory")
        }
        let storage = try Storage.allocate(
            byteCount: bytes, budget: budget, purpose: "a \(type.name) tensor of shape \(shape)")
        return Tensor(unchecked: type, shape, storage, 0)
    }

    package var pointer: UnsafeMutableRawPointer { storage.base + offset }
    public var count: Int { shape.count }

    /// Size of the elements in memory.
    package var byteCount: Int { type.byteCount(shape.count) ?? 0 }

    /// The same elements under another shape of the same count.
    package func reshaped(_ shape: Shape) throws -> Tensor {
        guard shape.count == self.shape.count else {
            throw ApusError(.shapeMismatch, "\(self.shape) has \(self.shape.count) elements, \(shape) has \(shape.count)")
        }
        return Tensor(unchecked: type, shape, storage, offset)
    }

    /// A copy in memory of its own.
    package func copied(budget: MemoryBudget = .shared) throws -> Tensor {
        let copy = try Tensor.allocate(type, shape, budget: budget)
        copy.pointer.copyMemory(from: pointer, byteCount: byteCount)
        return copy
    }

    /// The elements as an array; `T` must be the element type's Swift type. For small tensors and tests.
    public func array<T: BitwiseCopyable>(_: T.Type) -> [T] {
        guard MemoryLayout<T>.stride == type.byteWidth else { return [] }
        return [T](unsafeUninitializedCapacity: count) { elements, filled in
            // Elements may lie at any address of a file.
            if let base = elements.baseAddress { UnsafeMutableRawPointer(base).copyMemory(from: pointer, byteCount: byteCount) }
            filled = count
        }
    }

    /// The elements of an integer tensor (any width from 8 bits, or bool) as `Int`s; throws on other types and on uint64
    /// values beyond `Int`. For shapes, axes and the like.
    package func integers() throws -> [Int] {
        switch type {
        case .int64: return array(Int64.self).map(Int.init)
        case .int32: return array(Int32.self).map(Int.init)
        case .uint8, .bool: return array(UInt8.self).map(Int.init)
        case .int8: return array(Int8.self).map(Int.init)
        case .int16: return array(Int16.self).map(Int.init)
        case .uint16: return array(UInt16.self).map(Int.init)
        case .uint32: return array(UInt32.self).map(Int.init)
        case .uint64:
            return try array(UInt64.self).map {
                guard let value = Int(exactly: $0) else { throw ApusError(.invalidValue, "\($0) passes 63 bits") }
                return value
            }
        default: throw ApusError(.typeMismatch, "integers expected, found \(type.name)")
        }
    }

    /// A tensor with the given elements. `T` must match `type` in size.
    package init<T: BitwiseCopyable>(_ type: ElementType, _ dimensions: [Int], _ elements: [T], budget: MemoryBudget) throws {
        let shape = try Shape(dimensions)
        guard elements.count == shape.count, MemoryLayout<T>.stride == type.byteWidth else {
            throw ApusError(.shapeMismatch, "\(elements.count) elements do not make a \(type.name) tensor of shape \(shape)")
        }
        self = try Tensor.allocate(type, shape, budget: budget)
        elements.withUnsafeBytes { bytes in
            if let base = bytes.baseAddress { pointer.copyMemory(from: base, byteCount: bytes.count) }
        }
    }

    /// A tensor with the given elements, copied. `T` must match `type` in size; not for strings and types below 8 bits.
    public init<T: BitwiseCopyable>(_ type: ElementType, _ dimensions: [Int], _ elements: [T]) throws {
        try self.init(type, dimensions, elements, budget: .shared)
    }

    /// Reads the elements in place: row-major, as `ElementType.bitWidth` lays them out.
    public func withUnsafeBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
        try withExtendedLifetime(storage) {
            try body(UnsafeRawBufferPointer(start: pointer, count: byteCount))
        }
    }

    /// An int64 vector.
    package static func int64(_ elements: [Int]) throws -> Tensor {
        try Tensor(.int64, [elements.count], elements.map(Int64.init))
    }

    /// A float scalar.
    package static func float32(_ element: Float) throws -> Tensor {
        try Tensor(.float32, [], [element])
    }
}
