import ApusCore
import CApusKernels

/// The Reduce… operators: some axes of a tensor combined to one element each.
///
/// Axes are an attribute before opset 13 (ReduceSum) or 18 (the others), then an input.
struct ReduceOperator: Operator {
    private struct Descriptor: Sendable {
        let schema: Schema
        /// The version from which on the axes are an input.
        let axesAreInput: Int
        let types: [ElementType]
        let loop: @Sendable (_ type: ElementType, _ levels: UInt32) throws -> ReduceLoop

        init(
            _ opType: String, since: [Int] = [1, 11, 13, 18], axesAreInput: Int = 18, types: [ElementType] = Types.numbers,
            loop: @escaping @Sendable (_ type: ElementType, _ levels: UInt32) throws -> ReduceLoop
        ) {
            schema = Schema(opType, since: since, inputs: 1...2)
            self.axesAreInput = axesAreInput
            self.types = types
            self.loop = loop
        }
    }

    private static let descriptors: [Descriptor] = [
        .init("ReduceL1") { try growingReduceLoop(MagnitudeReduction.self, APUS_REDUCE_SUM_ABSOLUTE, $0, .none, levels: $1) },
        .init("ReduceL2") { try growingReduceLoop(SquareReduction.self, APUS_REDUCE_SUM_SQUARES, $0, .root, levels: $1) },
        .init("ReduceLogSum", since: [1, 11, 13, 18, 28]) {
            try growingReduceLoop(SumReduction.self, APUS_REDUCE_SUM, $0, .log, levels: $1)
        },
        .init("ReduceLogSumExp", since: [1, 11, 13, 18, 28]) { type, _ in try type.visit(LogSumExpVisitor()) },
        .init("ReduceMax", since: [1, 11, 12, 13, 18, 20], types: Types.numbers + [.bool]) {
            try choosingReduceLoop(MaxReduction.self, APUS_REDUCE_MAX, $0, levels: $1)
        },
        .init("ReduceMean") { try growingReduceLoop(SumReduction.self, APUS_REDUCE_SUM, $0, .mean, levels: $1) },
        .init("ReduceMin", since: [1, 11, 12, 13, 18, 20], types: Types.numbers + [.bool]) {
            let loop = try choosingReduceLoop(MinReduction.self, APUS_REDUCE_MIN, $0, levels: $1)
            return $0 == .bool ? boolMinimum(loop) : loop
        },
        .init("ReduceProd") { type, _ in try type.visit(ProductReduceVisitor()) },
        .init("ReduceSum", since: [1, 11, 13], axesAreInput: 13) {
            try growingReduceLoop(SumReduction.self, APUS_REDUCE_SUM, $0, .none, levels: $1)
        },
        .init("ReduceSumSquare") { try growingReduceLoop(SquareReduction.self, APUS_REDUCE_SUM_SQUARES, $0, .none, levels: $1) },
    ]

    /// The identity for bool is true, not 255.
    private static func boolMinimum(_ loop: @escaping ReduceLoop) -> ReduceLoop {
        { geometry, pool, x, y in
            loop(geometry, pool, x, y)
            let y = y.assumingMemoryBound(to: UInt8.self)
            for index in 0..<geometry.blocks &* geometry.width { y[index] = y[index] != 0 ? 1 : 0 }
        }
    }

    static let schemas = descriptors.map(\.schema)

    private let descriptor: Descriptor
    private let keepsAxes: Bool
    /// Axes of the attribute.
    private let axes: [Int]?
    private let hasAxesInput: Bool
    /// Whether no axes mean none rather than all.
    private let noneMeansNone: Bool

    init(_ node: NodeReader) throws {
        guard let descriptor = ReduceOperator.descriptors.first(where: { $0.schema.opType == node.opType }) else {
            throw ApusError(.internal, "\(node.opType) is no reduction")
        }
        self.descriptor = descriptor
        keepsAxes = try node.bool("keepdims", default: true)
        let axesAreInput = node.opset >= descriptor.axesAreInput
        axes = axesAreInput ? nil : try node.optionalInts("axes")
        noneMeansNone = axesAreInput ? try node.bool("noop_with_empty_axes", default: false) : false
        hasAxesInput = node.hasInput(1)
        if hasAxesInput && !axesAreInput {
            throw ApusError(.invalidModel, "\(node.opType) of opset \(node.opset) takes 1 inputs, found 2")
        }
    }

    var parameterInputs: [Int] { hasAxesInput ? [1] : [] }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0, oneOf: descriptor.types)
        let data = try context.shape(0)
        var given = axes
        if hasAxesInput {
            _ = try context.type(1, oneOf: [.int64])
            _ = try context.dimensions(1, rank: 0...1)
            guard let integers = try context.integers(1) else {
                return [ValueInfo(type, keepsAxes ? data.rank.map(PartialShape.ofRank) ?? .unknown : .unknown)]
            }
            given = integers
        }
        guard let dimensions = data.dimensions else { return [ValueInfo(type, .unknown)] }
        let reduced = try reducedAxes(given, rank: dimensions.count)
        return [ValueInfo(type, PartialShape(reducedDimensions(dimensions, reduced, keepsAxes)))]
    }

    private func reducedAxes(_ given: [Int]?, rank: Int) throws -> Set<Int> {
        guard let given, !given.isEmpty else { return noneMeansNone ? [] : Set(0..<rank) }
        return Set(try normalizedAxes(given, rank: rank))
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let shape = try context.shape(0)
        let geometry = ReduceGeometry(
            shape, axes: try reducedAxes(hasAxesInput ? context.integers(1) : axes, rank: shape.rank))
        let loop = try descriptor.loop(context.type(0), context.levels)
        return PreparedKernel(descriptor.schema.opType) { io in
            loop(geometry, io.pool, io.input(0), io.output(0))
        }
    }
}

/// The dimensions that are left when `axes` are reduced to 1, or dropped.
func reducedDimensions(_ dimensions: [Dimension], _ axes: Set<Int>, _ keeps: Bool) -> [Dimension] {
    dimensions.indices.compactMap { axis in
        axes.contains(axis) ? (keeps ? .known(1) : nil) : dimensions[axis]
    }
}
