import ApusCore
import ApusGraph
import ApusOperators
import Testing

@testable import ApusOptimizer

extension Graph {
    var transposes: Int { census["Transpose", default: 0] }
}

extension GraphBuilder {
    /// A convolution of 3 pixels along each axis (or `kernel`) that keeps the size, to `channels` channels.
    func convolution(
        _ x: ValueID, _ inputs: Int, _ channels: Int, _ random: inout Random, kernel: Int = 3, stride: Int = 1, group: Int = 1, axes: Int = 2
    ) throws -> ValueID {
        let w = try weights([channels, inputs / group] + [Int](repeating: kernel, count: axes), &random)
        return node(
            "Conv", [x, w, try weights([channels], &random)],
            [
                "pads": .ints([Int64](repeating: Int64(kernel / 2), count: 2 * axes)), "group": .int(Int64(group)),
                "strides": .ints([Int64](repeating: Int64(stride), count: axes)),
            ])
    }

    func relu(_ x: ValueID) -> ValueID { node("Relu", [x]) }

    func normalization(_ x: ValueID, _ channels: Int, _ random: inout Random) throws -> ValueID {
        node(
            "BatchNormalization",
            [x] + (try (0..<3).map { _ in try weights([channels], &random) }) + [try weights([channels], &random, positive: true)])
    }
}

@Suite struct ChannelsLastTests {
    /// What lies between two convolutions of [2, 6, 4, 8] and gives `channels` channels.
    struct Between: Sendable, CustomTestStringConvertible {
        let name: String
        var opset = 21
        var channels = 6
        var transposes = 2
        let make: @Sendable (GraphBuilder, ValueID, inout Random) throws -> ValueID
        var testDescription: String { name }
    }

    static let between: [Between] = [
        Between(name: "Exp") { b, x, _ in b.node("Exp", [x]) },
        Between(name: "Clip with computed limits") { b, x, _ in
            b.node("Clip", [b.node("Exp", [x]), b.node("Neg", [b.node("ReduceMax", [x], ["keepdims": .int(0)])])])
        },
        Between(name: "Mul by a constant of each channel") { b, x, r in b.node("Mul", [b.relu(b.node("Exp", [x])), try b.weights([6, 1, 1], &r)]) },
        Between(name: "Add of a constant along the last axis") { b, x, r in b.node("Add", [try b.weights([8], &r), x]) },
        Between(name: "Sub from a whole constant") { b, x, r in b.node("Sub", [try b.weights([2, 6, 4, 8], &r), x]) },
        Between(name: "Pow by a scalar") { b, x, _ in b.node("Pow", [x, try b.scalar(2)]) },
        Between(name: "Max of three") { b, x, r in b.node("Max", [x, b.node("Neg", [x]), try b.weights([6, 1, 1], &r)]) },
        Between(name: "PRelu") { b, x, r in b.node("PRelu", [x, try b.weights([6, 1, 1], &r)]) },
        Between(name: "Where") { b, x, r in b.node("Where", [b.node("Greater", [x, try b.scalar(0)]), x, try b.weights([6, 1, 1], &r)]) },
        Between(name: "gate by a pool", make: { b, x, r in
            let squeezed = b.node("GlobalAveragePool", [x])
            let gate = b.node("Sigmoid", [try b.convolution(squeezed, 6, 6, &r, kernel: 1)])
            return b.node("Mul", [gate, x])
        }),
        Between(name: "MaxPool") { b, x, _ in b.node("MaxPool", [x], ["kernel_shape": .ints([2, 3]), "strides": .ints([2, 2])]) },
        Between(name: "AveragePool", make: { b, x, _ in
            b.node("AveragePool", [x], ["kernel_shape": .ints([3, 3]), "pads": .ints([1, 1, 1, 1]), "count_include_pad": .int(1)])
        }),
        Between(name: "legacy AveragePool", opset: 9) { b, x, _ in b.node("AveragePool", [x], ["kernel_shape": .ints([3, 3])]) },
        Between(name: "GlobalMaxPool") { b, x, _ in b.node("Add", [x, b.node("GlobalMaxPool", [x])]) },
        Between(name: "BatchNormalization") { b, x, r in try b.normalization(b.node("Exp", [x]), 6, &r) },
        Between(name: "legacy BatchNormalization", opset: 8) { b, x, r in
            b.node(
                "BatchNormalization",
                [b.relu(b.relu(x))] + (try (0..<3).map { _ in try b.weights([6], &r) }) + [try b.weights([6], &r, positive: true)],
                ["momentum": .float(0.1), "spatial": .int(1)])
        },
        Between(name: "InstanceNormalization") { b, x, r in
            b.node("InstanceNormalization", [x, try b.weights([6], &r), try b.weights([6], &r)], ["epsilon": .float(1e-3)])
        },
        Between(name: "GroupNormalization") { b, x, r in
            b.node("GroupNormalization", [x, try b.weights([6], &r), try b.weights([6], &r)], ["num_groups": .int(3)])
        },
        Between(name: "GroupNormalization of opset 18", opset: 18) { b, x, r in
            b.node("GroupNormalization", [x, try b.weights([3], &r), try b.weights([3], &r)], ["num_groups": .int(3)])
        },
        Between(name: "Softmax over channels") { b, x, _ in b.node("Softmax", [x], ["axis": .int(1)]) },
        Between(name: "Softmax over columns") { b, x, _ in b.node("Softmax", [x]) },
        Between(name: "LpNormalization") { b, x, _ in b.node("LpNormalization", [x], ["axis": .int(1)]) },
        Between(name: "Concat of channels", channels: 12) { b, x, _ in b.node("Concat", [x, b.node("Exp", [x])], ["axis": .int(1)]) },
        Between(name: "Concat of rows with a constant") { b, x, r in
            b.node("Concat", [x, try b.weights([2, 6, 1, 8], &r)], ["axis": .int(-2)])
        },
        Between(name: "Split of channels", channels: 3) { b, x, _ in
            let parts = b.nodes("Split", [x, try b.integers([3, 3])], ["axis": .int(1)], outputs: 2)
            return b.node("Mul", parts.map { $0 })
        },
        Between(name: "Slice of channels", channels: 2) { b, x, _ in
            b.node("Slice", [x, try b.integers([1]), try b.integers([5]), try b.integers([1]), try b.integers([2])])
        },
        Between(name: "Slice without axes", channels: 3) { b, x, _ in b.node("Slice", [x, try b.integers([0, 2, 1]), try b.integers([2, 5, 3])]) },
        Between(name: "legacy Slice", opset: 9, channels: 3) { b, x, _ in
            b.node("Slice", [x], ["starts": .ints([1, 0]), "ends": .ints([4, 4]), "axes": .ints([1, -1])])
        },
        Between(name: "Pad") { b, x, _ in
            b.node("Pad", [x, try b.integers([0, 0, 1, 2, 0, 0, 0, 3])], ["mode": .string("reflect")])
        },
        Between(name: "Pad of channels", channels: 7) { b, x, _ in b.node("Pad", [x, try b.integers([0, 1, 0, 0, 0, 0, 0, 0]), try b.scalar(3)]) },
        Between(name: "Pad of some axes", channels: 8) { b, x, _ in
            b.node("Pad", [x, try b.integers([1, 0, 1, 2]), nil, try b.integers([1, -1])], ["mode": .string("edge")])
        },
        Between(name: "legacy Pad", opset: 10) { b, x, _ in
            b.node("Pad", [x], ["pads": .ints([0, 0, 1, 2, 0, 0, 0, 3]), "value": .float(2)])
        },
        Between(name: "Resize by scales") { b, x, _ in
            b.node("Resize", [x, nil, b.constant(try Tensor(.float32, [4], [Float](arrayLiteral: 1, 1, 2, 1.5)))], ["mode": .string("linear")])
        },
        Between(name: "Resize to sizes of some axes") { b, x, _ in
            b.node("Resize", [x, nil, nil, try b.integers([7, 5])], ["axes": .ints([2, 3]), "mode": .string("nearest")])
        },
        Between(name: "Resize to a computed size") { b, x, _ in
            let shape = b.node("Shape", [x])
            let sizes = b.node("Concat", [
                b.node("Slice", [shape, try b.integers([0]), try b.integers([2])]),
                b.node("Mul", [b.node("Slice", [shape, try b.integers([2]), try b.integers([4])]), try b.integers([2])]),
            ], ["axis": .int(0)])
            return b.node("Resize", [x, nil, nil, sizes])
        },
        Between(name: "Upsample", opset: 8) { b, x, _ in b.node("Upsample", [x], ["scales": .floats([1, 1, 2, 2])]) },
        Between(name: "ReduceMean of pixels") { b, x, _ in b.node("Sub", [x, b.node("ReduceMean", [x, try b.integers([2, -1])])]) },
        Between(name: "legacy ReduceMax of channels", opset: 11, channels: 1) { b, x, _ in b.node("ReduceMax", [x], ["axes": .ints([1])]) },
        Between(name: "ReduceSum to a vector", make: { b, x, _ in
            let sums = b.node("ReduceSum", [x, try b.integers([2, 3])], ["keepdims": .int(0)])
            return b.node("Add", [x, b.node("Reshape", [sums, try b.integers([2, 6, 1, 1])])])
        }),
        Between(name: "ArgMax over channels", channels: 1) { b, x, _ in
            b.node("Cast", [b.node("ArgMax", [x], ["axis": .int(1)])], ["to": .int(1)])
        },
        Between(name: "Reshape of pixels") { b, x, _ in
            b.node("Reshape", [b.node("Exp", [b.node("Reshape", [x, try b.integers([2, 6, -1])])]), try b.integers([2, 6, 8, 4])])
        },
        Between(name: "Unsqueeze and Squeeze") { b, x, _ in
            b.node("Squeeze", [b.relu(b.node("Unsqueeze", [x, try b.integers([-1])])), try b.integers([4])])
        },
        Between(name: "Transpose of rows and columns", transposes: 3) { b, x, _ in b.node("Transpose", [x], ["perm": .ints([0, 1, 3, 2])]) },
        Between(name: "Transposes there and back") { b, x, _ in
            let last = b.node("Exp", [b.node("Transpose", [x], ["perm": .ints([0, 2, 3, 1])])])
            return b.node("Transpose", [last], ["perm": .ints([0, 3, 1, 2])])
        },
        Between(name: "CumSum, which knows one layout only", transposes: 4) { b, x, _ in b.node("CumSum", [x, b.constant(try Tensor(.int64, [], [Int64(1)]))]) },
        Between(name: "MaxPool with indices", transposes: 4) { b, x, _ in
            let results = b.nodes("MaxPool", [x], ["kernel_shape": .ints([2, 2])], outputs: 2)
            return b.node("Add", [results[0], b.node("Cast", [results[1]], ["to": .int(1)])])
        },
        Between(name: "old Softmax, which flattens", opset: 11, transposes: 4) { b, x, _ in b.node("Softmax", [x], ["axis": .int(1)]) },
        Between(name: "operand of lower rank that is computed", transposes: 4) { b, x, _ in
            b.node("Add", [x, b.node("ReduceMax", [x, try b.integers([0])], ["keepdims": .int(0)])])
        },
    ]

    @Test(arguments: between) func betweenConvolutions(_ between: Between) throws {
        let builder = GraphBuilder(opset: between.opset)
        var random = Random(5)
        let x = builder.input("x", .float32, [2, 8, 4, 8])
        let first = try builder.convolution(x, 8, 6, &random)
        let middle = try between.make(builder, first, &random)
        builder.output(try builder.convolution(middle, between.channels, 5, &random, kernel: 1), "y")
        let found = try expectSame(builder.graph, between.name)
        #expect(found.transposes == between.transposes, "\(GraphPrinter.text(found))")
        try expectSame(builder.graph, without: ["OwnConvolutions"], between.name)
    }

    /// The same with a batch, a height and a width that only a run tells.
    @Test(arguments: between) func dynamicSizes(_ between: Between) throws {
        let fixed: Set = [
            "Sub from a whole constant", "Add of a constant along the last axis", "Concat of rows with a constant", "ReduceSum to a vector",
            "Reshape of pixels",
        ]
        if fixed.contains(between.name) { return }
        let builder = GraphBuilder(opset: between.opset)
        var random = Random(5)
        let x = builder.input("x", .float32, [.symbol("n"), .known(8), .symbol("h"), .symbol("w")])
        let first = try builder.convolution(x, 8, 6, &random)
        let middle = try between.make(builder, first, &random)
        builder.output(try builder.convolution(middle, between.channels, 5, &random, kernel: 1), "y")
        let found = try expectSame(builder.graph, shapes: [[2, 8, 4, 8]], between.name)
        #expect(found.transposes == between.transposes, "\(GraphPrinter.text(found))")
    }

    @Test(arguments: [1, 2, 3], [1, 2, 6]) func anyNumberOfAxesAndGroups(axes: Int, group: Int) throws {
        let builder = GraphBuilder()
        var random = Random(UInt64(axes))
        let x = builder.input("x", .float32, [2, 12] + [Int](repeating: 5, count: axes))
        let y = try builder.convolution(x, 12, 12, &random, group: group, axes: axes)
        let pooled = builder.node("MaxPool", [builder.relu(y)], ["kernel_shape": .ints([Int64](repeating: 2, count: axes))])
        let up = builder.node(
            "ConvTranspose", [pooled, try builder.weights([12, 6 / group] + [Int](repeating: 2, count: axes), &random)],
            ["group": .int(Int64(group)), "strides": .ints([Int64](repeating: 2, count: axes))])
        builder.output(try builder.normalization(up, 6, &random), "y")
        let found = try expectSame(builder.graph)
        #expect(found.transposes == 2)
        #expect(found.census["Conv"] == nil && found.census["BatchNormalization"] == nil)
    }

    @Test func valuesReadInBothLayoutsAreTransposedOnce() throws {
        let builder = GraphBuilder()
        var random = Random(2)
        let x = builder.input("x", .float32, [1, 8, 6, 6])
        let y = builder.relu(try builder.convolution(x, 8, 4, &random))
        builder.output(builder.node("CumSum", [y, builder.constant(try Tensor(.int64, [], [Int64(2)]))]), "a")
        builder.output(builder.node("CumSum", [y, builder.constant(try Tensor(.int64, [], [Int64(3)]))]), "b")
        builder.output(try builder.convolution(y, 4, 2, &random), "c")
        builder.output(y, "d")
        #expect(try expectSame(builder.graph).transposes == 3)
    }

    @Test func onePixelAndOneChannelCostNothing() throws {
        let builder = GraphBuilder()
        var random = Random(2)
        let x = builder.input("x", .float32, [2, 1, 6, 6])
        let y = builder.relu(try builder.convolution(x, 1, 4, &random))
        builder.output(builder.node("Flatten", [builder.node("GlobalAveragePool", [y])]), "y")
        builder.output(try builder.convolution(y, 4, 1, &random), "z")
        #expect(try expectSame(builder.graph).transposes == 0)
    }

    @Test func graphsWithoutConvolutionsStay() throws {
        let builder = GraphBuilder()
        let x = builder.input("x", .float32, [1, 3, 6, 6])
        builder.output(builder.node("MaxPool", [x], ["kernel_shape": .ints([2, 2])]), "y")
        #expect(try expectSame(builder.graph).census == ["MaxPool": 1])
    }

    @Test func transposedOutputsAreThatOfTheConvolution() throws {
        let builder = GraphBuilder()
        var random = Random(2)
        let x = builder.input("x", .float32, [1, 6, 6, 3])
        let first = builder.node("Transpose", [x], ["perm": .ints([0, 3, 1, 2])])
        let y = try builder.convolution(first, 3, 4, &random)
        builder.output(builder.node("Transpose", [y], ["perm": .ints([0, 2, 3, 1])]), "y")
        #expect(try expectSame(builder.graph).census == ["apus.Conv": 1])
    }

    @Test func transposesOfThreeAxes() throws {
        let builder = GraphBuilder()
        var random = Random(2)
        let x = builder.input("x", .float32, [1, 6, 3])
        let first = builder.node("Transpose", [x], ["perm": .ints([0, 2, 1])])
        let y = try builder.convolution(first, 3, 4, &random, axes: 1)
        builder.output(builder.node("MatMul", [builder.node("Transpose", [y], ["perm": .ints([0, 2, 1])]), try builder.weights([4, 5], &random)]), "y")
        #expect(try expectSame(builder.graph).transposes == 0)
    }

    @Test func pixelsAsWords() throws {
        let builder = GraphBuilder()
        var random = Random(2)
        let x = builder.input("x", .float32, [1, 8, 4, 4])
        let y = try builder.convolution(x, 8, 6, &random)
        let words = builder.node("Transpose", [builder.node("Reshape", [y, try builder.integers([1, 6, 16])])], ["perm": .ints([0, 2, 1])])
        let product = builder.node("Add", [builder.node("MatMul", [words, try builder.weights([6, 6], &random)]), try builder.weights([6], &random)])
        let back = builder.node("Reshape", [builder.node("Transpose", [product], ["perm": .ints([0, 2, 1])]), try builder.integers([1, 6, 4, 4])])
        builder.output(try builder.convolution(builder.node("Add", [back, y]), 6, 2, &random), "y")
        #expect(try expectSame(builder.graph).transposes == 2)
    }

    @Test func patchesOfATransformer() throws {
        let builder = GraphBuilder()
        var random = Random(2)
        let x = builder.input("x", .float32, [1, 8, 8, 8])
        let y = builder.node("Conv", [x, try builder.weights([6, 8, 4, 4], &random)], ["strides": .ints([4, 4])])
        let flat = builder.node("Reshape", [y, try builder.integers([1, 6, 4])])
        builder.output(builder.node("Softmax", [builder.node("Transpose", [flat], ["perm": .ints([0, 2, 1])])]), "y")
        #expect(try expectSame(builder.graph).transposes == 1)
    }

    @Test func subgraphsHaveTheirOwn() throws {
        let builder = GraphBuilder()
        var random = Random(2)
        let x = builder.input("x", .float32, [1, 3, 6, 6])
        let y = try builder.convolution(x, 3, 4, &random)
        func branch(_ name: String, _ operation: String) throws -> Graph {
            let body = GraphBuilder(ByteString(name))
            let inner = body.graph.addValue("inner")
            body.graph.captures = [(y, inner)]
            let z = try body.convolution(body.node(operation, [inner]), 4, 4, &random)
            body.output(body.relu(try body.convolution(z, 4, 2, &random)), ByteString(name + "_y"))
            return body.graph
        }
        let sum = builder.node("ReduceSum", [x], ["keepdims": .int(0)])
        let condition = builder.node("Greater", [sum, try builder.scalar(0)])
        builder.output(
            builder.node("If", [condition], ["then_branch": .graph(try branch("a", "Exp")), "else_branch": .graph(try branch("b", "Neg"))]), "y")
        for seed in 1...4 { try expectSame(builder.graph, seed: UInt64(seed)) }
        let found = try optimized(builder.graph).graph
        #expect(found.transposes == 1)
        let bodies = found.nodes.flatMap(\.subgraphs)
        #expect(bodies.map(\.transposes) == [1, 1])
    }

    @Test func printedForm() throws {
        let builder = GraphBuilder()
        let x = builder.input("x", .float32, [1, 2, 4, 4])
        let w = builder.constant(try Tensor(.float32, [2, 2, 1, 1], [Float](repeating: 1, count: 4)), name: "w")
        builder.output(builder.node("Relu", [builder.node("Conv", [x, w])]), "y")
        #expect(GraphPrinter.text(try optimized(builder.graph).graph) == """
            graph "main" {
              input "x": tensor(float)[1,2,4,4]
              initializer "w": tensor(float)[2,2,1,1]
              %4 = Transpose("x") {perm=[0, 2, 3, 1]} // ChannelsLast
              %5 = apus.Conv(%4, "w") {activation="relu"} // ConvolutionActivation
              "y" = Transpose(%5) {perm=[0, 3, 1, 2]} // ChannelsLast
              output "y"
            }

            """)
    }
}
