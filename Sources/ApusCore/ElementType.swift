/// The element types of ONNX tensors; raw values are those of `TensorProto.DataType`.
public enum ElementType: Int32, Sendable, Hashable, CaseIterable {
    case float32 = 1
    case uint8, int8, uint16, int16, int32, int64
    case string
    case bool
    case float16, float64
    case uint32, uint64
    case complex64, complex128
    case bfloat16
    case float8e4m3fn, float8e4m3fnuz, float8e5m2, float8e5m2fnuz
    case uint4, int4
    case float4e2m1
    case float8e8m0
    case uint2, int2
    case float6e2m3, float6e3m2

    /// Bits of one element in memory; 0 for strings, whose size varies.
    ///
    /// Types below 8 bits are packed as in ONNX: elements follow one another from the low bits of a byte up, the last
    /// byte padded with zero bits (float6 elements may straddle bytes).
    public var bitWidth: Int {
        switch self {
        case .uint2, .int2: 2
        case .uint4, .int4, .float4e2m1: 4
        case .float6e2m3, .float6e3m2: 6
        case .uint8, .int8, .bool, .float8e4m3fn, .float8e4m3fnuz, .float8e5m2, .float8e5m2fnuz, .float8e8m0: 8
        case .uint16, .int16, .float16, .bfloat16: 16
        case .uint32, .int32, .float32: 32
        case .uint64, .int64, .float64, .complex64: 64
        case .complex128: 128
        case .string: 0
        }
    }

    /// Bytes of one element, or nil for strings and types below 8 bits.
    package var byteWidth: Int? {
        bitWidth >= 8 ? bitWidth / 8 : nil
    }

    /// Bytes that `count` elements take, or nil on overflow and for strings.
    package func byteCount(_ count: Int) -> Int? {
        guard self != .string, count >= 0 else { return nil }
        if let width = byteWidth {
            let (bytes, overflow) = count.multipliedReportingOverflow(by: width)
            return overflow ? nil : bytes
        }
        let (bits, overflow) = count.multipliedReportingOverflow(by: bitWidth)
        return overflow ? nil : bits / 8 + (bits % 8 == 0 ? 0 : 1)
    }

    package var isFloatingPoint: Bool {
        switch self {
        case .float32, .float64, .float16, .bfloat16, .float8e4m3fn, .float8e4m3fnuz, .float8e5m2, .float8e5m2fnuz,
            .float8e8m0, .float6e2m3, .float6e3m2, .float4e2m1: true
        default: false
        }
    }

    package var isInteger: Bool {
        switch self {
        case .uint8, .int8, .uint16, .int16, .uint32, .int32, .uint64, .int64, .uint4, .int4, .uint2, .int2: true
        default: false
        }
    }

    package var isSigned: Bool {
        switch self {
        case .uint8, .uint16, .uint32, .uint64, .uint4, .uint2, .bool: false
        default: true
        }
    }

    package var isComplex: Bool { self == .complex64 || self == .complex128 }

    /// The name as ONNX writes it in type strings: `float`, `double`, `float16`, `int64`, …
    public var name: String {
        switch self {
        case .float32: "float"
        case .float64: "double"
        case .float16: "float16"
        case .bfloat16: "bfloat16"
        case .uint8: "uint8"
        case .int8: "int8"
        case .uint16: "uint16"
        case .int16: "int16"
        case .uint32: "uint32"
        case .int32: "int32"
        case .uint64: "uint64"
        case .int64: "int64"
        case .string: "string"
        case .bool: "bool"
        case .complex64: "complex64"
        case .complex128: "complex128"
        case .float8e4m3fn: "float8e4m3fn"
        case .float8e4m3fnuz: "float8e4m3fnuz"
        case .float8e5m2: "float8e5m2"
        case .float8e5m2fnuz: "float8e5m2fnuz"
        case .float8e8m0: "float8e8m0"
        case .uint4: "uint4"
        case .int4: "int4"
        case .float4e2m1: "float4e2m1"
        case .uint2: "uint2"
        case .int2: "int2"
        case .float6e2m3: "float6e2m3"
        case .float6e3m2: "float6e3m2"
        }
    }
}
