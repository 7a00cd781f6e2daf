import ApusCore
import ApusGraph
import ApusOperators
import Testing

@testable import ApusOptimizer

/// The passes under test leave the layout as it is.
private let level: Int32 = 2

extension GraphBuilder {
    /// QuantizeLinear and DequantizeLinear with one scale.
    fileprivate func quantized(_ x: ValueID, _ scale: Float, _ zeroPoint: UInt8) throws -> ValueID {
        node("QuantizeLinear", [x, try scalar(scale), constant(try Tensor(.uint8, [], [zeroPoint]))])
    }

    fileprivate func dequantized(_ x: ValueID, _ scale: Float, _ zeroPoint: UInt8) throws -> ValueID {
        node("DequantizeLinear", [x, try scalar(scale), constant(try Tensor(.uint8, [], [zeroPoint]))])
    }

    fileprivate func both(_ x: ValueID, _ scale: Float, _ zeroPoint: UInt8) throws -> ValueID {
        try dequantized(try quantized(x, scale, zeroPoint), scale, zeroPoint)
    }

    /// Random int8 weights, dequantised with a scale for each index along `axis`, or with one.
    fileprivate func weights8(_ dimensions: [Int], axis: Int?, _ random: inout Random) throws -> ValueID {
        let codes = (0..<dimensions.reduce(1, *)).map { _ in Int8(random.int(255) - 127) }
        let scales = (0..<(axis.map { dimensions[$0] } ?? 1)).map { _ in 0.002 + 0.001 * abs(random.float()) }
        let shape = axis == nil ? [] : [scales.count]
        return node(
            "DequantizeLinear",
            [
                constant(try Tensor(.int8, dimensions, codes)), constant(try Tensor(.float32, shape, scales)),
                constant(try Tensor(.int8, shape, [Int8](repeating: 0, count: scales.count))),
            ], ["axis": .int(Int64(axis ?? 1))])
    }
}

@Suite struct QuantizedGraphTests {
    /// Expects the optimised graph, with the operators of `census`, to give the same codes up to `units`.
    private func expect(
        _ graph: Graph, _ census: [String: Int], units: Int, level: Int32 = level, sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let rewritten = try optimized(graph, level: level).graph
        #expect(rewritten.census == census, "\(GraphPrinter.text(rewritten))", sourceLocation: sourceLocation)
        var random = Random(11)
        let inputs = try graph.inputs.map { id -> Value in
            let shape = graph.values[id.index].type?.shape?.dimensions?.compactMap(\.known) ?? []
            return .tensor(try Tensor(.float32, shape, (0..<shape.reduce(1, *)).map { _ in 3 * random.float() }))
        }
        for (a, b) in zip(try run(graph, inputs), try run(rewritten, inputs)) {
            let a = try a.asTensor(), b = try b.asTensor()
            #expect(a.shape == b.shape && a.type == b.type, sourceLocation: sourceLocation)
            let x = a.type == .float32 ? a.array(Float.self) : a.array(UInt8.self).map(Float.init)
            let y = b.type == .float32 ? b.array(Float.self) : b.array(UInt8.self).map(Float.init)
            #expect(Set(x).count > 3, "the case says nothing", sourceLocation: sourceLocation)
            let worst = zip(x, y).map { abs($0 - $1) }.max() ?? 0
            #expect(worst <= Float(units), "differs by \(worst)", sourceLocation: sourceLocation)
        }
    }

    private func graph(_ shape: [Int], _ body: (GraphBuilder, ValueID, inout Random) throws -> ValueID) throws -> Graph {
        var random = Random(5)
        let builder = GraphBuilder()
        let x = builder.input("x", .float32, shape)
        builder.output(try body(builder, x, &random), "y")
        return builder.graph
    }

    @Test(arguments: [true, false])
    func convolution(isRectified: Bool) throws {
        let graph = try graph([1, 6, 7, 7]) { builder, x, random in
            let bias = builder.node(
                "DequantizeLinear",
                [builder.constant(try Tensor(.int32, [8], (0..<8).map { Int32($0 * 100 - 300) })), try builder.scalar(0.03 * 0.004)])
            var w = try builder.weights8([8, 6, 3, 3], axis: nil, &random)
            w = builder.node(
                "DequantizeLinear", [builder.constant(try Tensor(.int8, [8, 6, 3, 3], (0..<432).map { Int8($0 % 251 - 125) })), try builder.scalar(0.004)])
            var y = builder.node("Conv", [try builder.both(x, 0.03, 120), w, bias], ["pads": .ints([1, 1, 1, 1])])
            if isRectified { y = builder.node("Relu", [y]) }
            return try builder.quantized(y, 0.05, isRectified ? 0 : 110)
        }
        try expect(graph, ["QuantizeLinear": 1, "QLinearConv": 1], units: 1)
    }

    @Test func convolutionPerChannelWithLimitsInsideTheRange() throws {
        let graph = try graph([2, 6, 5, 5]) { builder, x, random in
            let scales: [Float] = [0.003, 0.002, 0.0025, 0.004]
            let w = builder.node(
                "DequantizeLinear",
                [
                    builder.constant(try Tensor(.int8, [4, 3, 3, 3], (0..<108).map { _ in Int8(random.int(255) - 127) })),
                    builder.constant(try Tensor(.float32, [4], scales)), builder.constant(try Tensor(.int8, [4], [0, 0, 0, 0] as [Int8])),
                ], ["axis": .int(0)])
            // As onnxruntime's quantiser writes it: scales and zero points for each channel.
            let bias = builder.node(
                "DequantizeLinear",
                [
                    builder.constant(try Tensor(.int32, [4], [100, -2000, 3000, 40] as [Int32])),
                    builder.constant(try Tensor(.float32, [4], scales.map { $0 * 0.03 })),
                    builder.constant(try Tensor(.int32, [4], [0, 0, 0, 0] as [Int32])),
                ], ["axis": .int(0)])
            let y = builder.node("Conv", [try builder.both(x, 0.03, 120), w, bias], ["group": .int(2)])
            let limited = builder.node("Clip", [y, try builder.scalar(-0.5), try builder.scalar(1)])
            return try builder.quantized(limited, 0.02, 110)
        }
        try expect(graph, ["QuantizeLinear": 1, "QLinearConv": 1, "apus.Lookup": 1], units: 1)
    }

    @Test func products() throws {
        let graph = try graph([5, 12]) { builder, x, random in
            let w = try builder.weights8([12, 9], axis: 1, &random), v = try builder.weights8([7, 9], axis: 0, &random)
            let y = try builder.both(builder.node("MatMul", [try builder.both(x, 0.03, 120), w]), 0.02, 100)
            let bias = try builder.weights([7], &random)
            return try builder.quantized(builder.node("Gemm", [y, v, bias], ["transB": .int(1)]), 0.01, 130)
        }
        try expect(graph, ["QuantizeLinear": 1, "QLinearMatMul": 1, "com.microsoft.QGemm": 1], units: 1)
    }

    @Test func productOfTwoComputedOperandsWithFloatResult() throws {
        let graph = try graph([2, 4, 6]) { builder, x, _ in
            let transposed = builder.node("Transpose", [try builder.both(x, 0.03, 120)], ["perm": .ints([0, 2, 1])])
            return builder.node("MatMul", [try builder.both(x, 0.025, 128), try builder.both(transposed, 0.03, 120)])
        }
        try expect(graph, ["QuantizeLinear": 2, "Transpose": 1, "com.microsoft.MatMulIntegerToFloat": 1], units: 1)
    }

    @Test func sumsProductsAndPools() throws {
        let graph = try graph([1, 4, 6, 6]) { builder, x, _ in
            let a = try builder.both(x, 0.03, 120)
            let moved = try builder.both(builder.node("Sigmoid", [a]), 0.004, 0)
            let sum = try builder.both(builder.node("Add", [a, moved]), 0.035, 100)
            let product = try builder.both(builder.node("Mul", [sum, moved]), 0.03, 90)
            return try builder.quantized(builder.node("GlobalAveragePool", [product]), 0.01, 80)
        }
        // The sum is a function of x alone, and so is the product.
        try expect(
            graph, ["QuantizeLinear": 1, "apus.Lookup": 1, "com.microsoft.QLinearGlobalAveragePool": 1], units: 1)
    }

    @Test func sumOfTwoInputs() throws {
        let builder = GraphBuilder()
        let x = builder.input("x", .float32, [3, 17]), y = builder.input("y", .float32, [17])
        let a = try builder.both(x, 0.03, 120), b = try builder.both(y, 0.02, 140)
        let sum = try builder.both(builder.node("Add", [a, b]), 0.04, 100)
        builder.output(try builder.quantized(builder.node("Mul", [sum, b]), 0.05, 77), "z")
        try expect(
            builder.graph, ["QuantizeLinear": 2, "com.microsoft.QLinearAdd": 1, "com.microsoft.QLinearMul": 1], units: 1)
    }

    @Test func functionsAreExactTables() throws {
        // GELU as exporters write it, quantised after each operator.
        let graph = try graph([4, 64]) { builder, x, _ in
            let a = try builder.both(x, 0.025, 120)
            let inner = try builder.both(builder.node("Div", [a, try builder.scalar(1.41421354)]), 0.018, 120)
            let erf = try builder.both(builder.node("Erf", [inner]), 0.008, 128)
            let sum = try builder.both(builder.node("Add", [erf, try builder.scalar(1)]), 0.008, 0)
            let product = try builder.both(builder.node("Mul", [a, sum]), 0.05, 10)
            return try builder.quantized(builder.node("Mul", [product, try builder.scalar(0.5)]), 0.02, 12)
        }
        try expect(graph, ["QuantizeLinear": 1, "apus.Lookup": 1], units: 0)
    }

    @Test func movementIsExact() throws {
        let graph = try graph([1, 4, 6, 6]) { builder, x, _ in
            let a = try builder.both(x, 0.03, 120)
            let pooled = try builder.both(
                builder.node("MaxPool", [a], ["kernel_shape": .ints([2, 2]), "strides": .ints([2, 2])]), 0.03, 120)
            let moved = builder.node("Transpose", [pooled], ["perm": .ints([0, 2, 3, 1])])
            let flat = try builder.both(builder.node("Reshape", [moved, try builder.integers([1, 36])]), 0.03, 120)
            let other = try builder.both(builder.node("Neg", [flat]), 0.02, 90)
            return try builder.quantized(builder.node("Concat", [flat, other], ["axis": .int(1)]), 0.025, 110)
        }
        try expect(
            graph, ["QuantizeLinear": 1, "MaxPool": 1, "Transpose": 1, "Reshape": 1, "apus.Lookup": 2, "Concat": 1], units: 0)
    }

    @Test func dynamicQuantisationIsExact() throws {
        let graph = try graph([3, 16]) { builder, x, random in
            let made = builder.nodes("DynamicQuantizeLinear", [x], outputs: 3)
            let w = builder.constant(try Tensor(.int8, [16, 6], (0..<96).map { Int8(truncatingIfNeeded: $0 * 37) }))
            let scale = builder.constant(try Tensor(.float32, [6], (0..<6).map { 0.01 + 0.001 * Float($0) }))
            let zero = builder.constant(try Tensor(.int8, [], [Int8(3)]))
            let sums = builder.node("MatMulInteger", [made[0], w, made[2], zero])
            let floats = builder.node("Cast", [sums], ["to": .int(1)])
            let scaled = builder.node("Mul", [floats, builder.node("Mul", [made[1], scale])])
            return builder.node("Add", [try builder.weights([6], &random), scaled])
        }
        try expect(graph, ["DynamicQuantizeLinear": 1, "com.microsoft.MatMulIntegerToFloat": 1], units: 0)
    }

    @Test func parametersThatAreNotConstantAreLeftAlone() throws {
        let builder = GraphBuilder()
        let x = builder.input("x", .float32, [2, 6]), s = builder.input("s", .float32, [1, 3])
        let scale = builder.node("ReduceMax", [builder.node("Abs", [s])], ["keepdims": .int(0)])
        let zero = builder.constant(try Tensor(.uint8, [], [UInt8(100)]))
        let q = builder.node("QuantizeLinear", [x, scale, zero])
        let y = builder.node("Relu", [builder.node("DequantizeLinear", [q, scale, zero])])
        builder.output(builder.node("QuantizeLinear", [y, try builder.scalar(0.5), zero]), "y")
        let rewritten = try optimized(builder.graph, level: level).graph
        #expect(rewritten.census["apus.Lookup"] == nil)
        #expect(rewritten.census["Relu"] == 1)
    }

    /// What encoders are made of: floats stay inside of softmax and normalisation, whose rows are the last axis.
    @Test func attentionConvertsAtItsEdgesOnly() throws {
        let graph = try graph([6, 8]) { builder, x, random in
            let a = try builder.both(x, 0.03, 120)
            let scores = try builder.both(builder.node("MatMul", [a, builder.node("Transpose", [a], ["perm": .ints([1, 0])])]), 0.1, 100)
            let isSeen = builder.node("Greater", [builder.constant(try Tensor(.float32, [1, 6], [1, 1, 0, 1, 1, 1] as [Float])), try builder.scalar(0.5)])
            let mask = try builder.both(builder.node("Where", [isSeen, try builder.scalar(0), try builder.scalar(-3)]), 0.02, 255)
            let shares = try builder.both(builder.node("Softmax", [try builder.both(builder.node("Add", [scores, mask]), 0.1, 130)], ["axis": .int(-1)]), 1.0 / 255, 0)
            let sum = try builder.both(builder.node("Add", [try builder.both(builder.node("MatMul", [shares, a]), 0.02, 128), a]), 0.04, 125)
            let normalized = builder.node(
                "LayerNormalization", [sum, try builder.weights([8], &random, positive: true), try builder.weights([8], &random)],
                ["axis": .int(1), "epsilon": .float(1e-3)], opset: 17)
            return try builder.quantized(normalized, 0.02, 128)
        }
        try expect(
            graph,
            [
                "QuantizeLinear": 1, "QLinearMatMul": 2, "Transpose": 1, "com.microsoft.QLinearAdd": 2, "apus.QuantizedSoftmax": 1,
                "apus.QuantizedLayerNormalization": 1,
            ], units: 2)
    }

    @Test func softmaxAlongAnotherAxisStaysFloat() throws {
        let graph = try graph([6, 8]) { builder, x, _ in
            try builder.quantized(builder.node("Softmax", [try builder.both(x, 0.03, 120)], ["axis": .int(0)]), 1.0 / 255, 0)
        }
        try expect(graph, ["QuantizeLinear": 2, "DequantizeLinear": 1, "Softmax": 1], units: 0)
    }

    /// What convolutional networks are made of: conversions are left where floats come in and go out.
    @Test func aResidualNetworkConvertsAtItsEdgesOnly() throws {
        let graph = try graph([1, 3, 16, 16]) { builder, x, random in
            func convolution(_ x: ValueID, _ outputs: Int, _ inputs: Int, group: Int = 1) throws -> ValueID {
                let w = try builder.weights8([outputs, inputs / group, 3, 3], axis: 0, &random), bias = try builder.weights([outputs], &random)
                return builder.node("Conv", [x, w, bias], ["pads": .ints([1, 1, 1, 1]), "group": .int(Int64(group))])
            }
            var y = try builder.both(builder.node("Relu", [try convolution(try builder.both(x, 0.03, 120), 8, 3)]), 0.05, 0)
            y = try builder.both(builder.node("MaxPool", [y], ["kernel_shape": .ints([2, 2]), "strides": .ints([2, 2])]), 0.05, 0)
            let wide = try builder.both(builder.node("Relu", [try convolution(y, 8, 8, group: 8)]), 0.04, 0)
            let narrow = try builder.both(try convolution(wide, 8, 8), 0.06, 130)
            let sum = try builder.both(builder.node("Relu", [builder.node("Add", [narrow, y])]), 0.05, 0)
            let joined = try builder.both(builder.node("Concat", [sum, y], ["axis": .int(1)]), 0.05, 0)
            let mean = try builder.both(builder.node("GlobalAveragePool", [joined]), 0.03, 0)
            let flat = try builder.both(builder.node("Flatten", [mean]), 0.03, 0)
            let w = try builder.weights8([5, 16], axis: nil, &random), bias = try builder.weights([5], &random)
            return try builder.both(builder.node("Gemm", [flat, w, bias], ["transB": .int(1)]), 0.02, 128)
        }
        let rewritten = try optimized(graph, level: 99).graph
        #expect(rewritten.census["QuantizeLinear"] == 1, "\(GraphPrinter.text(rewritten))")
        #expect(rewritten.census["DequantizeLinear"] == 1, "\(GraphPrinter.text(rewritten))")
        var random = Random(12)
        let input = Value.tensor(try random.tensor([1, 3, 16, 16]))
        let a = try run(graph, [input])[0].asTensor().array(Float.self), b = try run(rewritten, [input])[0].asTensor().array(Float.self)
        // Each of the operators may round one code otherwise.
        #expect(zip(a, b).allSatisfy { abs($0 - $1) <= 3 * 0.02 }, "\(a) \(b)")
    }
}
