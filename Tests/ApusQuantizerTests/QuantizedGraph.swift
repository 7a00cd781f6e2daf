import ApusCore
import ApusGraph
import ApusOperators
import ApusOptimizer
import ApusRuntime
import Testing

@testable import ApusQuantizer

/// Helpers of the quantiser's tests.
enum QuantizedGraph {
    static let settings = RunnerSettings(pool: ThreadPool(size: 1))

    static func tensor(_ dimensions: [Int], _ elements: [Float]) throws -> Tensor { try Tensor(.float32, dimensions, elements) }

    /// A graph with the types of its values, as it comes to the quantiser.
    static func inferred(_ graph: Graph) throws -> Graph {
        try graph.verify()
        let infos = try GraphInference(graph).run()
        for (index, info) in infos.enumerated() {
            if let info { graph.values[index].type = info.type }
        }
        return graph
    }

    static func batches(_ count: Int, _ shape: [Int], scale: Float = 1) throws -> [QuantizationBatch] {
        var noise = Noise(7)
        return try (0..<count).map { _ in
            QuantizationBatch(inputs: [.tensor(try tensor(shape, noise.normals(shape.reduce(1, *), scale: scale)))])
        }
    }

    static func run(_ graph: Graph, _ batch: QuantizationBatch) throws -> [Float] {
        try GraphRunner(graph, settings).run(batch.inputs).outputs[0].asTensor().array(Float.self)
    }

    static func operators(_ graph: Graph) -> [String: Int] {
        graph.nodes.reduce(into: [:]) { $0[$1.opType, default: 0] += 1 }
    }

    /// Two convolutions with BatchNormalization and Relu, a pool, a residual sum, and a Gemm behind a Flatten.
    static func network(opset: Int = 13, spread: Float = 1) throws -> Graph {
        var noise = Noise(3)
        let builder = GraphBuilder(opset: opset)
        let x = builder.input("x", .float32, [2, 3, 8, 8])
        func constant(_ dimensions: [Int], _ name: ByteString, scale: Float = 0.3, offset: Float = 0) throws -> ValueID {
            builder.constant(try tensor(dimensions, noise.normals(dimensions.reduce(1, *), scale: scale).map { $0 + offset }), name: name)
        }
        let pads: [String: AttributeValue] = ["pads": .ints([1, 1, 1, 1])]
        // Channels of very different sizes: what equalisation is for.
        var first = noise.normals(8 * 27, scale: 0.3)
        for index in first.indices where index / 27 % 2 == 0 { first[index] *= spread }
        let w1 = builder.constant(try tensor([8, 3, 3, 3], first), name: "w1")
        let c1 = builder.node("Conv", [x, w1, try constant([8], "b1")], pads, name: "conv1")
        let parameters = [
            try constant([8], "s", scale: 0.1, offset: 1), try constant([8], "t"), try constant([8], "m"),
            builder.constant(try tensor([8], noise.normals(8).map { abs($0) + 0.5 }), name: "v"),
        ]
        let n1 = builder.node("BatchNormalization", [c1] + parameters, name: "bn1")
        let r1 = builder.node("Relu", [n1], name: "relu1")
        let c2 = builder.node("Conv", [r1, try constant([8, 8, 3, 3], "w2", scale: 0.2), try constant([8], "b2")], pads, name: "conv2")
        let sum = builder.node("Relu", [builder.node("Add", [c2, r1], name: "add")], name: "relu2")
        let pool = builder.node("MaxPool", [sum], ["kernel_shape": .ints([2, 2]), "strides": .ints([2, 2])], name: "pool")
        let flat = builder.node("Flatten", [pool], name: "flatten")
        let scores = builder.node("Gemm", [flat, try constant([5, 128], "w3", scale: 0.1), try constant([5], "b3")], ["transB": .int(1)], name: "gemm")
        builder.output(builder.node("Softmax", [scores], ["axis": .int(1)], name: "softmax"), "y")
        return try inferred(builder.graph)
    }
}
