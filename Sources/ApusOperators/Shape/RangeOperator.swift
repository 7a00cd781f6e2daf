import ApusCore

/// The numbers from `start` to before `limit` in steps of `delta`, which com.microsoft.Range may leave out: 1.
struct RangeOperator: Operator {
    static let schemas = [
        Schema("Range", since: [11, 27], inputs: 3...3), Schema("Range", domain: "com.microsoft", since: [1], inputs: 2...3),
    ]

    private static let types: [ElementType] = [.float32, .float64, .int16, .int32, .int64, .float16, .bfloat16]

    init(_ node: NodeReader) throws {
        // The type of accumulation of short floats; here they are always computed in float.
        if node.opset >= 27 { _ = try node.int("stash_type", default: 1) }
    }

    var parameterInputs: [Int] { [0, 1, 2] }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0, oneOf: Self.types)
        _ = try context.commonType(0..<3)
        for index in 0..<3 where context.has(index) {
            if let dimensions = try context.shape(index).dimensions, dimensions.contains(where: { $0.known.map { $0 != 1 } ?? false }) {
                throw ApusError(.shapeMismatch, "input \(index) must be a scalar, found shape \(PartialShape(dimensions))")
            }
        }
        if let start = context.optional(0)?.constant, let limit = context.optional(1)?.constant,
            let delta = try context.has(2) ? context.optional(2)?.constant : Self.one(type)
        {
            let count = try type.visit(Counting(start: try start.asTensor(), limit: try limit.asTensor(), delta: try delta.asTensor()))
            var info = ValueInfo(type, .vector(count))
            if type == .int64 || type == .int32, count <= InferenceContext.mostElements,
                let first = try start.asTensor().integers().first, let step = try delta.asTensor().integers().first
            {
                info.elements = (0..<count).map { .known(first &+ $0 &* step) }
            }
            return [info]
        }
        guard type == .int64 || type == .int32, try !context.has(2) || context.smallElements(2)?.first == .known(1),
            let start = try context.smallElements(0)?.first, let limit = try context.smallElements(1)?.first
        else { return [ValueInfo(type, .ofRank(1))] }
        return [ValueInfo(type, PartialShape([limit - start]))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let type = try context.outputType(0)
        guard let start = context.constant(0), let delta = try context.has(2) ? context.constant(2) : Self.one(type).asTensor() else {
            throw ApusError(.internal, "the start and the step are not known")
        }
        return try type.visit(Filling(start: start, delta: delta, count: try context.outputShape(0).count))
    }

    /// The step that is left out.
    private static func one(_ type: ElementType) throws -> Value {
        let one = try Tensor.allocate(type, .scalar), source = try Tensor.int64([1])
        let convert = try castLoop(.int64, type)
        withExtendedLifetime(source) { convert(1, source.pointer, one.pointer) }
        return .tensor(one)
    }

    /// How many numbers there are; computed without overflow.
    private struct Counting: ElementVisitor {
        let start: Tensor
        let limit: Tensor
        let delta: Tensor

        func visit<T: Element>(_: T.Type) throws -> Int {
            guard let start = start.array(T.self).first?.number, let limit = limit.array(T.self).first?.number,
                let delta = delta.array(T.self).first?.number
            else { throw ApusError(.shapeMismatch, "start, limit and delta must be scalars") }
            if T.Number.isFloat {
                guard delta.double != 0 else { throw ApusError(.invalidValue, "delta is 0") }
                let count = ((limit.double - start.double) / delta.double).rounded(.up)
                guard count < 9e18 else {
                    throw count.isNaN
                        ? ApusError(.invalidValue, "a range from \(start.double) to \(limit.double) in steps of \(delta.double) has no size")
                        : ApusError(.memoryLimit, "a range of \(count) numbers passes what memory can hold")
                }
                return max(0, Int(count))
            }
            let step = delta.int64
            guard step != 0 else { throw ApusError(.invalidValue, "delta is 0") }
            let isEmpty = step > 0 ? limit.int64 <= start.int64 : limit.int64 >= start.int64
            if isEmpty { return 0 }
            // The distance of two Int64 fits a UInt64.
            let span = step > 0 ? UInt64(bitPattern: limit.int64 &- start.int64) : UInt64(bitPattern: start.int64 &- limit.int64)
            guard let count = Int(exactly: (span - 1) / step.magnitude)?.addingReportingOverflow(1), !count.overflow else {
                throw ApusError(.memoryLimit, "the range has more numbers than memory can hold")
            }
            return count.partialValue
        }
    }

    private struct Filling: ElementVisitor {
        let start: Tensor
        let delta: Tensor
        let count: Int

        func visit<T: Element>(_: T.Type) throws -> any PreparedNode {
            guard let start = start.array(T.self).first?.number, let delta = delta.array(T.self).first?.number else {
                throw ApusError(.shapeMismatch, "start and delta must be scalars")
            }
            let count = count
            if T.Number.isFloat {
                // In double: the position itself may not be a float.
                let first = start.double, step = delta.double
                return PreparedKernel("range") { io in
                    let output = io.output(0, as: T.self)
                    for index in 0..<count { output[index] = T(rounding: T.Number(converting: first + Double(index) * step)) }
                }
            }
            return PreparedKernel("range") { io in
                let output = io.output(0, as: T.self)
                var value = start
                for index in 0..<count {
                    output[index] = T(rounding: value)
                    value = T.Number.add(value, delta)
                }
            }
        }
    }
}
