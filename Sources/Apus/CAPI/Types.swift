import ApusCore
import CApus

/// A type with what its getters give already made.
final class TypeHandle: Handle, @unchecked Sendable {
    let type: ValueType
    let name: CString
    let element: TypeHandle?
    /// Size (-1: not fixed) and name of each dimension.
    let dimensions: [(size: Int64, symbol: CString?)]?

    init(_ type: ValueType) {
        self.type = type
        name = CString(type.onnxruntimeName)
        switch type {
        case .sequence(let inner), .optional(let inner), .map(_, let inner): element = TypeHandle(inner)
        case .tensor, .sparse: element = nil
        }
        dimensions = type.anyShape?.dimensions?.map { dimension in
            switch dimension {
            case .known(let size) where size >= 0: (Int64(size), nil)
            case .known, .unknown: (-1, nil)
            case .symbolic(let expression): (-1, expression.plainName.map { CString($0) } ?? CString(expression.description))
            }
        }
    }

    var elementType: ElementType? {
        switch type {
        case .tensor(let element, _), .sparse(let element, _), .map(let element, _): element
        case .sequence, .optional: nil
        }
    }
}

extension ValueType {
    /// As onnxruntime spells it: without shapes.
    var onnxruntimeName: String {
        switch self {
        case .tensor(let type, _): "tensor(\(type.name))"
        case .sparse(let type, _): "sparse_tensor(\(type.name))"
        case .sequence(let element): "seq(\(element.onnxruntimeName))"
        case .map(let key, let value): "map(\(key.name),\(value.onnxruntimeName))"
        case .optional(let element): "optional(\(element.onnxruntimeName))"
        }
    }

    /// The shape of a dense or sparse tensor type.
    var anyShape: PartialShape? {
        switch self {
        case .tensor(_, let shape), .sparse(_, let shape): shape
        case .sequence, .map, .optional: nil
        }
    }
}

extension ElementType {
    init(_ type: apus_element_type) throws {
        guard let raw = Int32(exactly: type.rawValue), let element = ElementType(rawValue: raw) else {
            throw ApusError(.invalidArgument, "\(type.rawValue) is no element type")
        }
        self = element
    }

    var cValue: apus_element_type { apus_element_type(UInt32(rawValue)) }
}

private let elementTypeNames = ElementType.allCases.map { CString($0.name) }

@c @implementation
public func apus_element_type_bits(_ type: apus_element_type) -> Int {
    (try? ElementType(type))?.bitWidth ?? 0
}

@c @implementation
public func apus_element_type_name(_ type: apus_element_type) -> UnsafePointer<CChar>? {
    guard let element = try? ElementType(type), let index = ElementType.allCases.firstIndex(of: element) else { return nil }
    return UnsafePointer(elementTypeNames[index].pointer)
}

@c @implementation
public func apus_type_create_tensor(
    _ element: apus_element_type, _ out: UnsafeMutablePointer<OpaquePointer?>?
) -> OpaquePointer? {
    guarded {
        try required(out).pointee = TypeHandle(.tensor(try ElementType(element), .unknown)).retainedHandle()
    }
}

@c @implementation
public func apus_type_create_sequence(_ element: OpaquePointer?, _ out: UnsafeMutablePointer<OpaquePointer?>?) -> OpaquePointer? {
    guarded {
        let element = try TypeHandle.required(element, "element")
        try required(out).pointee = TypeHandle(.sequence(element.type)).retainedHandle()
    }
}

@c @implementation
public func apus_type_create_map(
    _ key: apus_element_type, _ value: OpaquePointer?, _ out: UnsafeMutablePointer<OpaquePointer?>?
) -> OpaquePointer? {
    guarded {
        let key = try ElementType(key), value = try TypeHandle.required(value, "value")
        guard key == .string || key.isInteger && key.byteWidth != nil else {
            throw ApusError(.invalidArgument, "\(key.name) cannot be a map's key")
        }
        try required(out).pointee = TypeHandle(.map(key: key, value: value.type)).retainedHandle()
    }
}

@c @implementation
public func apus_type_create_sparse(
    _ element: apus_element_type, _ out: UnsafeMutablePointer<OpaquePointer?>?
) -> OpaquePointer? {
    guarded {
        let element = try ElementType(element)
        try required(out).pointee = TypeHandle(.sparse(element, .unknown)).retainedHandle()
    }
}

@c @implementation
public func apus_type_create_optional(_ element: OpaquePointer?, _ out: UnsafeMutablePointer<OpaquePointer?>?) -> OpaquePointer? {
    guarded {
        let element = try TypeHandle.required(element, "element")
        try required(out).pointee = TypeHandle(.optional(element.type)).retainedHandle()
    }
}

@c @implementation
public func apus_type_destroy(_ type: OpaquePointer?) { TypeHandle.destroy(type) }

@c @implementation
public func apus_type_kind(_ type: OpaquePointer?) -> apus_value_kind {
    apus_value_kind(UInt32(TypeHandle.from(type)?.type.kind.rawValue ?? 0))
}

@c @implementation
public func apus_type_element_type(_ type: OpaquePointer?) -> apus_element_type {
    TypeHandle.from(type)?.elementType?.cValue ?? APUS_UNDEFINED
}

@c @implementation
public func apus_type_element(_ type: OpaquePointer?) -> OpaquePointer? {
    TypeHandle.from(type)?.element?.borrowedHandle
}

@c @implementation
public func apus_type_rank(_ type: OpaquePointer?, _ rank: UnsafeMutablePointer<Int>?) -> Bool {
    guard let dimensions = TypeHandle.from(type)?.dimensions else { return false }
    rank?.pointee = dimensions.count
    return true
}

@c @implementation
public func apus_type_dimension(
    _ type: OpaquePointer?, _ axis: Int, _ symbol: UnsafeMutablePointer<UnsafePointer<CChar>?>?
) -> Int64 {
    symbol?.pointee = nil
    guard let dimensions = TypeHandle.from(type)?.dimensions, dimensions.indices.contains(axis) else { return -1 }
    symbol?.pointee = dimensions[axis].symbol.map { UnsafePointer($0.pointer) }
    return dimensions[axis].size
}

@c @implementation
public func apus_type_name(_ type: OpaquePointer?) -> UnsafePointer<CChar>? {
    TypeHandle.from(type).map { UnsafePointer($0.name.pointer) }
}
