import ApusCore
import CApusKernels

/// Where: elements of the second input where the first is true, of the third elsewhere; all broadcast.
struct WhereOperator: Operator {
    static let schemas = [Schema("Where", since: [9, 16], inputs: 3...3)]

    init(_ node: NodeReader) throws {}

    var overwrites: [(output: Int, input: Int)] { [(0, 1), (0, 2)] }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        _ = try context.type(0, oneOf: [.bool])
        let type = try context.commonType([1, 2])
        guard type == .string || type.byteWidth != nil else { throw type.unsupported("a type of 8 bits or more, or string") }
        let shapes = try (0..<3).map { try context.shape($0) }
        var elements: [Dimension]?
        if let yes = try context.elements(1, ifShapeLike: type), let no = try context.elements(2, ifShapeLike: type),
            try context.shape(0).rank ?? 2 <= 1, let condition = try context.elements(0)
        {
            elements = broadcastElements([condition, yes, no])?.map { operands in
                if let known = operands[0].known { return known != 0 ? operands[1] : operands[2] }
                return operands[1] == operands[2] ? operands[1] : .unknown
            }
        }
        return [ValueInfo(type, try PartialShape.broadcast(shapes), elements: elements)]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let type = try context.type(1), shapes = try (0..<3).map { try context.shape($0) }
        let output = try Shape.broadcast(shapes)
        let plan = try BroadcastPlan(output, operands: shapes)
        if type == .string { return strings(plan, output) }
        let kernels = try FloatKernels(context.levels), size = type.byteWidth ?? 1
        let spread = try type.visitBits(SpreadVisitor())
        let blend = try size <= 8 ? kernels.blend(size) : wideBlend()
        return PreparedKernel("Where \(kernels.name)") { io in
            let condition = io.input(0, as: UInt8.self), a = io.input(1), b = io.input(2), y = io.output(0)
            io.pool.inChunks(plan.count) { range in
                plan.forEachRun(in: range) { offset, count, starts in
                    let yes = a + starts[1] &* size, no = b + starts[2] &* size, target = y + offset &* size
                    if plan.steps[0] == 0 {
                        let isTrue = condition[starts[0]] != 0
                        let (source, step) = isTrue ? (yes, plan.steps[1]) : (no, plan.steps[2])
                        if source != UnsafeRawPointer(target) { spread(count, source, step, target) }
                    } else {
                        blend(count, condition + starts[0], yes, plan.steps[1], no, plan.steps[2], target)
                    }
                }
            }
        }
    }

    private func strings(_ plan: BroadcastPlan, _ shape: Shape) -> PreparedKernel {
        PreparedKernel("Where strings") { io in
            let condition = io.input(0, as: UInt8.self)
            let a = try io.value(1).asStrings().elements, b = try io.value(2).asStrings().elements
            let bytes = try plan.count.multiplied(by: MemoryLayout<ByteString>.stride)
            try io.budget.reserve(bytes, for: "\(plan.count) strings")
            defer { io.budget.release(bytes) }
            var elements: [ByteString] = []
            elements.reserveCapacity(plan.count)
            plan.forEachRun(in: 0..<plan.count) { _, count, starts in
                for index in 0..<count {
                    let isTrue = condition[starts[0] + index * plan.steps[0]] != 0
                    elements.append(isTrue ? a[starts[1] + index * plan.steps[1]] : b[starts[2] + index * plan.steps[2]])
                }
            }
            try io.setOutput(0, .strings(try StringTensor(shape: shape, elements: elements)))
        }
    }
}

/// y[i] = condition[i] ? a[i * aStep] : b[i * bStep].
typealias BlendLoop = @Sendable (
    _ count: Int, _ condition: UnsafePointer<UInt8>, _ a: UnsafeRawPointer, _ aStep: Int, _ b: UnsafeRawPointer, _ bStep: Int,
    _ y: UnsafeMutableRawPointer
) -> Void

extension FloatKernels {
    /// For elements of 1, 2, 4 or 8 bytes.
    func blend(_ bytes: Int) throws -> BlendLoop {
        guard let function = apus_elementwise_blend(table, bytes) else {
            throw ApusError(.internal, "no blend of \(bytes) bytes")
        }
        return { count, condition, a, aStep, b, bStep, y in function(count, condition, a, aStep, b, bStep, y) }
    }
}

/// For elements of 16 bytes.
private func wideBlend() -> BlendLoop {
    { count, condition, a, aStep, b, bStep, y in
        let a = a.assumingMemoryBound(to: Bits128.self), b = b.assumingMemoryBound(to: Bits128.self)
        let y = y.assumingMemoryBound(to: Bits128.self)
        for index in 0..<count { y[index] = condition[index] != 0 ? a[index &* aStep] : b[index &* bStep] }
    }
}
