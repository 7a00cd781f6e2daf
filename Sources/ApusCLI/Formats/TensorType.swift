/// Element types; the raw values are ONNX's `TensorProto.DataType` numbers.
enum TensorType: Int, CaseIterable, Sendable {
    case float32 = 1, uint8, int8, uint16, int16, int32, int64, string, bool, float16, float64, uint32, uint64
    case complex64, complex128, bfloat16, float8e4m3fn, float8e4m3fnuz, float8e5m2, float8e5m2fnuz
    case uint4, int4, float4e2m1, float8e8m0, uint2, int2, float6e2m3, float6e3m2

    /// The name as numpy and ml_dtypes spell it.
    var name: String {
        switch self {
        case .float8e4m3fn: "float8_e4m3fn"
        case .float8e4m3fnuz: "float8_e4m3fnuz"
        case .float8e5m2: "float8_e5m2"
        case .float8e5m2fnuz: "float8_e5m2fnuz"
        case .float4e2m1: "float4_e2m1fn"
        case .float8e8m0: "float8_e8m0fnu"
        case .float6e2m3: "float6_e2m3fn"
        case .float6e3m2: "float6_e3m2fn"
        default: "\(self)"
        }
    }

    init?(name: String) {
        guard let type = Self.allCases.first(where: { $0.name == name }) else { return nil }
        self = type
    }

    /// Bits of one element in a tensor's memory; nil for strings.
    var bits: Int? {
        switch self {
        case .string: nil
        case .uint2, .int2: 2
        case .uint4, .int4, .float4e2m1: 4
        case .float6e2m3, .float6e3m2: 6
        case .bool, .uint8, .int8, .float8e4m3fn, .float8e4m3fnuz, .float8e5m2, .float8e5m2fnuz, .float8e8m0: 8
        case .uint16, .int16, .float16, .bfloat16: 16
        case .float32, .int32, .uint32: 32
        case .float64, .int64, .uint64, .complex64: 64
        case .complex128: 128
        }
    }

    /// Several elements share a byte: a little-endian bit stream, the first element in the lowest bits.
    var isPacked: Bool { (bits ?? 8) < 8 }

    /// Bytes of one element where each has a whole number of them (in .npy files packed elements do too).
    var unpackedSize: Int? { bits.map { max(1, $0 / 8) } }

    /// Bytes that `count` elements take in a tensor's memory; nil for strings and on overflow.
    func byteCount(_ count: Int) -> Int? {
        guard let bits else { return nil }
        let (total, overflow) = count.multipliedReportingOverflow(by: bits)
        if !overflow { return total / 8 + (total % 8 == 0 ? 0 : 1) }
        guard bits % 8 == 0 else { return nil }
        let (bytes, tooMany) = count.multipliedReportingOverflow(by: bits / 8)
        return tooMany ? nil : bytes
    }

    var isFloat: Bool {
        switch self {
        case .float32, .float64, .float16, .bfloat16, .float8e4m3fn, .float8e4m3fnuz, .float8e5m2, .float8e5m2fnuz,
            .float4e2m1, .float8e8m0, .float6e2m3, .float6e3m2:
            true
        default: false
        }
    }

    var isComplex: Bool { self == .complex64 || self == .complex128 }

    /// Signedness and width of an integer type; nil for every other.
    var integer: (signed: Bool, bits: Int)? {
        switch self {
        case .int2: (true, 2)
        case .int4: (true, 4)
        case .int8: (true, 8)
        case .int16: (true, 16)
        case .int32: (true, 32)
        case .int64: (true, 64)
        case .uint2: (false, 2)
        case .uint4: (false, 4)
        case .uint8: (false, 8)
        case .uint16: (false, 16)
        case .uint32: (false, 32)
        case .uint64: (false, 64)
        default: nil
        }
    }
}

/// The number of elements of a shape, or nil when a dimension is negative or the product overflows.
func elementCount(_ shape: [Int]) -> Int? {
    // A zero anywhere makes the tensor empty, whatever the other dimensions are.
    if shape.contains(where: { $0 < 0 }) { return nil }
    if shape.contains(0) { return 0 }
    var count = 1
    for dimension in shape {
        let (product, overflow) = count.multipliedReportingOverflow(by: dimension)
        if overflow { return nil }
        count = product
    }
    return count
}
