import ApusCore

extension ElementType {
    /// The name as numpy and ml_dtypes spell it.
    var numpyName: String {
        switch self {
        case .float32: "float32"
        case .float64: "float64"
        case .float8e4m3fn: "float8_e4m3fn"
        case .float8e4m3fnuz: "float8_e4m3fnuz"
        case .float8e5m2: "float8_e5m2"
        case .float8e5m2fnuz: "float8_e5m2fnuz"
        case .float4e2m1: "float4_e2m1fn"
        case .float8e8m0: "float8_e8m0fnu"
        case .float6e2m3: "float6_e2m3fn"
        case .float6e3m2: "float6_e3m2fn"
        default: name
        }
    }

    /// The type of that name, as numpy or as ONNX spells it.
    init?(named name: String) {
        guard let type = Self.allCases.first(where: { $0.numpyName == name || $0.name == name }) else { return nil }
        self = type
    }

    /// Several elements share a byte: a little-endian bit stream, the first element in the lowest bits.
    var isPacked: Bool { (1..<8).contains(bitWidth) }

    /// Bytes of one element in a .npy file, where packed elements get a byte each; nil for strings.
    var unpackedSize: Int? { self == .string ? nil : max(1, bitWidth / 8) }
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
