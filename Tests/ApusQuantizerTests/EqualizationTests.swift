import ApusCore
import ApusGraph
import ApusOperators
import Testing

@testable import ApusQuantizer

struct EqualizationTests {
    private func prepared(_ spread: Float) throws -> ProductFinder {
        var noise = Noise(21)
        let builder = GraphBuilder(opset: 13)
        let x = builder.input("x", .float32, [1, 4, 6, 6])
        func weights(_ dimensions: [Int], _ name: ByteString) throws -> ValueID {
            var elements = noise.normals(dimensions.reduce(1, *), scale: 0.4)
            let inner = elements.count / dimensions[0]
            for index in elements.indices where index / inner % 2 == 0 { elements[index] *= spread }
            return builder.constant(try Tensor(.float32, dimensions, elements), name: name)
        }
        func bias(_ name: ByteString) throws -> ValueID { builder.constant(try Tensor(.float32, [8], noise.normals(8)), name: name) }
        let first = builder.node("Relu", [builder.node("Conv", [x, try weights([8, 4, 3, 3], "w1"), try bias("b1")], name: "a")])
        let second = builder.node(
            "LeakyRelu", [builder.node("Conv", [first, try weights([8, 1, 3, 3], "w2"), try bias("b2")], ["group": .int(8)], name: "b")])
        let third = builder.node("Conv", [second, try weights([8, 8, 1, 1], "w3"), try bias("b3")], name: "c")
        builder.output(third, "y")
        let graph = try QuantizedGraph.inferred(builder.graph)
        return ProductFinder(graph, try GraphInference(graph).run())
    }

    @Test func preservesOutputs() throws {
        let finder = try prepared(40)
        let equalization = Equalization(finder)
        let pairs = equalization.pairs()
        #expect(pairs.map(\.first.name) == ["a", "b"] && pairs.map(\.second.name) == ["b", "c"])
        let batches = try QuantizedGraph.batches(3, [1, 4, 6, 6])
        let calibration = Calibration(graph: finder.graph, settings: QuantizedGraph.settings)
        let maxima = try calibration.channelMaxima(pairs.map { ($0.tensor, 1) }, batches)
        let equal = try #require(try equalization.applied(maxima))
        for batch in batches {
            let before = try QuantizedGraph.run(finder.graph, batch), after = try QuantizedGraph.run(equal, batch)
            #expect(relativeError(after, from: before) < 1e-6)
        }
        // Channels lie closer together than before.
        let now = try Calibration(graph: equal, settings: QuantizedGraph.settings).channelMaxima(pairs.map { ($0.tensor, 1) }, batches)
        for pair in pairs {
            func spread(_ values: [Float]) -> Float { (values.max() ?? 0) / (values.filter { $0 > 0 }.min() ?? 1) }
            #expect(spread(now[pair.tensor] ?? []) < spread(maxima[pair.tensor] ?? []))
        }
    }

    @Test func helpsWhereChannelsDiffer() throws {
        let graph = try prepared(60).graph, batches = try QuantizedGraph.batches(4, [1, 4, 6, 6])
        func error(_ equalization: QuantizationOptions.Equalization) throws -> (Double, Bool) {
            var options = QuantizationOptions()
            options.equalization = equalization
            let report = try Quantizer(options, calibration: batches, QuantizedGraph.settings).run(graph, opset: 13).report
            return (try #require(report.after).relativeError, report.isEqualized)
        }
        let never = try error(.never), automatic = try error(.automatic), always = try error(.always)
        #expect(!never.1 && always.1)
        #expect(automatic.0 == min(never.0, always.0))
        #expect(automatic.1 == (always.0 < never.0))
    }

    @Test func factorsArePowersOfTwo() {
        let factors = Equalization.factors([8, 0.5, 0, 1], [0.5, 8, 1, .infinity])
        #expect(factors == [4, 0.25, 1, 1])
    }

    @Test func correctedBiasesHaveNoMeanError() throws {
        let graph = try prepared(1).graph
        // A constant input makes the mean the whole of the activation.
        let batch = QuantizationBatch(inputs: [.tensor(try QuantizedGraph.tensor([1, 4, 6, 6], [Float](repeating: 0.7, count: 144)))])
        func error(_ corrects: Bool) throws -> Double {
            var options = QuantizationOptions()
            (options.correctsBias, options.include, options.equalization) = (corrects, ["a"], .never)
            let report = try Quantizer(options, calibration: [batch], QuantizedGraph.settings).run(graph, opset: 13).report
            return try #require(report.layers.first?.outputError)
        }
        let corrected = try error(true), plain = try error(false)
        #expect(corrected <= plain)
    }

    @Test func leavesInFloatWhatItTakes() throws {
        let graph = try QuantizedGraph.network(spread: 30), batches = try QuantizedGraph.batches(4, [2, 3, 8, 8])
        func run(_ drop: Double?) throws -> QuantizationReport {
            var options = QuantizationOptions()
            (options.maximumDrop, options.equalization, options.isPerChannel) = (drop, .never, false)
            return try Quantizer(options, calibration: batches, QuantizedGraph.settings).run(graph, opset: 13).report
        }
        let all = try #require(try run(nil).after).relativeError
        #expect(try run(min(all * 1.01, 0.99)).layers.allSatisfy(\.isQuantized))
        let half = try run(all / 2)
        #expect(try #require(half.after).relativeError <= all / 2)
        let left = half.layers.filter { !$0.isQuantized }
        #expect(!left.isEmpty && left.count < half.layers.count)
        #expect(half.layers.allSatisfy { $0.damage != nil })
        #expect(throws: ApusError.self) { try run(0) }
    }
}
