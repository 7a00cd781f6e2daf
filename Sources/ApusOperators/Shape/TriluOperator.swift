import ApusCore

/// The upper or lower triangle of each matrix, the rest zero.
struct TriluOperator: Operator {
    static let schemas = [
        Schema("Trilu", since: [14], inputs: 1...2), Schema("Trilu", domain: "com.microsoft", since: [1], inputs: 1...2),
    ]

    private let upper: Bool

    init(_ node: NodeReader) throws {
        upper = try node.bool("upper", default: true)
    }

    var parameterInputs: [Int] { [1] }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0)
        _ = try context.dimensions(0, rank: 2...)
        if context.has(1) {
            _ = try context.type(1, oneOf: [.int64])
            if let shape = try context.shape(1).concrete(), shape.count != 1 {
                throw ApusError(.shapeMismatch, "k must be a scalar, found shape \(shape)")
            }
        }
        return [ValueInfo(type, try context.shape(0))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let type = try context.type(0)
        let width = context.movedWidth(type)
        let shape = try context.shape(0)
        let columns = shape[shape.rank - 1], height = shape[shape.rank - 2]
        let rows = shape.count(0..<(shape.rank - 1))
        // Beyond these, the diagonal lies outside of the matrix.
        let diagonal = max(-height - 1, min(columns + 1, try context.integers(1)?.first ?? 0))
        let upper = upper
        return try context.movement("trilu", type, inputs: [0]) { access in
            if columns == 0 { return }
            let source = access.input(0)
            let target = access.output(0)
            access.io.pool.inChunks(rows, of: max(1, 65536 / max(1, columns &* width))) { range in
                for row in range {
                    // Upper keeps the columns from the diagonal on, lower those up to and including it.
                    let border = max(0, min(columns, row % height &+ diagonal &+ (upper ? 0 : 1)))
                    let kept = upper ? border..<columns : 0..<border
                    let start = row &* columns &* width
                    let zeroed = upper ? 0..<border : border..<columns
                    (target + start + kept.lowerBound &* width).copyMemory(
                        from: source + start + kept.lowerBound &* width, byteCount: kept.count &* width)
                    (target + start + zeroed.lowerBound &* width).initializeMemory(
                        as: UInt8.self, repeating: 0, count: zeroed.count &* width)
                }
            }
        }
    }
}

/// A matrix of zeros with ones on a diagonal, in the shape of the input.
struct EyeLikeOperator: Operator {
    static let schemas = [Schema("EyeLike", since: [9, 22], inputs: 1...1)]

    private let type: ElementType?
    private let diagonal: Int

    init(_ node: NodeReader) throws {
        type = try node.optionalElementType("dtype")
        diagonal = try node.int("k", default: 0)
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        _ = try context.dimensions(0, rank: 2...2)
        let type = try type ?? context.type(0)
        _ = try type.visit(One())
        return [ValueInfo(type, try context.shape(0))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let type = try context.outputType(0)
        let shape = try context.outputShape(0)
        guard let width = type.byteWidth else { throw ApusError(.typeMismatch, "\(type.name) has no one") }
        let one = try type.visit(One())
        let diagonal = diagonal
        return PreparedKernel("eye_like") { io in
            if shape.count == 0 { return }
            let target = io.output(0)
            target.initializeMemory(as: UInt8.self, repeating: 0, count: shape.count &* width)
            withUnsafeBytes(of: one) { bits in
                guard let bits = bits.baseAddress else { return }
                for row in 0..<shape[0] {
                    let (column, overflow) = row.addingReportingOverflow(diagonal)
                    guard !overflow, column >= 0, column < shape[1] else { continue }
                    (target + (row &* shape[1] &+ column) &* width).copyMemory(from: bits, byteCount: width)
                }
            }
        }
    }

    /// The bytes of 1.
    private struct One: ElementVisitor {
        func visit<T: Element>(_: T.Type) throws -> UInt64 {
            var bits: UInt64 = 0
            withUnsafeMutableBytes(of: &bits) { $0.storeBytes(of: T(rounding: T.Number.one), as: T.self) }
            return bits
        }
    }
}
