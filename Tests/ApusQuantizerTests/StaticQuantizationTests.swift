import ApusCore
import ApusGraph
import Testing

@testable import ApusQuantizer

struct StaticQuantizationTests {
    private func quantized(
        _ graph: Graph, _ batches: [QuantizationBatch], opset: Int = 13, _ change: (inout QuantizationOptions) -> Void = { _ in }
    ) throws -> Quantizer.Result {
        var options = QuantizationOptions()
        change(&options)
        return try Quantizer(options, calibration: batches, QuantizedGraph.settings).run(graph, opset: opset)
    }

    @Test(arguments: [ElementType.uint8, .int8], QuantizationOptions.Calibration.allCases)
    func staysCloseToTheOriginal(_ type: ElementType, _ calibration: QuantizationOptions.Calibration) throws {
        let graph = try QuantizedGraph.network(), batches = try QuantizedGraph.batches(4, [2, 3, 8, 8])
        let result = try quantized(graph, batches) {
            $0.activationType = type
            $0.calibration = calibration
        }
        #expect(try #require(result.report.after).relativeError < (calibration == .minMax ? 0.05 : 0.25))
        let operators = QuantizedGraph.operators(result.graph)
        // x, relu1, conv2, relu2, pool and flatten; besides these, weights and biases of three products are dequantised.
        #expect(operators["QuantizeLinear"] == 6)
        #expect(operators["DequantizeLinear"] == 12)
        #expect(operators["BatchNormalization"] == nil)
        #expect(operators["Conv"] == 2 && operators["Gemm"] == 1)
        #expect(result.graph.values[result.graph.outputs[0].index].name == "y")
        #expect(result.report.layers.map(\.name) == ["conv1", "conv2", "gemm"])
        #expect(result.report.layers.allSatisfy { $0.isQuantized && ($0.weightError ?? 1) < 0.02 && $0.outputError != nil })
        #expect(result.report.bytesAfter < result.report.bytesBefore / 2)
        try result.graph.verify()
        // The original is left as it is.
        #expect(QuantizedGraph.operators(graph)["BatchNormalization"] == 1)
    }

    @Test func leavesOutWhatIsExcluded() throws {
        let graph = try QuantizedGraph.network(), batches = try QuantizedGraph.batches(2, [2, 3, 8, 8])
        let byOperator = try quantized(graph, batches) { $0.exclude = ["Conv"] }
        #expect(byOperator.report.layers.filter(\.isQuantized).map(\.name) == ["gemm"])
        #expect(QuantizedGraph.operators(byOperator.graph)["QuantizeLinear"] == 1)
        let byName = try quantized(graph, batches) { $0.exclude = ["conv1", "gem*"] }
        #expect(byName.report.layers.filter(\.isQuantized).map(\.name) == ["conv2"])
        let included = try quantized(graph, batches) { $0.include = ["conv*"] }
        #expect(included.report.layers.filter(\.isQuantized).map(\.name) == ["conv1", "conv2"])
    }

    @Test func patterns() {
        func fits(_ pattern: String, _ text: String) -> Bool { NodeSelection.fits(Array(pattern.utf8)[...], Array(text.utf8)[...]) }
        #expect(fits("a*b*c", "aXbYbZc") && fits("*", "") && fits("abc", "abc") && fits("*c", "abc") && fits("a*", "a"))
        #expect(!fits("a*b", "abc") && !fits("", "a") && !fits("a", "") && !fits("a*bc", "abb"))
    }

    @Test func olderModelsAreBroughtToTheVersionThatIsNeeded() throws {
        let graph = try QuantizedGraph.network(opset: 9), batches = try QuantizedGraph.batches(2, [2, 3, 8, 8])
        let result = try quantized(graph, batches, opset: 9)
        #expect(result.opset == 13)
        #expect(result.graph.nodes.allSatisfy { $0.opset == 13 })
        #expect(try #require(result.report.after).relativeError < 0.05)
        // With one scale for each tensor an older version will do.
        #expect(try quantized(graph, batches, opset: 9) { $0.isPerChannel = false }.opset == 10)
    }

    @Test func errorsSayWhatIsWrong() throws {
        let graph = try QuantizedGraph.network(), batches = try QuantizedGraph.batches(2, [2, 3, 8, 8])
        func message(_ body: () throws -> Void) -> String {
            do { try body() } catch { return "\(error)" }
            return "no error"
        }
        #expect(message { _ = try quantized(graph, []) }.contains("needs calibration data"))
        #expect(message { _ = try quantized(graph, batches) { $0.exclude = ["Cnov"] } }.contains("\"Cnov\" is no operator of the model"))
        #expect(message { _ = try quantized(graph, batches) { $0.include = ["Relu"] } }.contains("nothing to quantise"))
        #expect(message { _ = try quantized(graph, batches) { $0.activationType = .int16 } }.contains("not int16"))
        var bad = [Float](repeating: 0, count: 384)
        bad[5] = .nan
        let withNaN = [batches[0], QuantizationBatch(inputs: [.tensor(try QuantizedGraph.tensor([2, 3, 8, 8], bad))])]
        #expect(message { _ = try quantized(graph, withNaN) }.contains("batch 1: input \"x\" holds NaN"))
        let once = try QuantizedGraph.inferred(try quantized(graph, batches).graph)
        #expect(message { _ = try quantized(once, batches) }.contains("quantised already"))
        let builder = GraphBuilder(opset: 13)
        builder.output(builder.node("Relu", [builder.input("x", .float32, [4])]), "y")
        #expect(message { _ = try quantized(try QuantizedGraph.inferred(builder.graph), try QuantizedGraph.batches(1, [4])) }
            .contains("has no Conv, Gemm or MatMul"))
    }

    @Test func labelsGiveAccuracy() throws {
        let graph = try QuantizedGraph.network()
        let batches = try QuantizedGraph.batches(8, [2, 3, 8, 8]).map { batch in
            let scores = try QuantizedGraph.run(graph, batch)
            let labels = [scores[0..<5], scores[5..<10]].map { row in row.indices.max { row[$0] < row[$1] }! - row.startIndex }
            return QuantizationBatch(inputs: batch.inputs, labels: labels)
        }
        let report = try quantized(graph, batches).report
        #expect(report.before?.accuracy == 1)
        #expect(try #require(report.after?.accuracy) > 0.8)
    }

    @Test func sharedWeightsAreWrittenOnce() throws {
        var noise = Noise(5)
        let builder = GraphBuilder(opset: 13)
        let x = builder.input("x", .float32, [4, 16])
        let weights = builder.constant(try QuantizedGraph.tensor([16, 16], noise.normals(256)), name: "w")
        let a = builder.node("MatMul", [x, weights], name: "a")
        builder.output(builder.node("MatMul", [builder.node("Tanh", [a]), weights], name: "b"), "y")
        let result = try quantized(try QuantizedGraph.inferred(builder.graph), try QuantizedGraph.batches(2, [4, 16]))
        #expect(result.graph.initializers.values.filter { $0.type.elementType == .int8 && $0.shape?.rank == 2 }.count == 1)
        #expect(Set(result.graph.nodes.map(\.name)).count == result.graph.nodes.filter { !$0.name.isEmpty }.count + (result.graph.nodes.contains { $0.name.isEmpty } ? 1 : 0))
    }
}
