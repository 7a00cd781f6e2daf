import ApusCore
import CApusONNX

/// Reads tensors: views of their data where the bytes can be used as they are, decoded copies otherwise.
struct TensorReader {
    let model: ModelReader

    /// More axes than any operator takes.
    static let maximumRank = 64

    /// Unaligned data of at most so many bytes are copied to aligned memory. Larger ones stay views: copies of them would
    /// hold the weights twice until they are packed. Kernels that pack weights read unaligned memory.
    static let largestAlignedCopy = 16 << 10

    /// Reads a dense tensor; messages of errors begin with `what`.
    func read(_ handle: OpaquePointer, as what: @autoclosure () -> String) throws -> Value {
        var info = capus_tensor_info()
        capus_tensor_read(model.handle, handle, &info)
        return try prefixingErrors(with: what()) { try read(handle, info) }
    }

    private func read(_ handle: OpaquePointer, _ info: capus_tensor_info) throws -> Value {
        if info.has_segment { throw ApusError(.unsupported, "tensors in segments are not supported") }
        let type = try TypeReader.elementType(info.data_type)
        let shape = try TensorReader.shape(info.dims, rank: info.rank)
        switch info.data_location {
        case 0: break
        case 1: return try readExternal(handle, info, type, shape)
        default: throw ApusError(.unsupported, "data location number \(info.data_location) is unknown")
        }
        let field = try dataField(info, type)
        if type == .string {
            return try readStrings(handle, held: info.string_count, shape)
        }
        guard let byteCount = type.byteCount(shape.count) else {
            throw ApusError(.memoryLimit, "shape \(shape) has more elements than memory can hold")
        }
        if info.has_raw_data {
            guard info.raw_data.size == byteCount else {
                throw ApusError(
                    .invalidModel, "raw_data of \(info.raw_data.size) bytes, but a \(type.name) tensor of shape \(shape) has \(byteCount)")
            }
            return .tensor(try tensor(part(info.raw_data), type, shape))
        }
        guard let field else {
            guard shape.count == 0 else { throw ApusError(.invalidModel, "no data, but shape \(shape) has \(shape.count) elements") }
            return .tensor(try .allocate(type, shape, budget: model.budget))
        }
        return .tensor(try decode(handle, field, type, shape))
    }

    /// The dimensions as a shape.
    static func shape(_ dims: UnsafePointer<Int64>?, rank: Int) throws -> Shape {
        guard rank <= maximumRank else { throw ApusError(.unsupported, "rank \(rank), expected at most \(maximumRank)") }
        let dimensions = UnsafeBufferPointer(start: dims, count: rank).map { Int($0) }
        if let negative = dimensions.first(where: { $0 < 0 }) {
            throw ApusError(.invalidModel, "dimension \(negative) is negative")
        }
        return try Shape(dimensions)
    }

    // MARK: Views

    /// The part of the model's bytes that the border points at.
    private func part(_ bytes: capus_bytes) -> DataRegion {
        let bytes = UnsafeRawBufferPointer(start: bytes.data, count: bytes.size)
        return DataRegion(bytes: bytes, owner: model.region.owner, mapping: model.region.mapping)
    }

    private func readExternal(
        _ handle: OpaquePointer, _ info: capus_tensor_info, _ type: ElementType, _ shape: Shape
    ) throws -> Value {
        guard try dataField(info, type) == nil, !info.has_raw_data || info.raw_data.isEmpty else {
            throw ApusError(.invalidModel, "data both in the model and outside")
        }
        guard type != .string else { throw ApusError(.invalidModel, "strings cannot be external data") }
        guard let byteCount = type.byteCount(shape.count) else {
            throw ApusError(.memoryLimit, "shape \(shape) has more elements than memory can hold")
        }
        let reference = try ExternalDataResolver.Reference(handle, count: info.external_count)
        if byteCount == 0 {
            guard reference.length ?? 0 == 0 else {
                throw ApusError(.externalData, "\(reference.length ?? 0) bytes of external data for a tensor without elements")
            }
            return .tensor(try .allocate(type, shape, budget: model.budget))
        }
        return .tensor(try tensor(try model.resolver.data(reference, byteCount: byteCount), type, shape))
    }

    /// A tensor over `data`, which has the size that type and shape need.
    private func tensor(_ data: DataRegion, _ type: ElementType, _ shape: Shape) throws -> Tensor {
        guard let base = data.bytes.baseAddress, !data.bytes.isEmpty else {
            return try .allocate(type, shape, budget: model.budget)
        }
        let byteCount = data.bytes.count
        let alignment = min(type.byteWidth ?? 1, 8)
        let isAligned = UInt(bitPattern: base) % UInt(alignment) == 0
        let mustChange = type == .bool ? data.bytes.contains { $0 > 1 } : padding(type, shape, data.bytes) != 0
        if !mustChange, isAligned || byteCount > TensorReader.largestAlignedCopy {
            return try Tensor(type: type, shape: shape, storage: try data.storage())
        }
        let copy = try Tensor.allocate(type, shape, budget: model.budget)
        copy.pointer.copyMemory(from: base, byteCount: byteCount)
        if mustChange { normalize(copy) }
        return copy
    }

    /// The bits of the last byte that belong to no element; they should be zero.
    private func padding(_ type: ElementType, _ shape: Shape, _ bytes: UnsafeRawBufferPointer) -> UInt8 {
        guard type.bitWidth < 8, let last = bytes.last else { return 0 }
        return last & ~TensorReader.usedBits(type, shape.count)
    }

    /// The bits of the last byte that `count` elements of a type below 8 bits use.
    private static func usedBits(_ type: ElementType, _ count: Int) -> UInt8 {
        // Only the last bits matter: any eight elements fill whole bytes.
        let bits = count % 8 * type.bitWidth % 8
        return bits == 0 ? 0xFF : UInt8((1 << bits) - 1)
    }

    /// Makes booleans 0 or 1, and clears the bits behind the last packed element.
    private func normalize(_ tensor: Tensor) {
        let bytes = UnsafeMutableRawBufferPointer(start: tensor.pointer, count: tensor.byteCount)
        if tensor.type == .bool {
            for index in bytes.indices where bytes[index] > 1 { bytes[index] = 1 }
        } else if tensor.type.bitWidth < 8, !bytes.isEmpty {
            bytes[bytes.count - 1] &= TensorReader.usedBits(tensor.type, tensor.count)
        }
    }

    // MARK: Typed fields

    /// The one typed field that holds data, which must be the one that ONNX means for the type; nil where none does.
    private func dataField(_ info: capus_tensor_info, _ type: ElementType) throws -> capus_data_field? {
        let fields: [(field: capus_data_field, name: String, count: UInt64)] = [
            (CAPUS_FLOAT_DATA, "float_data", info.float_count), (CAPUS_INT32_DATA, "int32_data", info.int32_count),
            (CAPUS_STRING_DATA, "string_data", info.string_count), (CAPUS_INT64_DATA, "int64_data", info.int64_count),
            (CAPUS_DOUBLE_DATA, "double_data", info.double_count), (CAPUS_UINT64_DATA, "uint64_data", info.uint64_count),
        ]
        let present = fields.filter { $0.count > 0 }
        if type == .string, info.has_raw_data { throw ApusError(.invalidModel, "strings cannot be raw_data") }
        guard let first = present.first else { return nil }
        if present.count > 1 { throw ApusError(.invalidModel, "data both in \(first.name) and \(present[1].name)") }
        if info.has_raw_data { throw ApusError(.invalidModel, "data both in \(first.name) and raw_data") }
        let expected: capus_data_field =
            switch type {
            case .float32, .complex64: CAPUS_FLOAT_DATA
            case .float64, .complex128: CAPUS_DOUBLE_DATA
            case .int64: CAPUS_INT64_DATA
            case .uint32, .uint64: CAPUS_UINT64_DATA
            case .string: CAPUS_STRING_DATA
            default: CAPUS_INT32_DATA
            }
        guard first.field == expected else { throw ApusError(.invalidModel, "\(type.name) elements in \(first.name)") }
        return expected
    }

    private func decode(_ handle: OpaquePointer, _ field: capus_data_field, _ type: ElementType, _ shape: Shape) throws -> Tensor {
        let byteCount = type.byteCount(shape.count) ?? 0
        let inPlace = capus_tensor_in_place(model.handle, handle, field)
        if inPlace.size == byteCount, byteCount > 0 { return try tensor(part(inPlace), type, shape) }
        // 4- and 2-bit types come packed in bytes, one byte a number; 6-bit types one element a number.
        let isSixBit = type.bitWidth == 6
        let count: Int
        let width: Int
        switch type {
        case .complex64, .complex128:
            let (doubled, overflow) = shape.count.multipliedReportingOverflow(by: 2)
            (count, width) = (overflow ? Int.max : doubled, type.bitWidth / 16)
        default:
            (count, width) = type.bitWidth < 8 && !isSixBit ? (byteCount, 1) : (shape.count, type.byteWidth ?? 1)
        }
        let held = self.held(handle, field)
        guard UInt64(exactly: count) == held else {
            throw ApusError(.invalidModel, "\(held) numbers in the data field, but a \(type.name) tensor of shape \(shape) has \(count)")
        }
        if isSixBit { return try decodeSixBit(handle, type, shape) }
        let result = try Tensor.allocate(type, shape, budget: model.budget)
        try checkBorder { capus_tensor_decode(model.handle, handle, field, width, result.pointer, UInt64(count), $0) }
        normalize(result)
        return result
    }

    private func held(_ handle: OpaquePointer, _ field: capus_data_field) -> UInt64 {
        var info = capus_tensor_info()
        capus_tensor_read(model.handle, handle, &info)
        switch field {
        case CAPUS_FLOAT_DATA: return info.float_count
        case CAPUS_INT32_DATA: return info.int32_count
        case CAPUS_INT64_DATA: return info.int64_count
        case CAPUS_DOUBLE_DATA: return info.double_count
        case CAPUS_UINT64_DATA: return info.uint64_count
        default: return info.string_count
        }
    }

    private func decodeSixBit(_ handle: OpaquePointer, _ type: ElementType, _ shape: Shape) throws -> Tensor {
        let numbers = try Tensor.allocate(.uint8, shape, budget: model.budget)
        try checkBorder {
            capus_tensor_decode(model.handle, handle, CAPUS_INT32_DATA, 1, numbers.pointer, UInt64(shape.count), $0)
        }
        let result = try Tensor.allocate(type, shape, budget: model.budget)
        let source = UnsafeRawBufferPointer(start: numbers.pointer, count: numbers.byteCount)
        let bytes = UnsafeMutableRawBufferPointer(start: result.pointer, count: result.byteCount)
        for index in bytes.indices { bytes[index] = 0 }
        for index in source.indices { PackedElements.store(source[index], at: index, bitWidth: 6, in: bytes) }
        return result
    }

    private func readStrings(_ handle: OpaquePointer, held: UInt64, _ shape: Shape) throws -> Value {
        guard UInt64(exactly: shape.count) == held else {
            throw ApusError(.invalidModel, "\(held) strings, but shape \(shape) has \(shape.count) elements")
        }
        // A string takes much more memory than the two bytes it may take in the file.
        let (needed, overflow) = shape.count.multipliedReportingOverflow(by: 64)
        let reserved = overflow ? Int.max : needed
        try model.budget.reserve(reserved, for: "a tensor of \(shape.count) strings")
        defer { model.budget.release(reserved) }
        var views = [capus_bytes](repeating: capus_bytes(), count: shape.count)
        try checkBorder { capus_tensor_strings(model.handle, handle, &views, UInt64(shape.count), $0) }
        return .strings(try StringTensor(shape: shape, elements: views.map { ByteString($0) }))
    }

    // MARK: Sparse tensors

    /// Reads a sparse tensor and checks that its indices lie within its shape.
    func readSparse(_ handle: OpaquePointer, as what: @autoclosure () -> String) throws -> SparseTensor {
        try prefixingErrors(with: what()) {
            var info = capus_sparse_tensor_info()
            capus_sparse_tensor_read(handle, &info)
            let shape = try TensorReader.shape(info.dims, rank: info.rank)
            guard let valuesHandle = info.values, let indicesHandle = info.indices else {
                throw ApusError(.invalidModel, "a sparse tensor without values or indices")
            }
            let values = try read(valuesHandle, as: "values"), indices = try read(indicesHandle, as: "indices")
            guard case .tensor(let positions) = indices, positions.type == .int64 else {
                throw ApusError(.invalidModel, "the indices of a sparse tensor must be int64, not \(indices.type)")
            }
            let sparse = SparseTensor(shape: shape, values: values, indices: positions)
            _ = try sparse.linearPositions()
            return sparse
        }
    }
}
