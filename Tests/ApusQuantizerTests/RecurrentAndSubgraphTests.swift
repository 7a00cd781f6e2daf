import ApusCore
import ApusGraph
import Testing

@testable import ApusQuantizer

/// LSTM in 8 bits, products within subgraphs, and what is said about those that stay in float.
struct RecurrentAndSubgraphTests {
    private func options(_ method: QuantizationOptions.Method) -> QuantizationOptions {
        var options = QuantizationOptions()
        options.method = method
        return options
    }

    private func constant(_ builder: GraphBuilder, _ noise: inout Noise, _ dimensions: [Int], _ name: ByteString) throws -> ValueID {
        builder.constant(try QuantizedGraph.tensor(dimensions, noise.normals(dimensions.reduce(1, *), scale: 0.4)), name: name)
    }

    /// LSTM and GRU of one or two directions behind one another.
    private func recurrent(directions: Int) throws -> Graph {
        var noise = Noise(21)
        let builder = GraphBuilder(opset: 17)
        let x = builder.input("x", .float32, [6, 2, 5])
        let hidden = 7
        let attributes: [String: AttributeValue] = [
            "hidden_size": .int(7), "direction": .string(directions == 2 ? "bidirectional" : "forward"),
        ]
        let lstm = builder.nodes(
            "LSTM",
            [
                x, try constant(builder, &noise, [directions, 4 * hidden, 5], "W"), try constant(builder, &noise, [directions, 4 * hidden, hidden], "R"),
                try constant(builder, &noise, [directions, 8 * hidden], "B"), nil, nil, nil, try constant(builder, &noise, [directions, 3 * hidden], "P"),
            ], attributes, outputs: 3, name: "lstm")
        let last = lstm[1]
        let gru = builder.nodes(
            "GRU",
            [last, try constant(builder, &noise, [1, 9, hidden], "W2"), try constant(builder, &noise, [1, 9, 3], "R2")], ["hidden_size": .int(3)],
            outputs: 2, name: "gru")
        builder.output(gru[1], "y")
        return try QuantizedGraph.inferred(builder.graph)
    }

    @Test(arguments: [1, 2], [true, false])
    func lstm(_ directions: Int, _ isPerChannel: Bool) throws {
        let graph = try recurrent(directions: directions), batches = try QuantizedGraph.batches(2, [6, 2, 5])
        var chosen = options(.dynamic)
        chosen.isPerChannel = isPerChannel
        let result = try Quantizer(chosen, calibration: batches, QuantizedGraph.settings).run(graph, opset: 17)
        #expect(QuantizedGraph.operators(result.graph) == ["DynamicQuantizeLSTM": 1, "GRU": 1])
        let layer = try #require(result.report.layers.first)
        #expect(result.report.layers.count == 1 && layer.name == "lstm" && layer.isQuantized)
        #expect(try #require(layer.weightError) > 0 && (layer.outputError ?? 1) < 0.05)
        #expect(try #require(result.report.after).relativeError < 0.05)
        #expect(result.report.notes.count == 1 && result.report.notes[0].contains("GRU") && !result.report.notes[0].contains("(LSTM"))
        #expect(result.report.json.contains("recurrent node stays in float"))
        var excluding = chosen
        excluding.exclude = ["LSTM"]
        #expect(throws: ApusError.self) { try Quantizer(excluding, calibration: batches, QuantizedGraph.settings).run(graph, opset: 17) }
    }

    /// A Gemm outside, and one in each branch of an If, the second of them in a Loop's body, whose weights are captured or its own.
    private func branching() throws -> Graph {
        var noise = Noise(22)
        let builder = GraphBuilder(opset: 17)
        let x = builder.input("x", .float32, [3, 8])
        let y = builder.node("Gemm", [x, try constant(builder, &noise, [8, 8], "w0")], name: "outer")
        func branch(_ name: String, nested: Bool) throws -> Graph {
            let inner = GraphBuilder(ByteString(name), opset: 17)
            let own = inner.graph.addValue(ByteString("y_\(name)"))
            inner.graph.captures = [(y, own)]
            let weights = try constant(inner, &noise, [8, 8], ByteString("w_\(name)"))
            var result = inner.node("MatMul", [own, weights], name: ByteString("product_\(name)"))
            if nested { result = inner.node("Relu", [result]) }
            inner.output(result, ByteString("out_\(name)"))
            // What the body captures, handed on.
            inner.output(inner.node("Identity", [own]), ByteString("same_\(name)"))
            return inner.graph
        }
        let sum = builder.node("ReduceSum", [y], ["keepdims": .int(0)])
        let condition = builder.node("Greater", [sum, builder.constant(try Tensor(.float32, [], [Float(0)]), name: "zero")])
        let branches: [String: AttributeValue] = [
            "then_branch": .graph(try branch("a", nested: false)), "else_branch": .graph(try branch("b", nested: true)),
        ]
        let results = builder.nodes("If", [condition], branches, outputs: 2, name: "choice")
        builder.output(results[0], "z")
        builder.output(results[1], "same")
        return try QuantizedGraph.inferred(builder.graph)
    }

    private func innerOperators(_ graph: Graph) -> [String] {
        graph.nodes.flatMap(\.subgraphs).flatMap { $0.nodes.map(\.opType) + innerOperators($0) }
    }

    @Test func subgraphs() throws {
        let graph = try branching(), batches = try QuantizedGraph.batches(3, [3, 8])
        let dynamic = try Quantizer(options(.dynamic), calibration: batches, QuantizedGraph.settings).run(graph, opset: 17)
        #expect(innerOperators(dynamic.graph).filter { $0 == "MatMulInteger" }.count == 2)
        #expect(!innerOperators(dynamic.graph).contains("MatMul") && dynamic.report.notes.isEmpty)
        #expect(dynamic.report.layers.map(\.name).sorted() == ["outer", "product_a", "product_b"])
        #expect(try #require(dynamic.report.after).relativeError < 0.05)
        // A file's bodies give values of their own.
        for body in dynamic.graph.nodes.flatMap(\.subgraphs) {
            #expect(body.outputs.allSatisfy { output in body.nodes.contains { $0.outputs.contains(output) } })
        }
        let weights = try Quantizer(options(.weights), calibration: batches, QuantizedGraph.settings).run(graph, opset: 17)
        #expect(innerOperators(weights.graph).filter { $0 == "DequantizeLinear" }.count == 2)
        #expect(try #require(weights.report.after).relativeError < 0.02)
        let fixed = try Quantizer(options(.static), calibration: batches, QuantizedGraph.settings).run(graph, opset: 17)
        #expect(innerOperators(fixed.graph).contains("MatMul"))
        #expect(fixed.report.notes.count == 1 && fixed.report.notes[0].hasPrefix("2 products in subgraphs of If stay in float"))
        // The model that was given is as it was.
        #expect(innerOperators(graph).filter { $0 == "MatMul" }.count == 2)
        var chosen = options(.dynamic)
        chosen.exclude = ["outer", "product_b"]
        let some = try Quantizer(chosen, calibration: batches, QuantizedGraph.settings).run(graph, opset: 17)
        #expect(some.report.layers.filter(\.isQuantized).map(\.name) == ["product_a"])
    }
}
