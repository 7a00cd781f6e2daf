import ApusCore
import ApusGraph
import Testing

@testable import ApusOptimizer

/// Convolutions with constant weights of 8 and 16 bits: no float32 copy of these is left in the graph, whatever is fused.
struct NarrowWeightsTests {
    private var random = Random(5)

    /// A constant of `type` with numbers of ordinary size.
    private mutating func narrow(_ builder: GraphBuilder, _ type: ElementType, _ shape: [Int]) throws -> ValueID {
        let count = shape.reduce(1, *)
        if type.bitWidth == 8 {
            return builder.constant(try Tensor(type, shape, (0..<count).map { _ in UInt8(random.int(0x38) | random.int(2) << 7) }))
        }
        return builder.constant(try Tensor(type, shape, (0..<count).map { _ in UInt16(random.int(0x2c00) | random.int(2) << 15) }))
    }

    private mutating func floats(_ builder: GraphBuilder, _ shape: [Int]) throws -> ValueID {
        builder.constant(try random.tensor(shape))
    }

    /// Constants of float32 with more than one axis, not counting those of length 1.
    private func matrices(_ graph: Graph) -> Int {
        graph.initializers.values.filter {
            if case .tensor(let tensor) = $0 { return tensor.type == .float32 && tensor.shape.dimensions.filter { $0 > 1 }.count > 1 }
            return false
        }.count
    }

    /// Small and large weights, padding, normalisation, residual and activation.
    @Test(arguments: [ElementType.float16, .bfloat16, .float8e4m3fn, .float8e5m2])
    mutating func whatIsFusedKeepsWeightsNarrow(_ type: ElementType) throws {
        let builder = GraphBuilder(opset: 21)
        let x = builder.input("x", .float32, [1, 24, 6, 7])
        func widened(_ value: ValueID) -> ValueID { builder.node("Cast", [value], ["to": .int(1)]) }
        let padded = builder.node("Pad", [x, builder.constant(try Tensor.int64([0, 0, 1, 1, 0, 0, 1, 1]))])
        let first = builder.node("Conv", [padded, widened(try narrow(builder, type, [40, 24, 3, 3]))])
        let normal = builder.node(
            "BatchNormalization",
            [
                first, try floats(builder, [40]), try floats(builder, [40]), try floats(builder, [40]),
                builder.constant(try Tensor(.float32, [40], [Float](repeating: 0.5, count: 40))),
            ])
        let relu = builder.node("Relu", [normal])
        let second = builder.node(
            "Conv", [relu, widened(try narrow(builder, type, [40, 1, 3, 3]))], ["pads": .ints([1, 1, 1, 1]), "group": .int(40)])
        let sum = builder.node("Add", [second, relu])
        let last = builder.node("ConvTranspose", [sum, widened(try narrow(builder, type, [40, 5, 2, 2]))], ["strides": .ints([2, 2])])
        builder.output(builder.node("Tanh", [last]), "y")
        let graph = try expectSame(builder.graph)
        #expect(graph.census["apus.Conv"] == 2 && graph.census["apus.ConvTranspose"] == 1, "\(GraphPrinter.text(graph))")
        #expect(["Cast", "Pad", "BatchNormalization", "Relu", "Add", "Tanh"].allSatisfy { graph.census[$0] == nil }, "\(GraphPrinter.text(graph))")
        #expect(matrices(graph) == 0)
        // Without the pass they are widened once, for these are small.
        #expect(matrices(try expectSame(builder.graph, without: ["NarrowWeights"])) == 3)
    }

    /// Factors of the output channels between Cast and convolution, and in a DequantizeLinear, become weight_scale.
    @Test mutating func factorsOfFloat8Weights() throws {
        for (form, factors) in [("Mul", [30, 1, 1, 1]), ("Mul", []), ("DequantizeLinear", [30]), ("DequantizeLinear", [])] {
            // The smallest are known when the graph is read.
            for (isTransposed, side) in [(false, 3), (true, 3), (false, 1)] {
                let builder = GraphBuilder(opset: 21), type = ElementType.float8e4m3fn
                let x = builder.input("x", .float32, [2, 20, 5, 4])
                let w = try narrow(builder, type, isTransposed ? [20, 30, side, side] : [30, 20, side, side])
                let scale = try floats(builder, isTransposed && factors.count == 4 ? [1, 30, 1, 1] : factors), wide: ValueID
                if form == "Mul" {
                    wide = builder.node("Mul", [builder.node("Cast", [w], ["to": .int(1)]), scale])
                } else {
                    wide = builder.node("DequantizeLinear", [w, scale], ["axis": .int(isTransposed ? 1 : -4)])
                }
                let product = builder.node(isTransposed ? "ConvTranspose" : "Conv", [x, wide])
                builder.output(builder.node("Mul", [product, try floats(builder, [30, 1, 1])]), "y")
                let graph = try expectSame(builder.graph)
                #expect(graph.operators.filter { $0 != "Transpose" } == [isTransposed ? "apus.ConvTranspose" : "apus.Conv"], "\(GraphPrinter.text(graph))")
                #expect(matrices(graph) == 0)
            }
        }
    }

    /// Factors along another axis, and a zero point that is not 0, are no weight_scale.
    @Test mutating func otherFactorsStay() throws {
        for form in ["Mul", "DequantizeLinear"] {
            let builder = GraphBuilder(opset: 21)
            let x = builder.input("x", .float32, [1, 20, 5, 4]), w = try narrow(builder, .float8e4m3fn, [20, 20, 3, 3])
            let scale = try floats(builder, form == "Mul" ? [1, 20, 1, 1] : [20])
            let wide = form == "Mul"
                ? builder.node("Mul", [builder.node("Cast", [w], ["to": .int(1)]), scale])
                : builder.node("DequantizeLinear", [w, scale], ["axis": .int(1)])
            builder.output(builder.node("Conv", [x, wide]), "y")
            let graph = try expectSame(builder.graph)
            // Widened once, for they are small.
            #expect(graph.operators.filter { $0 != "Transpose" } == ["apus.Conv"] && matrices(graph) == 1, "\(GraphPrinter.text(graph))")
        }
    }

    /// The first convolution of a network of images reads its input as it is given.
    @Test mutating func firstConvolutionReadsChannelsFirst() throws {
        let builder = GraphBuilder(opset: 21)
        let x = builder.input("x", .float32, [1, 3, 9, 9])
        let w = builder.node("Cast", [try narrow(builder, .bfloat16, [16, 3, 3, 3])], ["to": .int(1)])
        let first = builder.node("MaxPool", [builder.node("Conv", [x, w])], ["kernel_shape": .ints([2, 2])])
        builder.output(builder.node("GlobalAveragePool", [builder.node("Conv", [first, builder.node("Cast", [try narrow(builder, .float16, [8, 16, 2, 2])], ["to": .int(1)])])]), "y")
        let graph = try expectSame(builder.graph)
        #expect(graph.nodes.contains { $0.attribute("input_first") != nil }, "\(GraphPrinter.text(graph))")
        #expect(matrices(graph) == 0)
    }

    /// The same convolutions have Winograd's transforms as with weights of float32.
    @Test mutating func winogradIsChosenAlike() throws {
        func chosen(_ isNarrow: Bool) throws -> [String] {
            let builder = GraphBuilder(opset: 21)
            var x = builder.input("x", .float32, [1, 64, 28, 28])
            for width in [64, 96, 256] {
                let shape = [width, x == builder.graph.inputs[0] ? 64 : width == 96 ? 64 : 96, 3, 3]
                let w = isNarrow
                    ? builder.node("Cast", [try narrow(builder, .float16, shape)], ["to": .int(1)]) : try floats(builder, shape)
                x = builder.node("Conv", [x, w], ["pads": .ints([1, 1, 1, 1])])
            }
            builder.output(x, "y")
            return try optimized(builder.graph).graph.nodes.map { node in
                node.attributes.filter { $0.name.hasPrefix("winograd") }.map { "\($0)" }.sorted().joined()
            }
        }
        let wide = try chosen(false)
        #expect(try chosen(true) == wide)
        #expect(wide.contains { $0.contains("winograd") })
    }
}
