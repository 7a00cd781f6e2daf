/// Anything that flows along an edge of the graph.
public enum Value: Sendable {
    // Stored in place: making a value of a tensor allocates nothing.
    case tensor(Tensor)
    case strings(StringTensor)
    case sequence(SequenceValue)
    indirect case map(MapValue)
    indirect case optional(OptionalValue)
    indirect case sparse(SparseTensor)
}

/// A tensor of strings, row-major.
public struct StringTensor: Sendable {
    public let shape: Shape
    public let elements: [ByteString]

    public init(shape: Shape, elements: [ByteString]) throws {
        guard shape.count == elements.count else {
            throw ApusError(.shapeMismatch, "\(elements.count) strings do not fill shape \(shape)")
        }
        self.shape = shape
        self.elements = elements
    }
}

/// An ordered list of values of one type.
public struct SequenceValue: Sendable {
    public var elementType: ValueType
    public var elements: [Value]

    public init(elementType: ValueType, elements: [Value]) {
        self.elementType = elementType
        self.elements = elements
    }
}

/// A dictionary with integer or string keys, in the order of insertion.
public struct MapValue: Sendable {
    public enum Keys: Sendable {
        case integers(ElementType, [Int64])
        case strings([ByteString])

        public var count: Int {
            switch self {
            case .integers(_, let keys): keys.count
            case .strings(let keys): keys.count
            }
        }
    }

    public var keys: Keys
    /// As many as keys: a tensor (or strings) of one value per key.
    public var values: Value

    public init(keys: Keys, values: Value) {
        self.keys = keys
        self.values = values
    }
}

/// A value that may be absent.
public struct OptionalValue: Sendable {
    public var elementType: ValueType
    public var element: Value?

    public init(elementType: ValueType, element: Value?) {
        self.elementType = elementType
        self.element = element
    }
}

/// A sparse tensor in coordinate form.
public struct SparseTensor: Sendable {
    public let shape: Shape
    /// The stored elements, a vector of numbers or strings; all others are zero or empty.
    public let values: Value
    /// int64, [count] of linear positions or [count, rank] of coordinates.
    public let indices: Tensor

    public init(shape: Shape, values: Value, indices: Tensor) {
        self.shape = shape
        self.values = values
        self.indices = indices
    }
}

/// The type of a value, with what is known of its shape.
public indirect enum ValueType: Hashable, Sendable {
    case tensor(ElementType, PartialShape)
    case sparse(ElementType, PartialShape)
    case sequence(ValueType)
    case map(key: ElementType, value: ValueType)
    case optional(ValueType)
}

/// What sort of value something is.
public enum ValueKind: Int32, Sendable, CaseIterable {
    case tensor = 1
    case sequence, map, optional, sparse
}

extension Value {
    /// The kind; a string tensor is a tensor.
    public var kind: ValueKind { type.kind }

    /// The dense tensor this is, or an error.
    public func asTensor() throws -> Tensor {
        if case .tensor(let tensor) = self { return tensor }
        throw ApusError(.typeMismatch, "a dense tensor expected, found \(type)")
    }

    public func asSequence() throws -> SequenceValue {
        if case .sequence(let sequence) = self { return sequence }
        throw ApusError(.typeMismatch, "a sequence expected, found \(type)")
    }

    public func asStrings() throws -> StringTensor {
        if case .strings(let strings) = self { return strings }
        throw ApusError(.typeMismatch, "a string tensor expected, found \(type)")
    }

    public func asOptional() throws -> OptionalValue {
        if case .optional(let optional) = self { return optional }
        throw ApusError(.typeMismatch, "an optional expected, found \(type)")
    }

    /// Type and shape of this very value.
    public var type: ValueType {
        switch self {
        case .tensor(let tensor): .tensor(tensor.type, PartialShape(tensor.shape))
        case .strings(let strings): .tensor(.string, PartialShape(strings.shape))
        case .sequence(let sequence): .sequence(sequence.elementType)
        case .map(let map):
            switch map.keys {
            case .integers(let type, _): .map(key: type, value: map.values.type)
            case .strings: .map(key: .string, value: map.values.type)
            }
        case .optional(let optional): .optional(optional.elementType)
        case .sparse(let sparse): .sparse(sparse.values.type.elementType ?? .float32, PartialShape(sparse.shape))
        }
    }

    /// The same contents in memory that Apus owns: parts that lie in the caller's memory or in a mapped file are copied.
    package func owned(budget: MemoryBudget) throws -> Value {
        switch self {
        case .tensor(let tensor):
            return tensor.storage.isOwned ? self : .tensor(try tensor.copied(budget: budget))
        case .strings: return self
        case .sequence(var sequence):
            sequence.elements = try sequence.elements.map { try $0.owned(budget: budget) }
            return .sequence(sequence)
        case .map(var map):
            map.values = try map.values.owned(budget: budget)
            return .map(map)
        case .optional(var optional):
            optional.element = try optional.element?.owned(budget: budget)
            return .optional(optional)
        case .sparse(let sparse):
            let values = try sparse.values.owned(budget: budget)
            let indices = try Value.tensor(sparse.indices).owned(budget: budget).asTensor()
            return .sparse(SparseTensor(shape: sparse.shape, values: values, indices: indices))
        }
    }

    /// The shape of a dense or string tensor; nil for other kinds.
    public var shape: Shape? {
        switch self {
        case .tensor(let tensor): tensor.shape
        case .strings(let strings): strings.shape
        default: nil
        }
    }
}

extension ValueType: CustomStringConvertible {
    /// As onnxruntime spells types, with the shape: `tensor(float)[N,3]`, `seq(tensor(int64)[?])`.
    public var description: String {
        switch self {
        case .tensor(let type, let shape): "tensor(\(type.name))\(shape)"
        case .sparse(let type, let shape): "sparse_tensor(\(type.name))\(shape)"
        case .sequence(let element): "seq(\(element))"
        case .map(let key, let value): "map(\(key.name),\(value))"
        case .optional(let element): "optional(\(element))"
        }
    }

    /// The kind of a value of this type.
    public var kind: ValueKind {
        switch self {
        case .tensor: .tensor
        case .sparse: .sparse
        case .sequence: .sequence
        case .map: .map
        case .optional: .optional
        }
    }

    /// The element type of a dense or string tensor.
    package var elementType: ElementType? {
        if case .tensor(let type, _) = self { return type }
        return nil
    }

    /// What is known of the shape of a dense or string tensor.
    package var shape: PartialShape? {
        if case .tensor(_, let shape) = self { return shape }
        return nil
    }
}

extension ValueType {
    /// Whether both types are the same when shapes are left out of account.
    package func isSameApartFromShape(as other: ValueType) -> Bool {
        switch (self, other) {
        case (.tensor(let a, _), .tensor(let b, _)), (.sparse(let a, _), .sparse(let b, _)): a == b
        case (.sequence(let a), .sequence(let b)), (.optional(let a), .optional(let b)): a.isSameApartFromShape(as: b)
        case (.map(let a, let x), .map(let b, let y)): a == b && x.isSameApartFromShape(as: y)
        default: false
        }
    }
}

extension MapValue {
    /// The keys as a vector of their own type.
    package func keyTensor() throws -> Value {
        switch keys {
        case .strings(let keys): return .strings(try StringTensor(shape: .vector(keys.count), elements: keys))
        case .integers(let type, let keys):
            let tensor = try Tensor.allocate(type, .vector(keys.count))
            for (index, key) in keys.enumerated() {
                switch type.byteWidth {
                case 1: tensor.pointer.storeBytes(of: Int8(truncatingIfNeeded: key), toByteOffset: index, as: Int8.self)
                case 2: tensor.pointer.storeBytes(of: Int16(truncatingIfNeeded: key), toByteOffset: index * 2, as: Int16.self)
                case 4: tensor.pointer.storeBytes(of: Int32(truncatingIfNeeded: key), toByteOffset: index * 4, as: Int32.self)
                case 8: tensor.pointer.storeBytes(of: key, toByteOffset: index * 8, as: Int64.self)
                default: throw ApusError(.typeMismatch, "\(type.name) cannot be a map's key")
                }
            }
            return .tensor(tensor)
        }
    }
}

extension SparseTensor {
    /// Throws unless the indices are int64, of a form that fits the values, ascending, and within the shape.
    package func verify() throws {
        guard let stored = values.shape, stored.rank == 1 else {
            throw ApusError(.shapeMismatch, "the values of a sparse tensor must be a vector, found \(values.type)")
        }
        guard indices.type == .int64 else {
            throw ApusError(.typeMismatch, "the indices of a sparse tensor must be int64, found \(indices.type.name)")
        }
        guard indices.shape.dimensions == [stored.count] || indices.shape.dimensions == [stored.count, shape.rank] else {
            throw ApusError(
                .shapeMismatch, "indices of shape \(indices.shape) do not place \(stored.count) values in the sparse shape \(shape)")
        }
        _ = try linearPositions(.invalidValue)
    }
}
