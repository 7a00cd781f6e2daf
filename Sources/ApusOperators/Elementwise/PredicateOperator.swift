import ApusCore

/// IsNaN and IsInf: which elements of a float tensor are special.
struct PredicateOperator: Operator {
    static let schemas = [
        Schema("IsInf", since: [10, 20], inputs: 1...1),
        Schema("IsNaN", since: [9, 13, 20], inputs: 1...1),
    ]

    private enum Test: Sendable {
        case notANumber
        case infinity(negative: Bool, positive: Bool)
    }

    private let test: Test

    init(_ node: NodeReader) throws {
        test = node.opType == "IsNaN"
            ? .notANumber
            : .infinity(
                negative: try node.bool("detect_negative", default: true),
                positive: try node.bool("detect_positive", default: true))
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        _ = try context.type(0, oneOf: Types.floats + Types.float8s)
        return [ValueInfo(.bool, try context.shape(0))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let type = try context.type(0), count = try context.shape(0).count
        let loop: UnaryLoop
        switch type {
        case .float32: loop = PredicateOperator.loop(Float.self, test)
        case .float64: loop = PredicateOperator.loop(Double.self, test)
        case .float16: loop = PredicateOperator.loop(Half.self, test)
        case .bfloat16: loop = PredicateOperator.loop(BFloat16.self, test)
        default:
            guard let table = CodeTable(type) else { throw type.unsupported("a float") }
            let test = test
            loop = { count, x, y in
                let x = x.assumingMemoryBound(to: UInt8.self), y = y.assumingMemoryBound(to: UInt8.self)
                for index in 0..<count { y[index] = PredicateOperator.holds(test, table.number(x, index)) ? 1 : 0 }
            }
        }
        return unaryKernel("predicate", count: count, inputSize: type.byteWidth ?? 1, outputSize: 1, loop)
    }

    private static func loop<T: Element>(_: T.Type, _ test: Test) -> UnaryLoop where T.Number: BinaryFloatingPoint {
        { count, x, y in
            let x = x.assumingMemoryBound(to: T.self), y = y.assumingMemoryBound(to: UInt8.self)
            for index in 0..<count { y[index] = holds(test, x[index].number) ? 1 : 0 }
        }
    }

    @inline(__always)
    private static func holds<T: BinaryFloatingPoint>(_ test: Test, _ x: T) -> Bool {
        switch test {
        case .notANumber: x != x
        case .infinity(let negative, let positive): (positive && x == .infinity) || (negative && x == -.infinity)
        }
    }
}

/// Not and BitwiseNot.
struct NotOperator: Operator {
    static let schemas = [
        Schema("BitwiseNot", since: [18], inputs: 1...1),
        Schema("Not", since: [1], inputs: 1...1),
    ]

    private let isBitwise: Bool

    init(_ node: NodeReader) throws {
        isBitwise = node.opType == "BitwiseNot"
    }

    var overwrites: [(output: Int, input: Int)] { [(0, 0)] }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        [ValueInfo(try context.type(0, oneOf: isBitwise ? Types.integers : [.bool]), try context.shape(0))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        // All bits of an element change, so bytes will do for every width.
        let bytes = try context.denseByteCount(0) ?? 0
        let isBitwise = isBitwise
        let loop: UnaryLoop = { count, x, y in
            let x = x.assumingMemoryBound(to: UInt8.self), y = y.assumingMemoryBound(to: UInt8.self)
            if isBitwise {
                for index in 0..<count { y[index] = ~x[index] }
            } else {
                for index in 0..<count { y[index] = x[index] == 0 ? 1 : 0 }
            }
        }
        return unaryKernel(isBitwise ? "BitwiseNot" : "Not", count: bytes, inputSize: 1, outputSize: 1, loop)
    }
}
