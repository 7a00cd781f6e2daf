import ApusCore
import CApusKernels

/// ArgMax and ArgMin: where along an axis the greatest or least element is. NaN counts as found first.
struct ArgOperator: Operator {
    static let schemas = [
        Schema("ArgMax", since: [1, 11, 12, 13], inputs: 1...1),
        Schema("ArgMin", since: [1, 11, 12, 13], inputs: 1...1),
    ]

    private let axis: Int
    private let keepsAxis: Bool
    private let takesLast: Bool
    private let findsGreatest: Bool

    init(_ node: NodeReader) throws {
        axis = try node.int("axis", default: 0)
        keepsAxis = try node.bool("keepdims", default: true)
        takesLast = node.opset >= 12 ? try node.bool("select_last_index", default: false) : false
        findsGreatest = node.opType == "ArgMax"
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        _ = try context.type(0, oneOf: Types.numbers)
        guard let dimensions = try context.dimensions(0, rank: 0...) else { return [ValueInfo(.int64, .unknown)] }
        if dimensions.isEmpty {
            _ = try normalizedAxis(axis, rank: 1)
            return [ValueInfo(.int64, .scalar)]
        }
        let axis = try normalizedAxis(axis, rank: dimensions.count)
        if dimensions[axis] == .known(0) {
            throw ApusError(.shapeMismatch, "axis \(axis) of shape \(PartialShape(dimensions)) has no elements to choose from")
        }
        return [ValueInfo(.int64, PartialShape(reducedDimensions(dimensions, [axis], keepsAxis)))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let split = try AxisSplit(context.shape(0), axis: axis)
        if try context.type(0) == .float32, split.inner == 1, split.length > 0 { return try prepareRows(context, split) }
        return try context.type(0).visit(ArgVisitor(split: split, findsGreatest: findsGreatest, takesLast: takesLast))
    }
}

extension ArgOperator {
    /// Rows of float32: the number first, with the kernels for it, then its place.
    private func prepareRows(_ context: PrepareContext, _ split: AxisSplit) throws -> any PreparedNode {
        let findsGreatest = findsGreatest, takesLast = takesLast
        guard let reduce = apus_reduce_row(apus_reduce_select(context.levels), findsGreatest ? APUS_REDUCE_MAX : APUS_REDUCE_MIN) else {
            throw ApusError(.internal, "no kernel for rows")
        }
        return PreparedKernel(findsGreatest ? "ArgMax rows" : "ArgMin rows") { io in
            let x = io.input(0, as: Float.self), y = io.output(0, as: Int64.self), last = split.length - 1
            io.pool.inChunks(split.outer, of: max(1, elementwiseChunk / split.length)) { range in
                for index in range {
                    let row = x + index &* split.length, best = reduce(split.length, row)
                    var place = 0
                    if best != best {
                        while place < last, row[place] == row[place] { place &+= 1 }
                    } else if takesLast {
                        place = last
                        while place > 0, row[place] != best { place &-= 1 }
                    } else {
                        while place < last, row[place] != best { place &+= 1 }
                    }
                    y[index] = Int64(place)
                }
            }
        }
    }
}

/// A shape seen as [outer, length, inner] around an axis.
struct AxisSplit: Sendable {
    let outer: Int
    let length: Int
    let inner: Int

    /// A scalar has one axis of length 1.
    init(_ shape: Shape, axis: Int) throws {
        let axis = try normalizedAxis(axis, rank: max(1, shape.rank))
        // Beside an axis without elements the others may be of any size: there is nothing to walk.
        outer = shape.count == 0 ? 0 : shape.count(0..<min(axis, shape.rank))
        length = shape.rank == 0 ? 1 : shape[axis]
        inner = shape.rank == 0 ? 1 : shape.count((axis + 1)...)
    }
}

private struct ArgVisitor: ElementVisitor {
    let split: AxisSplit
    let findsGreatest: Bool
    let takesLast: Bool

    func visit<T: Element>(_: T.Type) throws -> PreparedKernel {
        let split = split, findsGreatest = findsGreatest, takesLast = takesLast
        return PreparedKernel(findsGreatest ? "ArgMax" : "ArgMin") { io in
            let x = io.input(0, as: T.self), y = io.output(0, as: Int64.self)
            io.pool.inChunks(split.outer &* split.inner, of: max(1, elementwiseChunk / max(1, split.length))) { range in
                for index in range {
                    let start = x + index / split.inner &* split.length &* split.inner + index % split.inner
                    var best = start[0].number, place = 0
                    for position in 1..<max(1, split.length) where !best.isNotANumber {
                        let candidate = start[position &* split.inner].number
                        let isBetter = candidate.isNotANumber || (findsGreatest ? candidate > best : candidate < best)
                            || (takesLast && candidate == best)
                        if isBetter { (best, place) = (candidate, position) }
                    }
                    y[index] = Int64(place)
                }
            }
        }
    }
}

/// Hardmax: 1 at the first greatest element along an axis, 0 elsewhere. Before opset 13 all axes from `axis` on were one.
struct HardmaxOperator: Operator {
    static let schemas = [Schema("Hardmax", since: [1, 11, 13], inputs: 1...1)]

    private let axis: Int
    private let joinsAxes: Bool

    init(_ node: NodeReader) throws {
        joinsAxes = node.opset < 13
        axis = try node.int("axis", default: joinsAxes ? 1 : -1)
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0, oneOf: Types.floats), shape = try context.shape(0)
        if let rank = shape.rank, !(joinsAxes && axis == rank) { _ = try normalizedAxis(axis, rank: max(1, rank)) }
        return [ValueInfo(type, shape)]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let shape = try context.shape(0)
        var split = try AxisSplit(joinsAxes && axis == shape.rank ? Shape(shape.dimensions + [1]) : shape, axis: axis)
        if joinsAxes { split = try AxisSplit(Shape([split.outer, split.length &* split.inner]), axis: 1) }
        return try context.type(0).visitFloat(HardmaxVisitor(split: split))
    }
}

private struct HardmaxVisitor: ElementVisitor {
    let split: AxisSplit

    func visit<T: Element>(_: T.Type) throws -> PreparedKernel {
        let split = split, zero = T(rounding: T.Number.zero), one = T(rounding: T.Number.one)
        return PreparedKernel("Hardmax") { io in
            let x = io.input(0, as: T.self), y = io.output(0, as: T.self)
            guard split.length > 0 else { return }
            io.pool.inChunks(split.outer &* split.inner, of: max(1, elementwiseChunk / split.length)) { range in
                for index in range {
                    let start = index / split.inner &* split.length &* split.inner + index % split.inner
                    var best = x[start].number, place = 0
                    for position in 1..<max(1, split.length) {
                        let candidate = x[start + position &* split.inner].number
                        if candidate > best { (best, place) = (candidate, position) }
                    }
                    for position in 0..<split.length { y[start + position &* split.inner] = position == place ? one : zero }
                }
            }
        }
    }
}
