import ApusCore
import ApusGraph
import CApusKernels

/// Joins 8-bit tensors, each with a scale and a zero point of its own, along one axis.
///
/// Inputs: scale and zero point of the result, then of each part the tensor, its scale and its zero point. Every code of a
/// part has one code in the result, so a table of 256 entries translates it.
struct QuantizedConcatOperator: Operator {
    static let schemas = [Schema("QLinearConcat", domain: "com.microsoft", since: [1], inputs: 5...Int.max)]

    private let axis: Int
    private let parts: [Int]
    private let y = QuantizedInput(scale: 0, zeroPoint: 1)

    init(_ node: NodeReader) throws {
        axis = try node.int("axis")
        guard node.inputCount % 3 == 2 else {
            throw ApusError(.invalidModel, "QLinearConcat takes 2 inputs and 3 for each part, found \(node.inputCount)")
        }
        parts = Array(stride(from: 2, to: node.inputCount, by: 3))
    }

    private func parameters(_ part: Int) -> QuantizedInput { QuantizedInput(scale: part + 1, zeroPoint: part + 2) }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(1, oneOf: [.uint8, .int8])
        try y.check(context, type)
        for part in parts {
            _ = try context.type(part, oneOf: [type])
            try parameters(part).check(context, type)
        }
        return [ValueInfo(type, try ConcatOperator.joined(try parts.map { try context.shape($0) }, axis: axis))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let type = try context.outputType(0), output = try context.outputShape(0)
        if output.count == 0 { return PreparedKernel("nothing") { _ in } }
        let axis = try normalizedAxis(axis, rank: output.rank)
        let outer = output.count(0..<axis), row = output.count(axis...)
        let widths = try parts.map { try context.shape($0).count(axis...) }
        let (parts, inputs, y) = (parts, parts.map(parameters), y)
        let kernels = apus_quantize_select(context.levels)
        return PreparedKernel("quantised concat", workspace: 256) { io in
            let table = io.workspace.assumingMemoryBound(to: UInt8.self), target = io.output(0, as: UInt8.self)
            let result = y.load(io, type)
            var start = 0
            for index in parts.indices {
                let width = widths[index], source = io.input(parts[index], as: UInt8.self), from = start
                defer { start += width }
                if width == 0 { continue }
                fillTable(table, type, inputs[index].load(io, type), result) { $0 }
                io.pool.inChunks(outer * width) { range in
                    var position = range.lowerBound
                    while position < range.upperBound {
                        let column = position % width, count = min(width - column, range.upperBound - position)
                        kernels?.pointee.lookup(count, source + position, table, target + position / width * row + from + column)
                        position += count
                    }
                }
            }
        }
    }
}

/// Chooses elements of two 8-bit tensors by a condition, with broadcasting.
struct QuantizedWhereOperator: Operator {
    static let schemas = [Schema("QLinearWhere", domain: "com.microsoft", since: [1], inputs: 9...9)]

    private let x = QuantizedInput(scale: 2, zeroPoint: 3)
    private let y = QuantizedInput(scale: 5, zeroPoint: 6)
    private let z = QuantizedInput(scale: 7, zeroPoint: 8)

    init(_ node: NodeReader) throws {}

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        _ = try context.type(0, oneOf: [.bool])
        let type = try context.type(1, oneOf: [.uint8, .int8])
        _ = try context.type(4, oneOf: [type])
        for input in [x, y, z] { try input.check(context, type) }
        return [ValueInfo(type, try PartialShape.broadcast([try context.shape(0), try context.shape(1), try context.shape(4)]))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let type = try context.type(1), (x, y, z) = (x, y, z)
        let plan = try BroadcastPlan(
            try context.outputShape(0), operands: [try context.shape(0), try context.shape(1), try context.shape(4)])
        return PreparedKernel("quantised where", workspace: 512) { io in
            let yes = io.workspace.assumingMemoryBound(to: UInt8.self), no = yes + 256
            let result = z.load(io, type)
            fillTable(yes, type, x.load(io, type), result) { $0 }
            fillTable(no, type, y.load(io, type), result) { $0 }
            let condition = io.input(0, as: UInt8.self), left = io.input(1, as: UInt8.self), right = io.input(4, as: UInt8.self)
            let target = io.output(0, as: UInt8.self)
            io.pool.inChunks(plan.count) { range in
                plan.forEachRun(in: range) { offset, count, starts in
                    let (c, l, r) = (condition + starts[0], left + starts[1], right + starts[2]), out = target + offset
                    let (cStep, lStep, rStep) = (plan.steps[0], plan.steps[1], plan.steps[2])
                    for index in 0..<count {
                        out[index] = c[index * cStep] != 0 ? yes[Int(l[index * lStep])] : no[Int(r[index * rStep])]
                    }
                }
            }
        }
    }
}

/// Means of an 8-bit tensor along axes.
struct QuantizedMeanOperator: Operator {
    static let schemas = [Schema("QLinearReduceMean", domain: "com.microsoft", since: [1], inputs: 4...5)]

    private let axes: [Int]
    private let keepsAxes: Bool
    private let x = QuantizedInput(scale: 1, zeroPoint: 2)
    private let y = QuantizedInput(scale: 3, zeroPoint: 4)

    init(_ node: NodeReader) throws {
        axes = try node.ints("axes", default: [])
        keepsAxes = try node.bool("keepdims", default: true)
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0, oneOf: [.uint8, .int8])
        try x.check(context, type)
        try y.check(context, type)
        guard let dimensions = try context.shape(0).dimensions else { return [ValueInfo(type, .unknown)] }
        return [ValueInfo(type, PartialShape(reducedDimensions(dimensions, try reducedAxes(dimensions.count), keepsAxes)))]
    }

    private func reducedAxes(_ rank: Int) throws -> Set<Int> {
        axes.isEmpty ? Set(0..<rank) : Set(try normalizedAxes(axes, rank: rank))
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let type = try context.type(0), shape = try context.shape(0)
        let geometry = ReduceGeometry(shape, axes: try reducedAxes(shape.rank))
        let (x, y) = (x, y)
        return PreparedKernel("quantised mean") { io in
            let input = x.load(io, type), result = y.load(io, type)
            let limits: IntegerRange = type == .int8 ? .int8 : .uint8
            let requantize = Requantization(limits, zeroPoint: result.zeroPoint)
            // The mean of no elements is 0, which its zero point stands for.
            let factor = input.scale / (result.scale * Float(max(1, geometry.depth)))
            let zero = Int64(input.zeroPoint) * Int64(geometry.depth)
            let flip: UInt8 = type == .int8 ? 128 : 0, shift = type == .int8 ? 128 * Int64(geometry.depth) : 0
            let source = io.input(0, as: UInt8.self), target = io.output(0, as: UInt8.self)
            // Sums of codes, as if they were unsigned, of at most 128 outputs at a time.
            geometry.forEachTile(io.pool, tile: 128) { block, columns in
                let start = source + geometry.blockOffset(block), out = target + block * geometry.width + columns.lowerBound
                withUnsafeTemporaryAllocation(of: Int64.self, capacity: 128) { sums in
                    for column in 0..<columns.count { sums[column] = 0 }
                    for row in 0..<geometry.rows {
                        let line = start + geometry.rowOffset(row)
                        if geometry.innerIsReduced {
                            var sum: Int64 = 0
                            for index in 0..<geometry.inner { sum &+= Int64(line[index] ^ flip) }
                            sums[0] &+= sum
                        } else {
                            for column in 0..<columns.count { sums[column] &+= Int64(line[columns.lowerBound + column] ^ flip) }
                        }
                    }
                    for column in 0..<columns.count {
                        out[column] = UInt8(truncatingIfNeeded: requantize(Float(sums[column] &- shift &- zero) * factor))
                    }
                }
            }
        }
    }
}
