import ApusCore
import ApusGraph
import Testing

@testable import ApusQuantizer

struct WeightTests {
    private func encoded(_ coder: BlockCodes, _ weights: [Float]) -> (block: BlockCodes.Block, restored: [Float]) {
        var codes = [Int16](repeating: 0, count: weights.count)
        let block = weights.withUnsafeBufferPointer { weights in codes.withUnsafeMutableBufferPointer { coder.encode(weights, $0) } }
        return (block, codes.map { Float(Int($0) - block.zeroPoint) * block.scale })
    }

    @Test(arguments: [4, 8], [true, false])
    func searchIsNeverWorseThanRounding(_ bits: Int, _ hasZeroPoint: Bool) {
        var noise = Noise(11), better = 0
        for trial in 0..<200 {
            var weights = noise.normals(32, scale: Float(trial % 7) * 0.1)
            if trial % 5 == 0 { weights[3] = 4 }
            if trial % 11 == 0 { weights = weights.map { $0 + 2 } }
            let plain = encoded(BlockCodes(bits: bits, hasZeroPoint: hasZeroPoint, searches: false), weights)
            let searched = encoded(BlockCodes(bits: bits, hasZeroPoint: hasZeroPoint, searches: true), weights)
            #expect(searched.block.error <= plain.block.error)
            if searched.block.error < plain.block.error * 0.98 { better += 1 }
            let error = zip(weights, searched.restored).reduce(0.0) { $0 + Double(($1.0 - $1.1) * ($1.0 - $1.1)) }
            #expect(abs(error - searched.block.error) <= 1e-5 * error + 1e-12)
        }
        #expect(better > (bits == 4 ? 60 : 5))
    }

    @Test func codesOfExtremes() {
        for bits in [4, 8] {
            for hasZeroPoint in [true, false] {
                let coder = BlockCodes(bits: bits, hasZeroPoint: hasZeroPoint, searches: true)
                #expect(encoded(coder, [0, 0, 0]).restored == [0, 0, 0])
                #expect(encoded(coder, [1e-38, -1e-38]).restored.allSatisfy { $0.isFinite })
                #expect(encoded(coder, [3e38, -3e38, 1]).block.scale.isFinite)
                #expect(encoded(coder, []).restored.isEmpty)
            }
        }
    }

    @Test func blocksLieAlongTheSummedAxis() throws {
        var noise = Noise(4)
        // 20 rows in blocks of 16: the last block is short.
        let elements = noise.normals(20 * 3)
        let tensor = try Tensor(.float32, [20, 3], elements)
        for (bits, type) in [(4, ElementType.uint4), (8, .uint8)] {
            let weights = try BlockedWeights(tensor, axis: 0, blockSize: 16, BlockCodes(bits: bits, hasZeroPoint: true, searches: false))
            #expect(weights.codes.type == type && weights.codes.shape.dimensions == [20, 3])
            #expect(weights.scales.shape.dimensions == [2, 3])
            #expect(try #require(weights.zeroPoints).type == type)
            #expect(weights.relativeError < (bits == 4 ? 0.12 : 0.01))
        }
        let columns = try BlockedWeights(tensor, axis: 0, blockSize: 0, BlockCodes(bits: 4, hasZeroPoint: false, searches: false))
        #expect(columns.scales.shape.dimensions == [3] && columns.zeroPoints == nil && columns.codes.type == .int4)
    }

    @Test func smallWeightsDoNotMakeBiasesOverflow() throws {
        let matrix = try WeightMatrix(try Tensor(.float32, [3, 2], [Float](arrayLiteral: 1e-9, -1e-9, 1, 2, 0, 0)), axis: 0)
        let weights = QuantizedWeights(matrix, bias: [5, 1, 3], inputScale: 0.01)
        for (channel, bias) in [Float(5), 1, 3].enumerated() {
            #expect(Double(bias) / (Double(weights.scales[channel]) * 0.01) <= 0x1p30)
        }
        #expect(QuantizedWeights(matrix).scales[2] == 1)
    }

    private func network() throws -> Graph {
        var noise = Noise(9)
        let builder = GraphBuilder(opset: 17)
        let x = builder.input("x", .float32, [4, 64])
        let w1 = builder.constant(try Tensor(.float32, [64, 48], noise.normals(64 * 48, scale: 0.2)), name: "w1")
        let w2 = builder.constant(try Tensor(.float32, [10, 48], noise.normals(480, scale: 0.2)), name: "w2")
        let bias = builder.constant(try Tensor(.float32, [10], noise.normals(10)), name: "bias")
        let hidden = builder.node("Tanh", [builder.node("MatMul", [x, w1], name: "first")])
        builder.output(builder.node("Gemm", [hidden, w2, bias], ["transB": .int(1)], name: "second"), "y")
        return try QuantizedGraph.inferred(builder.graph)
    }

    @Test(arguments: [(ElementType.int4, 16, false), (.int4, 32, true), (.int4, 0, false), (.int8, 0, false), (.int8, 16, true)])
    func storesMatrices(_ type: ElementType, _ block: Int, _ hasZeroPoints: Bool) throws {
        let graph = try network(), batches = try QuantizedGraph.batches(2, [4, 64])
        var options = QuantizationOptions()
        (options.method, options.weightType, options.blockSize, options.hasZeroPoints) = (.weights, type, block, hasZeroPoints)
        let result = try Quantizer(options, calibration: batches, QuantizedGraph.settings).run(graph, opset: 17)
        #expect(result.opset == (type == .int4 || block > 0 ? 21 : 17))
        #expect(QuantizedGraph.operators(result.graph)["DequantizeLinear"] == 2)
        #expect(result.report.layers.map(\.name) == ["first", "second"])
        #expect(result.report.layers.allSatisfy { ($0.weightError ?? 1) < (type == .int4 ? 0.15 : 0.01) })
        #expect(try #require(result.report.after).relativeError < (type == .int4 ? 0.2 : 0.01))
        // Without data the same, and no judgement.
        let blind = try Quantizer(options, calibration: [], QuantizedGraph.settings).run(graph, opset: 17)
        #expect(blind.report.after == nil && blind.report.bytesAfter == result.report.bytesAfter)
    }

    @Test func dynamicActivations() throws {
        let graph = try network(), batches = try QuantizedGraph.batches(2, [4, 64])
        for isPerChannel in [true, false] {
            var options = QuantizationOptions()
            (options.method, options.isPerChannel) = (.dynamic, isPerChannel)
            let result = try Quantizer(options, calibration: batches, QuantizedGraph.settings).run(graph, opset: 17)
            let operators = QuantizedGraph.operators(result.graph)
            #expect(operators["DynamicQuantizeLinear"] == 2 && operators["MatMulInteger"] == 2 && operators["Gemm"] == nil)
            #expect(try #require(result.report.after).relativeError < 0.03)
        }
        let images = try QuantizedGraph.network()
        var options = QuantizationOptions()
        options.method = .dynamic
        let result = try Quantizer(options, calibration: try QuantizedGraph.batches(2, [2, 3, 8, 8]), QuantizedGraph.settings).run(images, opset: 13)
        #expect(QuantizedGraph.operators(result.graph)["ConvInteger"] == 2)
        #expect(try #require(result.report.after).relativeError < 0.05)
    }
}
