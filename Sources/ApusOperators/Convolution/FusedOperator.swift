import ApusCore
import ApusGraph
import CApusKernels

/// com.microsoft.FusedConv and com.microsoft.FusedGemm: the operator of ai.onnx, and then an activation, which has the name and
/// the attributes of an operator of its own.
struct FusedOperator: Operator {
    static let schemas = [
        Schema("FusedConv", domain: "com.microsoft", since: [1], inputs: 2...4),
        Schema("FusedGemm", domain: "com.microsoft", since: [1], inputs: 2...3),
    ]

    /// An activation: its kernel and the parameters that are left out.
    private struct Activation {
        let kernel: apus_unary_op
        var defaults: [Float] = []
    }

    private static let activations: [String: Activation] = [
        "Relu": .init(kernel: APUS_UNARY_RELU), "Sigmoid": .init(kernel: APUS_UNARY_SIGMOID), "Tanh": .init(kernel: APUS_UNARY_TANH),
        "LeakyRelu": .init(kernel: APUS_UNARY_LEAKY_RELU, defaults: [0.01]),
        "HardSigmoid": .init(kernel: APUS_UNARY_HARD_SIGMOID, defaults: [0.2, 0.5]),
        "Clip": .init(kernel: APUS_UNARY_CLIP, defaults: [-.greatestFiniteMagnitude, .greatestFiniteMagnitude]),
        "Elu": .init(kernel: APUS_UNARY_ELU, defaults: [1]), "Softplus": .init(kernel: APUS_UNARY_SOFTPLUS),
        "Softsign": .init(kernel: APUS_UNARY_SOFTSIGN), "ThresholdedRelu": .init(kernel: APUS_UNARY_THRESHOLDED_RELU, defaults: [1]),
        "Selu": .init(kernel: APUS_UNARY_SELU, defaults: [1.67326319217681884765625, 1.05070102214813232421875]),
    ]

    private let inner: any Operator
    private let isConvolution: Bool
    private let activation: apus_unary_op?
    private let parameters: [Float]

    init(_ node: NodeReader) throws {
        isConvolution = node.opType == "FusedConv"
        let name = try node.string("activation", default: "")
        var given: [Float?] = []
        if isConvolution {
            given = try node.floats("activation_params", default: [])
        } else {
            let beta = try node.optionalFloat("activation_beta"), gamma = try node.optionalFloat("activation_gamma")
            given = [try node.optionalFloat("activation_alpha"), name == "Selu" ? gamma : beta]
        }
        if name.isEmpty {
            activation = nil
            parameters = []
        } else {
            guard let found = Self.activations[name] else {
                throw ApusError(
                    .invalidModel,
                    "attribute \"activation\" is \"\(name)\"; one of \(Self.activations.keys.sorted().joined(separator: ", ")) expected")
            }
            activation = found.kernel
            parameters = found.defaults.enumerated().map { index, value in
                (given.indices.contains(index) ? given[index] : nil) ?? value
            }
        }
        // What is left are the attributes of the operator in ai.onnx.
        let own = node.node.attributes.filter { !$0.name.hasPrefix("activation") }
        own.forEach { node.ignore($0.name) }
        let plain = Node(
            isConvolution ? "Conv" : "Gemm", name: node.node.name, opset: 13, attributes: own,
            inputs: Array(node.node.inputs.prefix(3)), outputs: node.node.outputs)
        let reader = try NodeReader(plain)
        inner = isConvolution ? try ConvOperator(reader) : try GemmOperator(reader)
        try reader.finish()
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        _ = try context.type(0, oneOf: [.float32, .float16, .bfloat16])
        let outputs = try inner.inferOutputs(
            InferenceContext(inputs: Array(context.inputs.prefix(3)), outputCount: context.outputCount))
        if context.has(3) {
            _ = try context.commonType([0, 3])
            if let added = try context.shape(3).concrete(), let shape = try outputs[0].concreteShape(), added != shape {
                throw ApusError(.shapeMismatch, "Z has shape \(added), the convolution has shape \(shape)")
            }
        }
        return outputs
    }

    func multiplyAccumulates(_ inputs: [ValueInfo?], _ outputs: [ValueInfo]) -> Int {
        inner.multiplyAccumulates(Array(inputs.prefix(3)), outputs)
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        try context.throughFloat32 { context in
            let plain = PrepareContext(
                inputs: Array(context.inputs.prefix(3)), outputs: context.outputs, levels: context.levels, threads: context.threads,
                packed: context.packed)
            let prepared = try inner.prepare(plain)
            let count = try context.outputShape(0).count, hasSum = context.has(3), parameters = parameters
            let function = activation.flatMap { apus_elementwise_unary(apus_elementwise_select(context.levels), $0) }
            return PreparedKernel(prepared.kernelName, workspace: prepared.workspaceByteCount) { io in
                try prepared.run(io)
                let output = io.output(0, as: Float.self)
                io.pool.inChunks(count) { range in
                    let own = output + range.lowerBound
                    if hasSum {
                        let added = io.input(3, as: Float.self) + range.lowerBound
                        for index in 0..<range.count { own[index] += added[index] }
                    }
                    parameters.withUnsafeBufferPointer { function?(range.count, own, own, $0.baseAddress) }
                }
            }
        }
    }
}
