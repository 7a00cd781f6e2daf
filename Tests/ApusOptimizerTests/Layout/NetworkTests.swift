import ApusCore
import ApusGraph
import ApusOperators
import Testing

@testable import ApusOptimizer

/// Small networks of the kinds that people use, and how many Transposes the optimiser leaves in each.
@Suite struct NetworkTests {
    /// Convolutions and pools, then dense layers over all pixels: AlexNet, VGG, LeNet.
    @Test func plain() throws {
        let b = GraphBuilder()
        var r = Random(1)
        var x = b.input("x", .float32, [1, 3, 16, 16])
        x = b.node("MaxPool", [b.relu(try b.convolution(x, 3, 8, &r, stride: 2))], ["kernel_shape": .ints([2, 2]), "strides": .ints([2, 2])])
        x = b.node("AveragePool", [b.relu(try b.convolution(x, 8, 6, &r))], ["kernel_shape": .ints([2, 2])])
        x = b.node("Flatten", [x])
        b.output(b.node("Gemm", [x, try b.weights([54, 10], &r)]), "y")
        let found = try expectSame(b.graph)
        #expect(found.transposes == 1)
        #expect(found.census["apus.Conv"] == 2 && found.census["apus.MaxPool"] == 1 && found.census["Relu"] == nil)
    }

    /// Blocks with residuals, one of them with a convolution in the side branch: ResNet.
    @Test func residual() throws {
        let b = GraphBuilder()
        var r = Random(2)
        var x = b.input("x", .float32, [1, 3, 16, 16])
        x = b.relu(try b.normalization(try b.convolution(x, 3, 8, &r, kernel: 7, stride: 2), 8, &r))
        x = b.node("MaxPool", [x], ["kernel_shape": .ints([3, 3]), "strides": .ints([2, 2]), "pads": .ints([1, 1, 1, 1])])
        let straight = try b.normalization(try b.convolution(b.relu(try b.convolution(x, 8, 8, &r)), 8, 8, &r), 8, &r)
        x = b.relu(b.node("Add", [straight, x]))
        let side = try b.normalization(try b.convolution(x, 8, 12, &r, kernel: 1, stride: 2), 12, &r)
        x = b.relu(b.node("Add", [try b.convolution(b.relu(try b.convolution(x, 8, 12, &r, stride: 2)), 12, 12, &r), side]))
        x = b.node("Flatten", [b.node("GlobalAveragePool", [x])])
        b.output(b.node("Gemm", [x, try b.weights([12, 10], &r)]), "y")
        let found = try expectSame(b.graph)
        #expect(found.transposes == 0)
        #expect(found.census == [
            "apus.Conv": 6, "apus.MaxPool": 1, "apus.GlobalAveragePool": 1, "Reshape": 1, "Flatten": 1, "apus.MatMul": 1,
        ])
    }

    /// Branches that are concatenated: GoogLeNet, Inception.
    @Test func branches() throws {
        let b = GraphBuilder()
        var r = Random(3)
        var x = b.input("x", .float32, [1, 3, 12, 12])
        x = b.relu(try b.convolution(x, 3, 8, &r))
        for _ in 0..<2 {
            let a = b.relu(try b.convolution(x, 8, 4, &r, kernel: 1))
            let c = b.relu(try b.convolution(b.relu(try b.convolution(x, 8, 4, &r, kernel: 1)), 4, 2, &r))
            let pooled = b.node("AveragePool", [x], ["kernel_shape": .ints([3, 3]), "pads": .ints([1, 1, 1, 1])])
            x = b.node("Concat", [a, c, b.relu(try b.convolution(pooled, 8, 2, &r, kernel: 1))], ["axis": .int(1)])
        }
        b.output(b.node("Flatten", [b.node("GlobalAveragePool", [x])]), "y")
        #expect(try expectSame(b.graph).transposes == 0)
    }

    /// Inverted bottlenecks, with and without gates: MobileNet, EfficientNet.
    @Test(arguments: [false, true]) func bottlenecks(isGated: Bool) throws {
        let b = GraphBuilder()
        var r = Random(4)
        func activated(_ x: ValueID) throws -> ValueID {
            isGated ? b.node("Mul", [x, b.node("Sigmoid", [x])]) : b.node("Clip", [x, try b.scalar(0), try b.scalar(6)])
        }
        var x = b.input("x", .float32, [1, 3, 16, 16])
        x = try activated(try b.convolution(x, 3, 8, &r, stride: 2))
        for _ in 0..<2 {
            var inner = try activated(try b.convolution(x, 8, 16, &r, kernel: 1))
            inner = try activated(try b.convolution(inner, 16, 16, &r, group: 16))
            if isGated {
                let squeezed = try activated(try b.convolution(b.node("GlobalAveragePool", [inner]), 16, 4, &r, kernel: 1))
                inner = b.node("Mul", [b.node("Sigmoid", [try b.convolution(squeezed, 4, 16, &r, kernel: 1)]), inner])
            }
            x = b.node("Add", [try b.convolution(inner, 16, 8, &r, kernel: 1), x])
        }
        x = b.node("Flatten", [b.node("GlobalAveragePool", [x])])
        b.output(b.node("Gemm", [x, try b.weights([8, 10], &r)]), "y")
        let found = try expectSame(b.graph)
        #expect(found.transposes == 0)
        #expect(found.census["Sigmoid"] == nil && found.census["Add"] == nil && found.census["Clip"] == nil)
        #expect(found.census["Mul", default: 0] == (isGated ? 2 : 0))
    }

    /// To a vector and back to a picture: variational auto-encoders, and generators of adversarial networks.
    @Test func generator() throws {
        let b = GraphBuilder()
        var r = Random(5)
        let x = b.input("x", .float32, [1, 3, 8, 8])
        let code = b.node("Flatten", [b.node("LeakyRelu", [try b.convolution(x, 3, 4, &r, stride: 2)])])
        var y = b.node("Reshape", [b.node("Gemm", [code, try b.weights([64, 32], &r)]), try b.integers([1, 8, 2, 2])])
        for channels in [8, 4] {
            y = b.node(
                "ConvTranspose", [y, try b.weights([channels, channels / 2, 4, 4], &r)], ["strides": .ints([2, 2]), "pads": .ints([1, 1, 1, 1])])
            y = b.relu(try b.normalization(y, channels / 2, &r))
        }
        b.output(b.node("Sigmoid", [y]), "y")
        let found = try expectSame(b.graph)
        #expect(found.transposes == 3)
        #expect(found.census["apus.ConvTranspose"] == 2 && found.census["BatchNormalization"] == nil && found.census["Relu"] == nil)
    }

    /// Normalised groups, a vector added to each channel, skip connections through a Resize: U-Nets of diffusion models.
    @Test func unet() throws {
        let b = GraphBuilder()
        var r = Random(6)
        let time = b.input("t", .float32, [1, 8])
        func normalized(_ x: ValueID, _ channels: Int, _ size: Int) throws -> ValueID {
            let groups = b.node("Reshape", [x, try b.integers([0, 2, -1])])
            let unit = b.node(
                "InstanceNormalization",
                [groups, b.constant(try Tensor(.float32, [2], [Float](repeating: 1, count: 2))), b.constant(try Tensor(.float32, [2], [Float](repeating: 0, count: 2)))])
            let back = b.node("Reshape", [unit, b.node("Shape", [x])])
            let y = b.node("Add", [b.node("Mul", [back, try b.weights([channels, 1, 1], &r)]), try b.weights([channels, 1, 1], &r)])
            return b.node("Mul", [y, b.node("Sigmoid", [y])])
        }
        func block(_ x: ValueID, _ channels: Int, _ size: Int) throws -> ValueID {
            let y = try b.convolution(try normalized(x, channels, size), channels, channels, &r)
            let vector = b.node("Gemm", [time, try b.weights([8, channels], &r)])
            let added = b.node("Add", [y, b.node("Unsqueeze", [b.node("Unsqueeze", [vector, try b.integers([2])]), try b.integers([3])])])
            return b.node("Add", [x, try b.convolution(try normalized(added, channels, size), channels, channels, &r)])
        }
        let x = b.input("x", .float32, [1, 3, 8, 8])
        let first = try block(try b.convolution(x, 3, 4, &r), 4, 8)
        let inner = try block(try b.convolution(first, 4, 4, &r, stride: 2), 4, 4)
        let scales = b.constant(try Tensor(.float32, [4], [Float](arrayLiteral: 1, 1, 2, 2)))
        let up = b.node("Resize", [inner, nil, scales], ["mode": .string("nearest")])
        let joined = try block(b.node("Concat", [up, first], ["axis": .int(1)]), 8, 8)
        b.output(try b.convolution(joined, 8, 3, &r), "y")
        let found = try expectSame(b.graph)
        #expect(found.transposes == 1, "\(GraphPrinter.text(found))")
        #expect(found.census["apus.GroupNormalization"] == 6)
    }

    /// Heads that read the features with channels last, at sizes that only a run tells: detectors.
    @Test func detector() throws {
        let b = GraphBuilder()
        var r = Random(7)
        let x = b.input("x", .float32, [.known(1), .known(3), .symbol("h"), .symbol("w")])
        let low = b.relu(try b.convolution(x, 3, 6, &r, stride: 2))
        let high = b.relu(try b.convolution(low, 6, 6, &r, stride: 2))
        let shape = b.node("Shape", [low])
        let sizes = b.node("Concat", [
            b.node("Slice", [b.node("Shape", [high]), try b.integers([0]), try b.integers([2])]), b.node("Slice", [shape, try b.integers([2]), try b.integers([4])]),
        ], ["axis": .int(0)])
        let merged = b.node("Add", [b.node("Resize", [high, nil, nil, sizes]), low])
        let heads = try [merged, high].map { feature in
            let y = b.node("Transpose", [try b.convolution(feature, 6, 2, &r)], ["perm": .ints([0, 2, 3, 1])])
            return b.node("Reshape", [y, try b.integers([1, -1, 2])])
        }
        b.output(b.node("Concat", heads.map { $0 }, ["axis": .int(1)]), "y")
        for size in [8, 12] { try expectSame(b.graph, shapes: [[1, 3, size, 16]]) }
        #expect(try optimized(b.graph).graph.transposes == 0)
    }

    /// Random networks give the same with every set of passes.
    @Test(arguments: 1...60) func randomNetworks(seed: Int) throws {
        var r = Random(UInt64(seed))
        let b = GraphBuilder(opset: [13, 17, 21][seed % 3])
        let isDynamic = seed % 4 == 0
        let channels = 1 + r.int(6), height = 5 + r.int(6), width = 5 + r.int(6)
        let x = isDynamic
            ? b.input("x", .float32, [.symbol("n"), .known(channels), .symbol("h"), .symbol("w")])
            : b.input("x", .float32, [2, channels, height, width])
        // Values of one size, with their numbers of channels.
        var values = [(x, channels)]
        for _ in 0..<(4 + r.int(10)) {
            let (value, count) = values[max(0, values.count - 1 - r.int(3))]
            let other = values.filter { $0.1 == count }.map(\.0)
            switch r.int(12) {
            case 0, 1, 2:
                let wanted = 1 + r.int(8)
                values.append((try b.convolution(value, count, wanted, &r, kernel: [1, 3][r.int(2)]), wanted))
            case 3: values.append((try b.convolution(value, count, count, &r, group: count), count))
            case 4: values.append((b.node(["Relu", "Sigmoid", "Tanh", "Neg", "HardSwish"][r.int(opsetHasSwish(b) ? 5 : 4)], [value]), count))
            case 5: values.append((try b.normalization(value, count, &r), count))
            case 6: values.append((b.node(["Add", "Mul", "Max"][r.int(3)], [value, other[r.int(other.count)]]), count))
            case 7: values.append((b.node(["Add", "Mul", "Sub"][r.int(3)], [value, try b.weights(r.bool() ? [count, 1, 1] : [1, count, 1, 1], &r)]), count))
            case 8:
                let (second, more) = values[r.int(values.count)]
                values.append((b.node("Concat", [value, second], ["axis": .int(1)]), count + more))
            case 9: values.append((b.node("MaxPool", [value], ["kernel_shape": .ints([3, 3]), "pads": .ints([1, 1, 1, 1])]), count))
            case 10: values.append((b.node("Mul", [value, b.node("Sigmoid", [b.node("GlobalAveragePool", [value])])]), count))
            default: values.append((b.node("Softmax", [value], ["axis": .int(Int64(r.int(4)))]), count))
            }
        }
        b.output(values[values.count - 1].0, "y")
        if r.bool() { b.output(values[r.int(values.count - 1) + 1].0, "z") }
        let shapes = isDynamic ? [[2, channels, height, width]] : nil
        try expectSame(b.graph, shapes: shapes, "seed \(seed)")
        try expectSame(b.graph, level: 2, shapes: shapes, "seed \(seed)")
        try expectSame(b.graph, without: ["ConvolutionScale", "ConvolutionResidual"], shapes: shapes, "seed \(seed)")
    }

    private func opsetHasSwish(_ builder: GraphBuilder) -> Bool { builder.opset >= 14 }
}
