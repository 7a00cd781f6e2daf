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
        if type.isShortFloat, split.inner > 1, !isProduct { return shortRows(type, split) }
        return isProduct
            ? try type.visit(CumulativeVisitor<ProductReduction>(split: split, isExclusive: isExclusive, isReversed: isReversed))
            : try type.visit(CumulativeVisitor<SumReduction>(split: split, isExclusive: isExclusive, isReversed: isReversed))
    }

    /// Sums of 16-bit floats along any axis but the last: as `CumulativeVisitor.rows`, converted a strip of a row at a time.
    private func shortRows(_ type: ElementType, _ split: AxisSplit) -> PreparedKernel {
        let isExclusive = isExclusive, isReversed = isReversed
        let width = 128, strips = split.inner / width + (split.inner % width == 0 ? 0 : 1)
        return PreparedKernel("cumulative rows of \(type.name)") { io in
            let x = io.input(0), y = io.output(0)
            io.pool.inChunks(split.outer &* strips, of: max(1, elementwiseChunk / max(1, split.length &* width))) { range in
                withUnsafeTemporaryAllocation(of: Float.self, capacity: 2 * width) { memory in
                    guard let totals = memory.baseAddress else { return }
                    let line = totals + width
                    for index in range {
                        let column = index % strips * width, count = min(width, split.inner - column)
                        let start = index / strips &* split.length &* split.inner + column
                        totals.update(repeating: 0, count: width)
                        for step in 0..<split.length {
                            let place = 2 &* (start + (isReversed ? split.length - 1 - step : step) &* split.inner)
                            if isExclusive { narrow(type, totals, y + place, count: count) }
                            widen(type, x + place, line, count: count)
                            for lane in 0..<count { totals[lane] += line[lane] }
                            if !isExclusive { narrow(type, totals, y + place, count: count) }
                        }
                    }
                }
            }
        }
    }
}

private struct CumulativeVisitor<F: ReduceFunction>: ElementVisitor {
    let split: AxisSplit
    let isExclusive: Bool
    let isReversed: Bool

    func visit<T: Element>(_: T.Type) throws -> PreparedKernel {
        let split = split, isExclusive = isExclusive, isReversed = isReversed
        if split.inner > 1 { return rows(T.self) }
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

    /// Along any axis but the last: a strip of neighbours at a time, whose totals are kept side by side.
    private func rows<T: Element>(_: T.Type) -> PreparedKernel {
        let split = split, isExclusive = isExclusive, isReversed = isReversed
        let width = 64, strips = split.inner / width + (split.inner % width == 0 ? 0 : 1)
        return PreparedKernel("cumulative rows") { io in
            let x = io.input(0, as: T.self), y = io.output(0, as: T.self)
            let chunk = max(1, elementwiseChunk / max(1, split.length &* width))
            io.pool.inChunks(split.outer &* strips, of: chunk) { range in
                withUnsafeTemporaryAllocation(of: T.Number.self, capacity: width) { totals in
                    guard let totals = totals.baseAddress else { return }
                    for index in range {
                        let column = index % strips * width, count = min(width, split.inner - column)
                        let start = index / strips &* split.length &* split.inner + column
                        totals.update(repeating: F.initial(T.Number.self), count: width)
                        for step in 0..<split.length {
                            let place = start + (isReversed ? split.length - 1 - step : step) &* split.inner
                            let from = x + place, to = y + place
                            for lane in 0..<count {
                                let next = F.accumulate(totals[lane], from[lane].number)
                                to[lane] = T(rounding: isExclusive ? totals[lane] : next)
                                totals[lane] = next
                            }
                        }
                    }
                }
            }
        }
    }
}
