import ApusCore
import ApusGraph
import ApusOperators
import Testing

@testable import ApusOptimizer

@Suite struct ConvolutionChainsTests {
    /// A block of MobileNet on [1, 8, size, size], 32 channels wide, between two other convolutions. `between` changes what the
    /// depthwise convolution reads, `behind` what it gives.
    private func block(
        size: Int = 64, stride: Int = 1, adds: Bool = true, between: (GraphBuilder, ValueID) -> ValueID = { $1 },
        behind: (GraphBuilder, ValueID) -> ValueID = { $1 }
    ) throws -> Graph {
        let builder = GraphBuilder()
        var random = Random(5)
        let x = builder.relu(try builder.convolution(builder.input("x", .float32, [1, 8, size, size]), 8, 8, &random))
        var y = builder.node("Clip", [try builder.convolution(x, 8, 32, &random, kernel: 1), try builder.scalar(0), try builder.scalar(1)])
        y = builder.relu(try builder.convolution(between(builder, y), 32, 32, &random, stride: stride, group: 32))
        y = try builder.convolution(behind(builder, y), 32, 8, &random, kernel: 1)
        if adds, stride == 1 { y = builder.node("Add", [y, x]) }
        builder.output(try builder.convolution(y, 8, 3, &random), "y")
        return builder.graph
    }

    private func expectChain(_ graph: Graph, inputs: Int, convolutions: Int, sourceLocation: SourceLocation = #_sourceLocation) throws {
        let found = try expectSame(graph, sourceLocation: sourceLocation)
        #expect(found.census["apus.ConvChain"] == 1 && found.census["apus.Conv", default: 0] == convolutions, sourceLocation: sourceLocation)
        #expect(try found.only("apus.ConvChain").inputs.count == inputs, sourceLocation: sourceLocation)
        // The same bits as without, whatever the threads.
        let without = try optimized(graph, without: ["ConvolutionChains"]).graph
        #expect(without.census["apus.ConvChain"] == nil, sourceLocation: sourceLocation)
        var random = Random(9)
        let shape = graph.inputs.first.flatMap { graph.values[$0.index].type?.shape?.dimensions?.compactMap(\.known) } ?? []
        let x = Value.tensor(try random.tensor(shape))
        let expected = try run(without, [x])[0].asTensor().array(Float.self)
        for threads in 1...3 {
            #expect(try run(found, [x], threads: threads)[0].asTensor().array(Float.self) == expected, sourceLocation: sourceLocation)
        }
    }

    @Test func blocksBecomeOneNode() throws {
        try expectChain(try block(), inputs: 11, convolutions: 2)
        try expectChain(try block(stride: 2), inputs: 10, convolutions: 2)
    }

    @Test func whatLiesBehindTheDepthwiseOneMayStayApart() throws {
        let gated = try block(behind: { builder, y in
            builder.node("Mul", [y, builder.node("Sigmoid", [builder.node("GlobalAveragePool", [y])])])
        })
        try expectChain(gated, inputs: 7, convolutions: 3)
        // Another reader.
        let read = try block()
        let inner = try #require(read.nodes.last { $0.opType == "Relu" }?.outputs[0])
        read.outputs.append(inner)
        #expect(try expectSame(read).only("apus.ConvChain").inputs.count == 7)
    }

    @Test func theFirstConvolutionOfANetwork() throws {
        let builder = GraphBuilder()
        var random = Random(6)
        var y = builder.relu(try builder.convolution(builder.input("x", .float32, [1, 3, 128, 128]), 3, 32, &random, stride: 2))
        y = builder.relu(try builder.convolution(y, 32, 32, &random, group: 32))
        builder.output(try builder.convolution(y, 32, 4, &random, kernel: 1), "y")
        try expectChain(builder.graph, inputs: 10, convolutions: 0)
    }

    /// Depthwise and pixels in turn: the pixels go with what follows.
    @Test func everyDepthwiseOneHasItsOwn() throws {
        let builder = GraphBuilder()
        var random = Random(6)
        var y = builder.relu(try builder.convolution(builder.input("x", .float32, [1, 8, 64, 64]), 8, 32, &random, kernel: 1))
        for _ in 0..<2 {
            y = builder.relu(try builder.convolution(y, 32, 32, &random, group: 32))
            y = builder.relu(try builder.convolution(y, 32, 32, &random, kernel: 1))
        }
        builder.output(y, "y")
        let found = try expectSame(builder.graph)
        #expect(found.census["apus.ConvChain"] == 2 && found.census["apus.Conv"] == nil)
    }

    @Test func othersDoNot() throws {
        let graphs = [
            try block(size: 63),
            // Something is added to what the depthwise convolution reads.
            try block(between: { builder, y in builder.node("Add", [y, builder.node("Exp", [y])]) }),
            try block(between: { builder, y in builder.node("Exp", [y]) }),
        ]
        for graph in graphs { #expect(try expectSame(graph).census["apus.ConvChain"] == nil) }
        // A second reader of what is between, and an output.
        for isOutput in [false, true] {
            let graph = try block()
            let clip = try #require(graph.nodes.firstIndex { $0.opType == "Clip" }), between = try #require(graph.nodes[clip].outputs[0])
            if isOutput {
                graph.outputs.append(between)
            } else {
                let builder = GraphBuilder(adding: graph, opset: 21)
                builder.output(builder.node("ReduceMax", [between]), "most")
            }
            #expect(try expectSame(graph).census["apus.ConvChain"] == nil)
        }
        #expect(try optimized(try block(), level: 2).graph.census["apus.ConvChain"] == nil)
    }

    /// Images whose size only a run tells.
    @Test func sizesThatAreNotKnown() throws {
        let builder = GraphBuilder()
        var random = Random(6)
        var y = builder.input("x", .float32, [.symbol("n"), .known(8), .symbol("height"), .known(64)])
        y = builder.relu(try builder.convolution(y, 8, 32, &random, kernel: 1))
        y = builder.relu(try builder.convolution(y, 32, 32, &random, group: 32))
        builder.output(try builder.convolution(y, 32, 4, &random, kernel: 1), "y")
        for shape in [[1, 8, 66, 64], [2, 8, 64, 64], [1, 8, 3, 64], [0, 8, 9, 64]] {
            #expect(try expectSame(builder.graph, shapes: [shape]).census["apus.ConvChain"] == 1)
        }
    }

    /// Weights that the model computes: no pass makes such a chain, but a file may hold one.
    @Test func computedWeights() throws {
        let builder = GraphBuilder()
        let x = builder.input("x", .float32, [1, 6, 5, 4]), a = builder.input("a", .float32, [8, 4, 1, 1])
        let b = builder.input("b", .float32, [8, 1, 3, 3]), c = builder.input("c", .float32, [2, 8, 1, 1])
        var random = Random(3)
        let inputs = try [[1, 6, 5, 4], [8, 4, 1, 1], [8, 1, 3, 3], [2, 8, 1, 1]].map { Value.tensor(try random.tensor($0)) }
        let between = builder.node("Conv", [builder.node("Conv", [x, a], domain: "apus", opset: 1), b], ["group": .int(8)], domain: "apus", opset: 1)
        builder.output(builder.node("Conv", [between, c], domain: "apus", opset: 1), "expected")
        builder.output(
            builder.node("ConvChain", [x, a, nil, nil, b, nil, nil, c], ["second_group": .int(8)], domain: "apus", opset: 1), "found")
        for threads in 1...2 {
            let results = try run(builder.graph, inputs, threads: threads).map { try $0.asTensor().array(Float.self) }
            #expect(results[0] == results[1])
        }
    }
}
