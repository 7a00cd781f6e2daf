import ApusCore
import ApusGraph
import Testing

@testable import ApusOptimizer

@Suite struct ProductFusionTests {
    private var random = Random(3)

    private mutating func constant(_ builder: GraphBuilder, _ dimensions: [Int]) throws -> ValueID {
        builder.constant(try random.tensor(dimensions))
    }

    private func scalar(_ builder: GraphBuilder, _ value: Float) throws -> ValueID {
        builder.constant(try Tensor(.float32, [], [value]))
    }

    @Test mutating func everythingAroundAProductBecomesOneNode() throws {
        let builder = GraphBuilder()
        let x = builder.input("x", .float32, [2, 3, 4]), skip = builder.input("skip", .float32, [2, 3, 5])
        let product = builder.node("MatMul", [x, try constant(builder, [4, 5])])
        let scaled = builder.node("Div", [product, try scalar(builder, 3)])
        let biased = builder.node("Add", [try constant(builder, [5]), scaled])
        let sum = builder.node("Add", [skip, biased])
        builder.output(builder.node("Tanh", [sum]), "y")
        let graph = try expectSame(builder.graph)
        #expect(graph.operators == ["apus.MatMul"])
        #expect(graph.nodes[0].origin == "ProductFusion")
        #expect(try expectSame(builder.graph, without: ["ProductFusion"]).operators == ["MatMul", "Div", "Add", "Add", "Tanh"])
    }

    @Test(arguments: [
        "Relu", "Sigmoid", "Tanh", "Softplus", "Softsign", "Mish", "Erf", "HardSwish", "LeakyRelu", "Elu", "Celu", "Selu", "HardSigmoid",
        "Gelu", "Swish",
    ])
    mutating func activations(_ op: String) throws {
        let builder = GraphBuilder(opset: 24)
        let x = builder.input("x", .float32, [3, 4])
        let product = builder.node("Gemm", [x, try constant(builder, [5, 4]), try constant(builder, [5])], ["transB": .int(1)])
        builder.output(builder.node(op, [product]), "y")
        #expect(try expectSame(builder.graph).operators == ["apus.MatMul"])
    }

    @Test mutating func clipByConstants() throws {
        let builder = GraphBuilder()
        let x = builder.input("x", .float32, [3, 4]), bound = builder.input("bound", .float32, [Int]())
        let w = try constant(builder, [4, 5])
        builder.output(builder.node("Clip", [builder.node("MatMul", [x, w]), try scalar(builder, -0.25), try scalar(builder, 0.5)]), "y")
        builder.output(builder.node("Clip", [builder.node("MatMul", [builder.node("Neg", [x]), w]), nil, bound]), "z")
        #expect(try expectSame(builder.graph).operators.sorted() == ["Clip", "Neg", "apus.MatMul", "apus.MatMul"])
    }

    @Test mutating func anIntermediateThatSomeoneElseReadsStays() throws {
        let builder = GraphBuilder()
        let x = builder.input("x", .float32, [3, 4])
        let product = builder.node("MatMul", [x, try constant(builder, [4, 5])])
        builder.output(builder.node("Relu", [product]), "y")
        builder.output(builder.node("Neg", [product]), "z")
        #expect(try expectSame(builder.graph).operators.sorted() == ["Neg", "Relu", "apus.MatMul"])
        let other = GraphBuilder()
        let u = other.input("x", .float32, [3, 4])
        let v = other.node("MatMul", [u, try constant(other, [4, 5])])
        other.output(v, "v")
        other.output(other.node("Relu", [v]), "y")
        #expect(try expectSame(other.graph).operators == ["apus.MatMul", "Relu"])
    }

    @Test mutating func whatIsNoRowAndNoResidualStays() throws {
        let builder = GraphBuilder()
        let x = builder.input("x", .float32, [3, 4]), wide = builder.input("wide", .float32, [2, 3, 5])
        let column = builder.input("column", .float32, [3, 1])
        let w = try constant(builder, [4, 5])
        builder.output(builder.node("Add", [builder.node("MatMul", [x, w]), wide]), "y")
        builder.output(builder.node("Add", [builder.node("MatMul", [builder.node("Abs", [x]), w]), column]), "z")
        #expect(try expectSame(builder.graph).operators.filter { $0 == "Add" }.count == 2)
    }

    @Test mutating func biasesJoinWeightsOfFewBits() throws {
        func graph(_ other: [Int]) throws -> Graph {
            let builder = GraphBuilder()
            let x = builder.input("x", .float32, [2, 3, 32])
            let codes = builder.constant(try Tensor(.uint8, [5, 2, 8], (0..<80).map { UInt8(truncatingIfNeeded: $0 * 37) }))
            let product = builder.node(
                "MatMulNBits", [x, codes, try constant(builder, [5, 2])], ["K": .int(32), "N": .int(5), "bits": .int(4), "block_size": .int(16)],
                domain: "com.microsoft", opset: 1)
            let biased = builder.node("Add", [try constant(builder, other), product])
            builder.output(builder.node("Add", [biased, try constant(builder, [5])]), "y")
            return builder.graph
        }
        // The second has no place any more.
        for bias in [[5], [1, 1, 5]] {
            #expect(try expectSame(graph(bias), tolerance: 0).operators == ["com.microsoft.MatMulNBits", "Add"])
        }
        #expect(try expectSame(graph([3, 5]), tolerance: 0).operators == ["com.microsoft.MatMulNBits", "Add", "Add"])
    }

    @Test mutating func vectorsAreLeftAlone() throws {
        let builder = GraphBuilder()
        let x = builder.input("x", .float32, [4])
        let product = builder.node("MatMul", [x, try constant(builder, [4, 5])])
        builder.output(builder.node("Add", [product, try constant(builder, [5])]), "y")
        #expect(try expectSame(builder.graph).operators == ["MatMul", "Add"])
    }

    @Test mutating func transposedWeightsAndVariables() throws {
        let builder = GraphBuilder()
        let x = builder.input("x", .float32, [2, 3, 4]), k = builder.input("k", .float32, [2, 6, 4])
        let transposed = builder.node("Transpose", [k], ["perm": .ints([0, 2, 1])])
        builder.output(builder.node("MatMul", [x, transposed]), "y")
        let graph = try expectSame(builder.graph)
        #expect(graph.operators == ["apus.MatMul"])
        guard case .int(1)? = graph.nodes[0].attribute("transB") else {
            Issue.record("B is not marked as transposed")
            return
        }
    }

    /// torch writes a linear layer as Reshape, Gemm, Reshape.
    @Test mutating func reshapesAroundGemmAreUndone() throws {
        let builder = GraphBuilder()
        let x = builder.input("x", .float32, [2, 3, 4]), skip = builder.input("skip", .float32, [2, 3, 5])
        let flat = builder.node("Reshape", [x, builder.constant(try Tensor.int64([-1, 4]))])
        let product = builder.node("Gemm", [flat, try constant(builder, [4, 5]), try constant(builder, [5])])
        let shaped = builder.node("Reshape", [product, builder.constant(try Tensor.int64([2, 3, 5]))])
        builder.output(builder.node("Add", [shaped, skip]), "y")
        #expect(try expectSame(builder.graph).operators == ["apus.MatMul"])
    }

    @Test mutating func aReshapeOfOtherRowsIsReplaced() throws {
        let builder = GraphBuilder()
        let x = builder.input("x", .float32, [2, 3, 2, 2]), skip = builder.input("skip", .float32, [2, 3, 5])
        let flat = builder.node("Reshape", [x, builder.constant(try Tensor.int64([6, 4]))])
        let product = builder.node("Gemm", [flat, try constant(builder, [4, 5])])
        let shaped = builder.node("Reshape", [product, builder.constant(try Tensor.int64([2, 3, -1]))])
        builder.output(builder.node("Add", [shaped, skip]), "y")
        #expect(try expectSame(builder.graph).operators == ["Reshape", "apus.MatMul"])
        // Columns that change hands cannot be moved before the product.
        let other = GraphBuilder()
        let u = other.node("Reshape", [other.input("x", .float32, [2, 3, 4]), other.constant(try Tensor.int64([6, 4]))])
        let v = other.node("Gemm", [u, try constant(other, [4, 6])])
        other.output(other.node("Reshape", [v, other.constant(try Tensor.int64([2, 3, 2, 3]))]), "y")
        #expect(try expectSame(other.graph).operators == ["Reshape", "apus.MatMul", "Reshape"])
    }

    @Test mutating func formsOfGemm() throws {
        for (c, beta, expected) in [([5], Float(1), "apus.MatMul"), ([1, 5], 1, "apus.MatMul"), ([3, 5], 1, "apus.MatMul"), ([3, 1], 1, "Gemm"), ([5], 2, "Gemm")] {
            let builder = GraphBuilder()
            let x = builder.input("x", .float32, [3, 4])
            let attributes: [String: AttributeValue] = ["alpha": .float(0.5), "beta": .float(beta)]
            builder.output(builder.node("Gemm", [x, try constant(builder, [4, 5]), try constant(builder, c)], attributes), "y")
            #expect(try expectSame(builder.graph).operators == [expected], "C of \(c), beta \(beta)")
        }
        let builder = GraphBuilder()
        let x = builder.input("x", .float32, [4, 3])
        builder.output(builder.node("Gemm", [x, try constant(builder, [4, 5])], ["transA": .int(1)]), "y")
        #expect(try expectSame(builder.graph).operators == ["Gemm"])
    }

    @Test mutating func aFactorAfterTheBiasScalesBoth() throws {
        let builder = GraphBuilder()
        let x = builder.input("x", .float32, [3, 4])
        let biased = builder.node("Add", [builder.node("MatMul", [x, try constant(builder, [4, 5])]), try constant(builder, [5])])
        builder.output(builder.node("Mul", [try scalar(builder, 0.125), biased]), "y")
        #expect(try expectSame(builder.graph).operators == ["apus.MatMul"])
    }

    @Test mutating func integersAndDoublesAreLeftAlone() throws {
        for type in [ElementType.int32, .float64] {
            let builder = GraphBuilder()
            let x = builder.input("x", type, [3, 4]), w = builder.input("w", type, [4, 5]), b = builder.input("b", type, [5])
            builder.output(builder.node("Add", [builder.node("MatMul", [x, w]), b]), "y")
            let graph = builder.graph.copy()
            try Optimizer(level: 99).run(graph)
            #expect(graph.operators == ["MatMul", "Add"])
        }
    }

    @Test mutating func unknownShapesAreLeftAlone() throws {
        let builder = GraphBuilder()
        let x = builder.input("x", .float32, nil as [Dimension]?), w = try constant(builder, [4, 5])
        builder.output(builder.node("Add", [builder.node("MatMul", [x, w]), try constant(builder, [5])]), "y")
        let graph = builder.graph.copy()
        try Optimizer(level: 99).run(graph)
        #expect(graph.operators == ["MatMul", "Add"])
    }

    /// Large weights of 16 bits behind a Cast, and a Transpose, are not widened in memory; results are those of the graph as written.
    @Test(arguments: [ElementType.float16, .bfloat16, .float8e4m3fn])
    mutating func narrowWeightsStayNarrow(_ type: ElementType) throws {
        let builder = GraphBuilder(opset: 21)
        let x = builder.input("x", .float32, [1, 600])
        let codes = (0..<360_000).map { _ in random.int(type.bitWidth == 8 ? 120 : 0x3c00) }
        let first = builder.constant(
            type.bitWidth == 8 ? try Tensor(type, [600, 600], codes.map { UInt8($0) }) : try Tensor(type, [600, 600], codes.map { UInt16($0) }))
        let wide = builder.node("Cast", [first], ["to": .int(1)])
        let product = builder.node("MatMul", [x, wide])
        let turned = builder.node("Transpose", [builder.node("Cast", [first], ["to": .int(1)])], ["perm": .ints([1, 0])])
        let rows = builder.node("Gather", [builder.node("Cast", [first], ["to": .int(1)]), builder.node("ArgMax", [x], ["axis": .int(1), "keepdims": .int(0)])])
        builder.output(builder.node("MatMul", [builder.node("Tanh", [product]), turned]), "y")
        builder.output(rows, "rows")
        let graph = try expectSame(builder.graph)
        #expect(graph.census == ["apus.MatMul": 2, "ArgMax": 1, "Gather": 1, "Cast": 1], "\(GraphPrinter.text(graph))")
        #expect(graph.nodes.allSatisfy { $0.opType != "Cast" || graph.outputs.contains($0.outputs[0] ?? ValueID(0)) })
        #expect(try expectSame(builder.graph, without: ["NarrowWeights"]).operators.contains("Cast"))
    }

    /// The same for the weights of a convolution, which are widened when they are packed.
    @Test mutating func narrowConvolutionWeights() throws {
        let builder = GraphBuilder()
        let x = builder.input("x", .float32, [1, 256, 5, 6])
        let weights = builder.constant(try Tensor(.float16, [128, 256, 3, 3], (0..<294_912).map { _ in UInt16(random.int(0x2c00)) }))
        let wide = builder.node("Cast", [weights], ["to": .int(1)])
        builder.output(builder.node("Relu", [builder.node("Conv", [x, wide], ["pads": .ints([1, 1, 1, 1])])]), "y")
        let graph = try expectSame(builder.graph)
        #expect(graph.census["Cast"] == nil && graph.census["apus.Conv"] == 1, "\(GraphPrinter.text(graph))")
        #expect(try expectSame(builder.graph, without: ["NarrowWeights"]).census["Cast"] == 1)
    }
}
