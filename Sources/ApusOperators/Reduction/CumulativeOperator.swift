import ApusCore

/// CumSum and CumProd: sums or products of all elements up to each one along an axis.
struct CumulativeOperator: Operator {
    static let schemas = [
        Schema("CumProd", since: [26], inputs: 2...2),
        Schema("CumSum", since: [11, 14], inputs: 2...2),
    ]

    private let isProduct: Bool
    private let isExclusive: Bool
    private let isReversed: Bool

    init(_ node: NodeReader) throws {
        isProduct = node.opType == "CumProd"
        isExclusive = try node.bool("exclusive", default: false)
        isReversed = try node.bool("reverse", default: false)
    }

    var parameterInputs: [Int] { [1] }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0, oneOf: Types.numbers), shape = try context.shape(0)
        _ = try context.type(1, oneOf: [.int64, .int32])
        if let axis = try context.integers(1), let rank = shape.rank { _ = try checked(axis, rank) }
        return [ValueInfo(type, shape)]
    }

    private func checked(_ axes: [Int], _ rank: Int) throws -> Int {
        guard axes.count == 1 else { throw ApusError(.shapeMismatch, "input \"axis\" must hold one number, found \(axes.count)") }
        return try normalizedAxis(axes[0], rank: max(1, rank))
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let shape = try context.shape(0)
        guard let axes = try context.integers(1) else { throw ApusError(.internal, "the axis is not known") }
        let split = try AxisSplit(shape, axis: checked(axes, shape.rank))
        let type = try context.type(0)
        return isProduct
            ? try type.visit(CumulativeVisitor<ProductReduction>(split: split, isExclusive: isExclusive, isReversed: isReversed))
            : try type.visit(CumulativeVisitor<SumReduction>(split: split, isExclusive: isExclusive, isReversed: isReversed))
    }
}

private struct CumulativeVisitor<F: ReduceFunction>: ElementVisitor {
    let split: AxisSplit
    let isExclusive: Bool
    let isReversed: Bool

    func visit<T: Element>(_: T.Type) throws -> PreparedKernel {
        let split = split, isExclusive = isExclusive, isReversed = isReversed
        return PreparedKernel("cumulative") { io in
            let x = io.input(0, as: T.self), y = io.output(0, as: T.self)
            io.pool.inChunks(split.outer &* split.inner, of: max(1, elementwiseChunk / max(1, split.length))) { range in
                for index in range {
                    let start = index / split.inner &* split.length &* split.inner + index % split.inner
                    var total = F.initial(T.Number.self)
                    for step in 0..<split.length {
                        let place = start + (isReversed ? split.length - 1 - step : step) &* split.inner
                        let element = x[place].number
                        if isExclusive { y[place] = T(rounding: total) }
                        total = F.accumulate(total, element)
                        if !isExclusive { y[place] = T(rounding: total) }
                    }
                }
            }
        }
    }
}
