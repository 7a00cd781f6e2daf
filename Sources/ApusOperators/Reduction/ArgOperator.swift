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
        let split = try AxisSplit(context.shape(0), axis: axis), type = try context.type(0)
        if split.inner == 1, split.length > 0,
            let kernels = ReduceKernels(findsGreatest ? APUS_REDUCE_MAX : APUS_REDUCE_MIN, type, levels: context.levels)
        {
            return rows(kernels, split)
        }
        // Narrow numbers are compared as wider ones: a loop for each type would be much code for little.
        let number: ElementType = switch type {
        case .float16, .bfloat16: .float32
        case .int8, .uint8, .int16, .uint16: .int32
        case .uint32: .int64
        default: type
        }
        let visitor = ArgVisitor(
            split: split, findsGreatest: findsGreatest, takesLast: takesLast, elementSize: type.byteWidth ?? 1, read: try castLoop(type, number))
        return switch number {
        case .float32: visitor.kernel(Float.self)
        case .float64: visitor.kernel(Double.self)
        case .int32: visitor.kernel(Int32.self)
        case .int64: visitor.kernel(Int64.self)
        case .uint64: visitor.kernel(UInt64.self)
        default: throw type.unsupported("a number of 8 bits or more")
        }
    }

    /// Along the last axis: the number first, by the kernels for it, then its place.
    private func rows(_ kernels: ReduceKernels, _ split: AxisSplit) -> PreparedKernel {
        let length = split.length, outer = split.outer, takesLast = takesLast, rowSize = length &* kernels.elementSize
        return PreparedKernel("Arg rows") { io in
            let x = io.input(0), y = io.output(0, as: Int64.self)
            io.pool.inChunks(outer, of: max(1, elementwiseChunk / length)) { range in
                withUnsafeTemporaryAllocation(byteCount: ReduceKernels.tile * 8, alignment: 16) { memory in
                    guard let totals = memory.baseAddress else { return }
                    for first in stride(from: range.lowerBound, to: range.upperBound, by: ReduceKernels.tile) {
                        let count = min(ReduceKernels.tile, range.upperBound - first)
                        kernels.clear(totals, count)
                        kernels.joinRuns(count, length, x + first &* rowSize, step: length, totals)
                        for index in 0..<count {
                            let place = kernels.place(
                                length, x + (first &+ index) &* rowSize, of: totals + index &* kernels.totalSize, takesLast: takesLast)
                            y[first &+ index] = Int64(place)
                        }
                    }
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

/// Along any axis, in numbers of type `T`, which `read` makes of elements.
private struct ArgVisitor {
    let split: AxisSplit
    let findsGreatest: Bool
    let takesLast: Bool
    let elementSize: Int
    let read: UnaryLoop

    func kernel<T: Arithmetic>(_: T.Type) -> PreparedKernel {
        let split = split, elementSize = elementSize, read = read
        guard split.length > 0 else { return PreparedKernel("nothing") { _ in } }
        // Conditions that are the same for all elements are numbers: the compiler would make a loop for each of their combinations.
        let wantsGreater: UInt8 = findsGreatest ? 1 : 0, wantsLesser = 1 - wantsGreater, wantsEqual: UInt8 = takesLast ? 1 : 0
        // A strip of neighbours at a time, whose best numbers are kept side by side.
        let width = 64, inner = split.inner, strips = inner / width + (inner % width == 0 ? 0 : 1)
        return PreparedKernel(findsGreatest ? "ArgMax" : "ArgMin") { io in
            let x = io.input(0), y = io.output(0, as: Int64.self)
            io.pool.inChunks(split.outer &* strips, of: max(1, elementwiseChunk / (split.length &* width))) { range in
                withUnsafeTemporaryAllocation(of: T.self, capacity: 2 * width) { memory in
                    guard let bests = memory.baseAddress else { return }
                    let line = bests + width
                    for index in range {
                        let column = index % strips * width, count = min(width, inner - column)
                        let from = index / strips &* split.length &* inner + column
                        let places = y + (index / strips &* inner + column)
                        read(count, x + from &* elementSize, bests)
                        places.update(repeating: 0, count: count)
                        for position in 1..<max(1, split.length) {
                            read(count, x + (from + position &* inner) &* elementSize, line)
                            for lane in 0..<count {
                                let candidate = line[lane], best = bests[lane]
                                let isGreater: UInt8 = candidate > best ? wantsGreater : 0, isLesser: UInt8 = candidate < best ? wantsLesser : 0
                                let isEqual: UInt8 = candidate == best ? wantsEqual : 0, isNotANumber: UInt8 = candidate.isNotANumber ? 1 : 0
                                let takes = (isGreater | isLesser | isEqual | isNotANumber) & (best.isNotANumber ? 0 : 1) != 0
                                bests[lane] = takes ? candidate : best
                                places[lane] = takes ? Int64(position) : places[lane]
                            }
                        }
                    }
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
