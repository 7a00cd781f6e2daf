import ApusCore
import CApusKernels

/// Gelu, exact or by tanh, with or without a bias added first: Gelu of ai.onnx and the fused forms of com.microsoft.
struct GeluOperator: Operator {
    static let schemas = [
        Schema("Gelu", since: [20], inputs: 1...1),
        Schema("BiasGelu", domain: "com.microsoft", since: [1], inputs: 2...2),
        Schema("FastGelu", domain: "com.microsoft", since: [1], inputs: 1...2),
    ]

    private static let exact = UnaryDescriptor("Gelu", since: [20], GeluFunction.self, APUS_UNARY_GELU_ERF)
    private static let tanh = UnaryDescriptor("Gelu", since: [20], GeluTanhFunction.self, APUS_UNARY_GELU_TANH)

    private let function: UnaryDescriptor

    init(_ node: NodeReader) throws {
        let approximates = try node.opType == "FastGelu"
            || (node.opType == "Gelu" && node.choice("approximate", of: ["none", "tanh"], default: "none") == "tanh")
        function = approximates ? GeluOperator.tanh : GeluOperator.exact
    }

    var overwrites: [(output: Int, input: Int)] { [(0, 0)] }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0, oneOf: Types.floats)
        if context.has(1) {
            _ = try context.commonType([0, 1])
            let bias = try context.dimensions(1, rank: 1...1), data = try context.dimensions(0, rank: 1...)
            if let width = bias?.first?.known, let last = data?.last?.known, width != last {
                throw ApusError(.shapeMismatch, "the bias has \(width) elements, the last axis of input 0 has \(last)")
            }
        }
        return [ValueInfo(type, try context.shape(0))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let type = try context.type(0), shape = try context.shape(0), kernels = try FloatKernels(context.levels)
        let loop = try function.loop(type, .zero, kernels), size = type.byteWidth ?? 1
        guard context.has(1) else {
            return unaryKernel("Gelu \(kernels.name)", count: shape.count, inputSize: size, outputSize: size, loop)
        }
        let plan = try BroadcastPlan(shape, operands: [shape, try context.shape(1)])
        let add = try BinaryArithmetic.add.loop(type, kernels)
        return PreparedKernel("BiasGelu \(kernels.name)") { io in
            let x = io.input(0), bias = io.input(1), y = io.output(0)
            io.pool.inChunks(plan.count) { range in
                plan.forEachRun(in: range) { offset, count, starts in
                    let target = y + offset &* size
                    add(count, x + starts[0] &* size, plan.steps[0], bias + starts[1] &* size, plan.steps[1], target)
                    loop(count, target, target)
                }
            }
        }
    }
}
