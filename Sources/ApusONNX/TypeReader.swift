import ApusCore
import CApusONNX

/// Reads types of values.
enum TypeReader {
    /// The type; nil where the message says nothing. A type that Apus does not know is nil, too, when `tolerant`, else an
    /// error that begins with `what`.
    static func read(_ handle: OpaquePointer, of what: @autoclosure () -> String, tolerant: Bool) throws -> ValueType? {
        do {
            return try read(handle)
        } catch let error as ApusError {
            if tolerant { return nil }
            throw ApusError(error.code, "\(what()): \(error.message)")
        }
    }

    private static func read(_ handle: OpaquePointer) throws -> ValueType? {
        var info = capus_type_info()
        capus_type_read(handle, &info)
        switch info.kind {
        case CAPUS_TYPE_NONE: return nil
        case CAPUS_TYPE_TENSOR: return .tensor(try elementType(info.elem_type), try shape(handle, info))
        case CAPUS_TYPE_SPARSE_TENSOR: return .sparse(try elementType(info.elem_type), try shape(handle, info))
        case CAPUS_TYPE_SEQUENCE: return .sequence(try element(info))
        case CAPUS_TYPE_OPTIONAL: return .optional(try element(info))
        case CAPUS_TYPE_MAP:
            let key = try elementType(info.elem_type)
            guard key.isInteger || key == .string else {
                throw ApusError(.invalidModel, "a map's keys are integers or strings, not \(key.name)")
            }
            return .map(key: key, value: try element(info))
        default:
            throw ApusError(
                .unsupported, "the opaque type \(info.opaque_domain.shown).\(info.opaque_name.shown) is unknown")
        }
    }

    static func elementType(_ number: Int32) throws -> ElementType {
        if number == 0 { throw ApusError(.invalidModel, "the element type is undefined") }
        guard let type = ElementType(rawValue: number) else {
            throw ApusError(.unsupported, "element type number \(number) is unknown")
        }
        return type
    }

    private static func element(_ info: capus_type_info) throws -> ValueType {
        guard let element = info.element, let type = try read(element) else {
            throw ApusError(.invalidModel, "a sequence, optional or map without the type of its elements")
        }
        return type
    }

    private static func shape(_ handle: OpaquePointer, _ info: capus_type_info) throws -> PartialShape {
        if !info.has_shape { return .unknown }
        guard info.rank <= TensorReader.maximumRank else {
            throw ApusError(.unsupported, "rank \(info.rank), expected at most \(TensorReader.maximumRank)")
        }
        return PartialShape(
            (0..<info.rank).map { axis in
                let dim = capus_type_dim(handle, axis)
                switch dim.kind {
                // Exporters write -1 (and other negative numbers) for a size they do not know.
                case CAPUS_DIM_VALUE where dim.value >= 0: return .known(Int(dim.value))
                case CAPUS_DIM_PARAM where !dim.param.isEmpty: return .symbol(ByteString(dim.param))
                default: return .unknown
                }
            })
    }
}
