import ApusCore

/// The coordinates of the elements that are not zero, as columns of an int64 matrix.
struct NonZeroOperator: Operator {
    static let schemas = [Schema("NonZero", since: [9, 13], inputs: 1...1)]

    init(_ node: NodeReader) throws {}

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        guard let type = try context.input(0).type.elementType, type == .string || type.byteWidth != nil else {
            throw ApusError(.typeMismatch, "a tensor of elements of 8 bits or more expected, found \(try context.input(0).type)")
        }
        // A scalar that is not zero has one position, of no coordinates.
        let rank = try context.shape(0).rank.map(Dimension.known) ?? .unknown
        return [ValueInfo(.int64, PartialShape([rank, .unknown]))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let type = try context.type(0)
        let shape = try context.shape(0)
        if type == .string {
            return PreparedKernel("non_zero") { io in
                let elements = try io.value(0).asStrings().elements
                try NonZeroOperator.collect(io, shape) { !elements[$0].isEmpty }
            }
        }
        return try type.visitBits(Collecting(shape: shape, mask: NonZeroOperator.mask(type)))
    }

    /// The bits that make an element differ from zero: all but the signs of floats.
    private static func mask(_ type: ElementType) -> (UInt64, UInt64) {
        switch type {
        case .float64: (.max >> 1, 0)
        case .complex128: (.max >> 1, .max >> 1)
        case .complex64: (0x7fff_ffff_7fff_ffff, 0)
        case .float32: (0x7fff_ffff, 0)
        case .float16, .bfloat16: (0x7fff, 0)
        // Where the sign alone is NaN, it is not zero.
        case .float8e4m3fn, .float8e5m2: (0x7f, 0)
        default: (.max, .max)
        }
    }

    private struct Collecting: BitsVisitor {
        let shape: Shape
        let mask: (UInt64, UInt64)

        func visit<T: BitwiseCopyable & Equatable & Sendable>(_: T.Type) throws -> any PreparedNode {
            let shape = shape, mask = mask
            return PreparedKernel("non_zero") { io in
                let elements = io.input(0, as: T.self)
                try NonZeroOperator.collect(io, shape) { index in
                    var bits = (UInt64(0), UInt64(0))
                    withUnsafeMutableBytes(of: &bits) { $0.storeBytes(of: elements[index], as: T.self) }
                    return (bits.0 & mask.0) | (bits.1 & mask.1) != 0
                }
            }
        }
    }

    @inline(__always)
    private static func collect(_ io: NodeIO, _ shape: Shape, _ isNonZero: (Int) -> Bool) throws {
        var count = 0
        for index in 0..<shape.count where isNonZero(index) { count += 1 }
        let result = try Shape([shape.rank, count])
        let target = try io.makeOutput(0, .int64, result).assumingMemoryBound(to: Int64.self)
        if shape.rank == 0 { return }
        let last = shape.rank - 1, length = shape[last]
        // Row by row, with the coordinates of the row.
        withUnsafeTemporaryAllocation(of: Int64.self, capacity: shape.rank) { row in
            row.initialize(repeating: 0)
            var column = 0
            for start in stride(from: 0, to: shape.count, by: max(1, length)) {
                for place in 0..<length where isNonZero(start &+ place) {
                    for axis in 0..<last { target[axis &* count &+ column] = row[axis] }
                    target[last &* count &+ column] = Int64(place)
                    column &+= 1
                }
                for axis in (0..<last).reversed() {
                    row[axis] &+= 1
                    if row[axis] < shape[axis] { break }
                    row[axis] = 0
                }
            }
        }
    }
}
