import ApusCore
import CApus
import Synchronization

/// A value with what its getters give made on first use.
final class ValueHandle: Handle, @unchecked Sendable {
    let value: Value

    init(_ value: Value) {
        self.value = value
    }

    /// What getters hand out pointers to.
    private struct Views: Sendable {
        var type: TypeHandle?
        var dimensions: Dimensions?
        var strings: [CString]?
    }

    private final class Dimensions: @unchecked Sendable {
        let pointer: UnsafeMutablePointer<Int64>

        init(_ dimensions: [Int]) {
            pointer = .allocate(capacity: max(dimensions.count, 1))
            for (index, dimension) in dimensions.enumerated() { pointer[index] = Int64(dimension) }
        }

        deinit { pointer.deallocate() }
    }

    private let views = Mutex(Views())

    /// Shape of a dense (or string) or sparse tensor.
    var shape: Shape? {
        if case .sparse(let sparse) = value { return sparse.shape }
        return value.shape
    }

    var type: TypeHandle {
        views.withLock { views in
            if let type = views.type { return type }
            let type = TypeHandle(value.type)
            views.type = type
            return type
        }
    }

    var dimensions: UnsafePointer<Int64>? {
        guard let shape, shape.rank > 0 else { return nil }
        return views.withLock { views in
            if let dimensions = views.dimensions { return UnsafePointer(dimensions.pointer) }
            let dimensions = Dimensions(shape.dimensions)
            views.dimensions = dimensions
            return UnsafePointer(dimensions.pointer)
        }
    }

    func string(_ index: Int) -> CString? {
        guard case .strings(let tensor) = value, tensor.elements.indices.contains(index) else { return nil }
        return views.withLock { views in
            if let strings = views.strings { return strings[index] }
            let strings = tensor.elements.map { CString($0) }
            views.strings = strings
            return strings[index]
        }
    }

    var dense: Tensor? {
        if case .tensor(let tensor) = value { return tensor }
        return nil
    }
}

/// The dimensions a caller gives, checked.
private func shape(_ dimensions: UnsafePointer<Int64>?, _ rank: Int) throws -> Shape {
    if rank == 0 { return .scalar }
    guard let dimensions, rank > 0 else { throw ApusError(.invalidArgument, "dimensions is NULL") }
    return try Shape(UnsafeBufferPointer(start: dimensions, count: rank).map { Int($0) })
}

private func numeric(_ type: apus_element_type) throws -> ElementType {
    let element = try ElementType(type)
    guard element != .string else {
        throw ApusError(.invalidArgument, "strings have no layout in memory: use apus_value_create_strings()")
    }
    return element
}

@c @implementation
public func apus_value_create_tensor(
    _ type: apus_element_type, _ dimensions: UnsafePointer<Int64>?, _ rank: Int, _ out: UnsafeMutablePointer<OpaquePointer?>?
) -> OpaquePointer? {
    guarded {
        let out = try required(out)
        let tensor = try Tensor.allocate(try numeric(type), try shape(dimensions, rank))
        out.pointee = ValueHandle(.tensor(tensor)).retainedHandle()
    }
}

@c @implementation
public func apus_value_create_tensor_over(
    _ type: apus_element_type, _ dimensions: UnsafePointer<Int64>?, _ rank: Int, _ data: UnsafeMutableRawPointer?, _ size: Int,
    _ release: apus_release_function?, _ user_data: UnsafeMutableRawPointer?, _ out: UnsafeMutablePointer<OpaquePointer?>?
) -> OpaquePointer? {
    guarded {
        let out = try required(out)
        let (type, shape) = try lentShape(type, dimensions, rank, data, size)
        let lent = Lent(release: release, userData: user_data)
        let storage = Storage.borrow(data ?? Lent.nowhere, byteCount: size) { lent.giveBack() }
        out.pointee = ValueHandle(.tensor(try Tensor(type: type, shape: shape, storage: storage))).retainedHandle()
    }
}

/// Type and shape of a tensor in `size` bytes of a caller's memory; throws unless these are right for it.
func lentShape(
    _ type: apus_element_type, _ dimensions: UnsafePointer<Int64>?, _ rank: Int, _ data: UnsafeMutableRawPointer?, _ size: Int
) throws -> (type: ElementType, shape: Shape) {
    let type = try numeric(type)
    let shape = try shape(dimensions, rank)
    guard let bytes = type.byteCount(shape.count), bytes == size else {
        throw ApusError(
            .invalidArgument,
            "a \(type.name) tensor of shape \(shape) takes \(type.byteCount(shape.count).map(String.init) ?? "too many") bytes, \(size) given")
    }
    guard data != nil || size == 0 else { throw ApusError(.invalidArgument, "data is NULL") }
    let alignment = min(max(type.byteWidth ?? 1, 1), 8)
    guard data.map({ UInt(bitPattern: $0) % UInt(alignment) == 0 }) ?? true else {
        throw ApusError(.invalidArgument, "data of \(type.name) must be aligned to \(alignment) bytes")
    }
    return (type, shape)
}

/// What a caller wants to hear when its memory is no longer used.
struct Lent: @unchecked Sendable {
    let release: apus_release_function?
    let userData: UnsafeMutableRawPointer?

    func giveBack() { release?(userData) }

    /// An address for tensors without elements.
    static var nowhere: UnsafeMutableRawPointer { UnsafeMutableRawPointer(CString.nothing.pointer) }
}

extension CString {
    static let nothing = CString([])
}

@c @implementation
public func apus_value_create_strings(
    _ dimensions: UnsafePointer<Int64>?, _ rank: Int, _ strings: UnsafePointer<apus_string>?, _ count: Int,
    _ out: UnsafeMutablePointer<OpaquePointer?>?
) -> OpaquePointer? {
    guarded {
        let out = try required(out)
        let shape = try shape(dimensions, rank)
        guard count == shape.count else {
            throw ApusError(.invalidArgument, "shape \(shape) holds \(shape.count) strings, \(count) given")
        }
        guard strings != nil || count == 0 else { throw ApusError(.invalidArgument, "strings is NULL") }
        let elements = try UnsafeBufferPointer(start: strings, count: count).map { string in
            guard string.data != nil || string.size == 0, string.size >= 0 else {
                throw ApusError(.invalidArgument, "a string of \(string.size) bytes has no data")
            }
            return ByteString(UnsafeRawBufferPointer(start: string.data, count: string.size))
        }
        out.pointee = ValueHandle(.strings(try StringTensor(shape: shape, elements: elements))).retainedHandle()
    }
}

@c @implementation
public func apus_value_create_sequence(
    _ element: OpaquePointer?, _ elements: UnsafePointer<OpaquePointer?>?, _ count: Int,
    _ out: UnsafeMutablePointer<OpaquePointer?>?
) -> OpaquePointer? {
    guarded {
        let out = try required(out)
        let type = try TypeHandle.required(element, "element").type
        guard count >= 0, elements != nil || count == 0 else { throw ApusError(.invalidArgument, "elements is NULL") }
        let values = try UnsafeBufferPointer(start: elements, count: count).map { handle in
            let value = try ValueHandle.required(handle, "an element").value
            guard value.type.isSameApartFromShape(as: type) else {
                throw ApusError(.typeMismatch, "a sequence of \(type) cannot hold \(value.type)")
            }
            return value
        }
        out.pointee = ValueHandle(.sequence(SequenceValue(elementType: type, elements: values))).retainedHandle()
    }
}

@c @implementation
public func apus_value_create_map(
    _ keys: OpaquePointer?, _ values: OpaquePointer?, _ out: UnsafeMutablePointer<OpaquePointer?>?
) -> OpaquePointer? {
    guarded {
        let out = try required(out)
        let keys = try mapKeys(try ValueHandle.required(keys, "keys").value)
        let values = try ValueHandle.required(values, "values").value
        let count = if case .sequence(let sequence) = values { sequence.elements.count } else { values.shape?.count ?? 0 }
        guard count == keys.count else {
            throw ApusError(.shapeMismatch, "\(keys.count) keys cannot have \(count) values")
        }
        out.pointee = ValueHandle(.map(MapValue(keys: keys, values: values))).retainedHandle()
    }
}

private func mapKeys(_ value: Value) throws -> MapValue.Keys {
    switch value {
    case .strings(let strings): return .strings(strings.elements)
    case .tensor(let tensor) where tensor.type.isInteger && tensor.type.byteWidth != nil:
        return .integers(tensor.type, try tensor.integers().map(Int64.init))
    default: throw ApusError(.typeMismatch, "keys must be integers or strings, found \(value.type)")
    }
}

@c @implementation
public func apus_value_create_optional(
    _ element_type: OpaquePointer?, _ element: OpaquePointer?, _ out: UnsafeMutablePointer<OpaquePointer?>?
) -> OpaquePointer? {
    guarded {
        let out = try required(out)
        let type = try TypeHandle.required(element_type, "element_type").type
        let value = ValueHandle.from(element)?.value
        if let value, !value.type.isSameApartFromShape(as: type) {
            throw ApusError(.typeMismatch, "an optional of \(type) cannot hold \(value.type)")
        }
        out.pointee = ValueHandle(.optional(OptionalValue(elementType: type, element: value))).retainedHandle()
    }
}

@c @implementation
public func apus_value_create_sparse(
    _ dimensions: UnsafePointer<Int64>?, _ rank: Int, _ values: OpaquePointer?, _ indices: OpaquePointer?,
    _ out: UnsafeMutablePointer<OpaquePointer?>?
) -> OpaquePointer? {
    guarded {
        let out = try required(out)
        let sparse = SparseTensor(
            shape: try shape(dimensions, rank), values: try ValueHandle.required(values, "values").value,
            indices: try ValueHandle.required(indices, "indices").value.asTensor())
        try sparse.verify()
        out.pointee = ValueHandle(.sparse(sparse)).retainedHandle()
    }
}

@c @implementation
public func apus_value_destroy(_ value: OpaquePointer?) { ValueHandle.destroy(value) }

@c @implementation
public func apus_value_get_kind(_ value: OpaquePointer?) -> apus_value_kind {
    apus_value_kind(UInt32(ValueHandle.from(value)?.value.kind.rawValue ?? 0))
}

@c @implementation
public func apus_value_get_type(_ value: OpaquePointer?) -> OpaquePointer? {
    ValueHandle.from(value)?.type.borrowedHandle
}

@c @implementation
public func apus_value_element_type(_ value: OpaquePointer?) -> apus_element_type {
    guard let handle = ValueHandle.from(value) else { return APUS_UNDEFINED }
    return switch handle.value {
    case .tensor(let tensor): tensor.type.cValue
    case .strings: APUS_STRING
    case .sparse(let sparse): (sparse.values.type.elementType ?? .float32).cValue
    case .map(let map):
        switch map.keys {
        case .integers(let type, _): type.cValue
        case .strings: APUS_STRING
        }
    case .sequence, .optional: APUS_UNDEFINED
    }
}

@c @implementation
public func apus_value_rank(_ value: OpaquePointer?) -> Int { ValueHandle.from(value)?.shape?.rank ?? 0 }

@c @implementation
public func apus_value_dimensions(_ value: OpaquePointer?) -> UnsafePointer<Int64>? { ValueHandle.from(value)?.dimensions }

@c @implementation
public func apus_value_count(_ value: OpaquePointer?) -> Int {
    switch ValueHandle.from(value)?.value {
    case .tensor(let tensor): tensor.count
    case .strings(let strings): strings.elements.count
    case .sequence(let sequence): sequence.elements.count
    case .map(let map): map.keys.count
    case .optional(let optional): optional.element == nil ? 0 : 1
    case .sparse(let sparse): sparse.values.shape?.count ?? 0
    case nil: 0
    }
}

@c @implementation
public func apus_value_data(_ value: OpaquePointer?) -> UnsafeMutableRawPointer? { ValueHandle.from(value)?.dense?.pointer }

@c @implementation
public func apus_value_const_data(_ value: OpaquePointer?) -> UnsafeRawPointer? {
    ValueHandle.from(value)?.dense.map { UnsafeRawPointer($0.pointer) }
}

@c @implementation
public func apus_value_size(_ value: OpaquePointer?) -> Int { ValueHandle.from(value)?.dense?.byteCount ?? 0 }

@c @implementation
public func apus_value_string(_ value: OpaquePointer?, _ index: Int) -> apus_string {
    stringOrNone(ValueHandle.from(value)?.string(index))
}

@c @implementation
public func apus_value_element(
    _ value: OpaquePointer?, _ index: Int, _ out: UnsafeMutablePointer<OpaquePointer?>?
) -> OpaquePointer? {
    guarded {
        let out = try required(out)
        let elements: [Value] =
            switch try ValueHandle.required(value, "value").value {
            case .sequence(let sequence): sequence.elements
            case .optional(let optional): optional.element.map { [$0] } ?? []
            case let other: throw ApusError(.typeMismatch, "a sequence or an optional expected, found \(other.type)")
            }
        guard elements.indices.contains(index) else {
            throw ApusError(.invalidArgument, "element \(index) of \(elements.count)")
        }
        out.pointee = ValueHandle(elements[index]).retainedHandle()
    }
}

@c @implementation
public func apus_value_keys(_ value: OpaquePointer?, _ out: UnsafeMutablePointer<OpaquePointer?>?) -> OpaquePointer? {
    guarded {
        let out = try required(out)
        let keys: Value
        switch try ValueHandle.required(value, "value").value {
        case .map(let map): keys = try map.keyTensor()
        case .sparse(let sparse): keys = .tensor(sparse.indices)
        case let other: throw ApusError(.typeMismatch, "a map or a sparse tensor expected, found \(other.type)")
        }
        out.pointee = ValueHandle(keys).retainedHandle()
    }
}

@c @implementation
public func apus_value_values(_ value: OpaquePointer?, _ out: UnsafeMutablePointer<OpaquePointer?>?) -> OpaquePointer? {
    guarded {
        let out = try required(out)
        let values: Value
        switch try ValueHandle.required(value, "value").value {
        case .map(let map): values = map.values
        case .sparse(let sparse): values = sparse.values
        case let other: throw ApusError(.typeMismatch, "a map or a sparse tensor expected, found \(other.type)")
        }
        out.pointee = ValueHandle(values).retainedHandle()
    }
}
