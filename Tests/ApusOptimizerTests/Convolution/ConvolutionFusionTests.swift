import ApusCore
import ApusGraph
import ApusOperators
import Testing

@testable import ApusOptimizer

/// The passes under test leave the layout as it is.
private let level: Int32 = 2

@Suite struct ConvolutionFusionTests {
    private var random = Random(3)

    /// A graph of a convolution of an input [1, 4, 6, 6] to 8 channels, continued by `rest`, which gives the output.
    private mutating func graph(
        bias: Bool = true, pads: [Int64] = [1, 1, 1, 1], outputs: [ValueID] = [],
        _ rest: (GraphBuilder, ValueID, inout Random) throws -> ValueID
    ) throws -> Graph {
        let builder = GraphBuilder()
        let x = builder.input("x", .float32, [1, 4, 6, 6])
        let w = try builder.weights([8, 4, 3, 3], &random)
        let b = bias ? try builder.weights([8], &random) : nil
        let y = builder.node("Conv", [x, w, b], ["pads": .ints(pads)])
        builder.output(try rest(builder, y, &random), "y")
        return builder.graph
    }

    private static func normalization(
        _ builder: GraphBuilder, _ x: ValueID, _ channels: Int, _ random: inout Random, _ attributes: [String: AttributeValue] = [:]
    ) throws -> ValueID {
        builder.node(
            "BatchNormalization",
            [
                x, try builder.weights([channels], &random), try builder.weights([channels], &random),
                try builder.weights([channels], &random), try builder.weights([channels], &random, positive: true),
            ], attributes)
    }

    @Test(arguments: [true, false])
    mutating func normalizationBecomesScaleAndBias(bias: Bool) throws {
        let graph = try graph(bias: bias) { try Self.normalization($0, $1, 8, &$2, ["epsilon": .float(1e-3)]) }
        let fused = try expectSame(graph, level: level)
        #expect(fused.census == ["apus.Conv": 1])
        let node = try fused.only("apus.Conv")
        #expect(node.inputs.count == 5 && node.inputs[2] != nil && node.inputs[3] == nil && node.inputs[4] != nil)
    }

    @Test mutating func chainOfLinearNodes() throws {
        let graph = try graph { builder, y, random in
            let scaled = builder.node("Mul", [try builder.weights([8, 1, 1], &random), y])
            let shifted = builder.node("Sub", [scaled, try builder.weights([1, 8, 1, 1], &random)])
            let normalized = try Self.normalization(builder, shifted, 8, &random)
            let negated = builder.node("Sub", [try builder.scalar(2), normalized])
            return builder.node("Div", [negated, try builder.scalar(4)])
        }
        #expect(try expectSame(graph, level: level).census == ["apus.Conv": 1])
    }

    @Test mutating func onlyNormalizationsOfInferenceAreLinear() throws {
        let training = try graph { builder, y, random in
            let vectors = try (0..<4).map { _ in try builder.weights([8], &random, positive: true) }
            return builder.nodes("BatchNormalization", [y] + vectors, ["training_mode": .int(1)], outputs: 3)[0]
        }
        #expect(try expectSame(training, level: level).census == ["apus.Conv": 1, "BatchNormalization": 1])
    }

    @Test mutating func constantsThatVaryWithinAChannelStay() throws {
        for shape in [[6], [6, 6], [8, 6, 6], [2, 1, 1, 1], [1, 1, 1, 1, 1]] {
            let graph = try graph { builder, y, random in builder.node("Mul", [y, try builder.weights(shape, &random)]) }
            #expect(try expectSame(graph, level: level).census == ["apus.Conv": 1, "Mul": 1], "\(shape)")
        }
    }

    @Test mutating func computedFactorsStay() throws {
        let graph = try graph { builder, y, _ in
            builder.node("Mul", [y, builder.input("factor", .float32, [8, 1, 1])])
        }
        #expect(try expectSame(graph, level: level).census == ["apus.Conv": 1, "Mul": 1])
    }

    @Test mutating func divisionOfAConstantStays() throws {
        let graph = try graph { builder, y, _ in builder.node("Div", [try builder.scalar(1), y]) }
        #expect(try optimized(graph, level: level).graph.census == ["apus.Conv": 1, "Div": 1])
    }

    @Test func computedWeightsTakeABiasButNoScale() throws {
        for (operation, left) in [("Mul", ["apus.Conv": 1, "Mul": 1]), ("Add", ["apus.Conv": 1])] {
            let builder = GraphBuilder()
            var random = Random(1)
            let x = builder.input("x", .float32, [1, 4, 6, 6]), w = builder.input("w", .float32, [8, 4, 3, 3])
            builder.output(builder.node(operation, [builder.node("Conv", [x, w]), try builder.weights([8, 1, 1], &random)]), "y")
            #expect(try expectSame(builder.graph, level: level).census == left)
        }
    }

    /// Attributes and further inputs of an activation, and its name in the epilogue.
    private static let activations: [(String, [String: AttributeValue], [Float?], String)] = [
        ("Relu", [:], [], "relu"), ("Clip", [:], [-0.25, 0.5], "clip"), ("Clip", [:], [0, nil], "clip"), ("Clip", [:], [], "clip"),
        ("LeakyRelu", ["alpha": .float(0.2)], [], "leaky_relu"), ("HardSigmoid", ["alpha": .float(0.3)], [], "hard_sigmoid"),
        ("HardSwish", [:], [], "hard_swish"), ("Sigmoid", [:], [], "sigmoid"), ("Tanh", [:], [], "tanh"), ("Gelu", [:], [], "gelu"),
        ("Gelu", ["approximate": .string("tanh")], [], "gelu_tanh"), ("Elu", ["alpha": .float(0.5)], [], "elu"),
        ("Celu", ["alpha": .float(0.5)], [], "celu"), ("Selu", [:], [], "selu"), ("Softplus", [:], [], "softplus"),
        ("Softsign", [:], [], "softsign"), ("Mish", [:], [], "mish"), ("PRelu", [:], [0.3], "leaky_relu"),
    ]

    @Test mutating func everyActivationIsTakenUp() throws {
        for (type, attributes, inputs, name) in Self.activations {
            let graph = try graph { builder, y, _ in
                builder.node(type, [y] + (try inputs.map { try $0.map { try builder.scalar($0) } }), attributes)
            }
            let fused = try expectSame(graph, level: level, type)
            #expect(fused.census == ["apus.Conv": 1], "\(type)")
            #expect(try fused.only("apus.Conv").string("activation") == name)
        }
    }

    @Test func legacyClipHasItsLimitsInAttributes() throws {
        let builder = GraphBuilder(opset: 10)
        var random = Random(4)
        let x = builder.input("x", .float32, [1, 4, 6, 6])
        let y = builder.node("Conv", [x, try builder.weights([8, 4, 3, 3], &random)])
        builder.output(builder.node("Clip", [y], ["max": .float(1)]), "y")
        let fused = try expectSame(builder.graph, level: level)
        guard case .floats(let limits)? = try fused.only("apus.Conv").attribute("activation_params") else {
            Issue.record("no parameters")
            return
        }
        #expect(limits == [-.greatestFiniteMagnitude, 1])
    }

    @Test mutating func activationsWithOtherParametersStay() throws {
        let limits = try graph { builder, y, _ in
            builder.node("Clip", [y, builder.input("least", .float32, [Int]()), nil])
        }
        #expect(try expectSame(limits, level: level, shapes: [[1, 4, 6, 6], []]).census == ["apus.Conv": 1, "Clip": 1])
        let slopes = try graph { builder, y, random in builder.node("PRelu", [y, try builder.weights([8, 1, 1], &random)]) }
        #expect(try expectSame(slopes, level: level).census == ["apus.Conv": 1, "PRelu": 1])
    }

    @Test mutating func oneActivationIsTakenUp() throws {
        let graph = try graph { builder, y, _ in builder.node("Sigmoid", [builder.node("Relu", [y])]) }
        let fused = try expectSame(graph, level: level)
        #expect(fused.census == ["apus.Conv": 1, "Sigmoid": 1])
    }

    @Test mutating func gatedActivations() throws {
        typealias Form = (GraphBuilder, ValueID) throws -> ValueID
        let forms: [(String, Form)] = [
            ("silu", { $0.node("Mul", [$1, $0.node("Sigmoid", [$1])]) }),
            ("silu", { $0.node("Mul", [$0.node("Sigmoid", [$0.node("Mul", [$1, try $0.scalar(1.7)])]), $1]) }),
            ("mish", { $0.node("Mul", [$1, $0.node("Tanh", [$0.node("Softplus", [$1])])]) }),
            ("hard_swish", { $0.node("Mul", [$1, $0.node("HardSigmoid", [$1], ["alpha": .float(1 / 6)])]) }),
            ("hard_swish", { builder, y in
                let clipped = builder.node("Clip", [builder.node("Add", [y, try builder.scalar(3)]), try builder.scalar(0), try builder.scalar(6)])
                return builder.node("Div", [builder.node("Mul", [y, clipped]), try builder.scalar(6)])
            }),
            ("hard_swish", { builder, y in
                let clipped = builder.node("Clip", [builder.node("Add", [y, try builder.scalar(3)]), try builder.scalar(0), try builder.scalar(6)])
                return builder.node("Mul", [y, builder.node("Div", [clipped, try builder.scalar(6)])])
            }),
        ]
        for (name, form) in forms {
            let fused = try expectSame(try graph { builder, y, _ in try form(builder, y) }, level: level, name)
            #expect(fused.census == ["apus.Conv": 1])
            #expect(try fused.only("apus.Conv").string("activation") == name)
        }
    }

    @Test mutating func gatesOfOtherValuesOrParametersStay() throws {
        let other = try graph { builder, y, _ in
            builder.node("Mul", [y, builder.node("Sigmoid", [builder.input("gate", .float32, [1, 8, 6, 6])])])
        }
        #expect(try expectSame(other, level: level).census == ["apus.Conv": 1, "Sigmoid": 1, "Mul": 1])
        let steeper = try graph { builder, y, _ in
            builder.node("Mul", [y, builder.node("HardSigmoid", [y], ["alpha": .float(0.2)])])
        }
        #expect(try expectSame(steeper, level: level).census == ["apus.Conv": 1, "HardSigmoid": 1, "Mul": 1])
        let readTwice = try graph { builder, y, _ in
            let gate = builder.node("Sigmoid", [y])
            builder.output(gate, "gate")
            return builder.node("Mul", [y, gate])
        }
        #expect(try expectSame(readTwice, level: level).census == ["apus.Conv": 1, "Sigmoid": 1, "Mul": 1])
    }

    @Test mutating func residualAndActivationAfterIt() throws {
        for (operation, isSecond) in [("Add", false), ("Add", true), ("Sum", false)] {
            let graph = try graph { builder, y, _ in
                let r = builder.input("r", .float32, [1, 8, 6, 6])
                return builder.node("Relu", [builder.node(operation, isSecond ? [r, y] : [y, r])])
            }
            let fused = try expectSame(graph, level: level)
            #expect(fused.census == ["apus.Conv": 1])
            #expect(try fused.only("apus.Conv").inputs[3] == fused.inputs[1])
        }
    }

    @Test mutating func residualOfTheConvolutionsOwnInput() throws {
        let builder = GraphBuilder()
        let x = builder.node("Relu", [builder.input("x", .float32, [1, 8, 6, 6])])
        let y = builder.node("Conv", [x, try builder.weights([8, 8, 3, 3], &random)], ["pads": .ints([1, 1, 1, 1])])
        builder.output(builder.node("Add", [x, y]), "y")
        #expect(try expectSame(builder.graph, level: level).census == ["Relu": 1, "apus.Conv": 1])
    }

    @Test mutating func residualsThatAreBroadcastOrComeLateStay() throws {
        let broadcast = try graph { builder, y, _ in builder.node("Add", [y, builder.input("r", .float32, [1, 8, 1, 1])]) }
        #expect(try expectSame(broadcast, level: level).census == ["apus.Conv": 1, "Add": 1])
        let larger = try graph { builder, y, _ in builder.node("Add", [y, builder.input("r", .float32, [3, 8, 6, 6])]) }
        #expect(try expectSame(larger, level: level).census == ["apus.Conv": 1, "Add": 1])
        let late = try graph { builder, y, _ in
            builder.node("Add", [builder.node("Relu", [y]), builder.input("r", .float32, [1, 8, 6, 6])])
        }
        #expect(try expectSame(late, level: level).census == ["apus.Conv": 1, "Add": 1])
        let three = try graph { builder, y, _ in
            builder.node("Sum", [y, builder.input("r", .float32, [1, 8, 6, 6]), builder.input("s", .float32, [1, 8, 6, 6])])
        }
        #expect(try expectSame(three, level: level).census == ["apus.Conv": 1, "Sum": 1])
    }

    @Test mutating func valuesThatOthersReadStay() throws {
        let output = try graph { builder, y, _ in
            builder.output(y, "before")
            return builder.node("Relu", [y])
        }
        #expect(try expectSame(output, level: level).census == ["apus.Conv": 1, "Relu": 1])
        let reader = try graph { builder, y, random in
            let normalized = try Self.normalization(builder, y, 8, &random)
            return builder.node("Mul", [normalized, builder.node("Exp", [y])])
        }
        #expect(try expectSame(reader, level: level).census == ["apus.Conv": 1, "BatchNormalization": 1, "Exp": 1, "Mul": 1])
    }

    @Test mutating func paddingIsAdded() throws {
        let builder = GraphBuilder()
        let x = builder.input("x", .float32, [1, 4, 6, 6])
        let padded = builder.node("Pad", [x, try builder.integers([0, 0, 1, 2, 0, 0, 3, 0])])
        let w = try builder.weights([8, 4, 3, 3], &random)
        builder.output(builder.node("Conv", [padded, w], ["pads": .ints([1, 0, 0, 1]), "strides": .ints([2, 1])]), "y")
        let fused = try expectSame(builder.graph, level: level)
        #expect(fused.census == ["apus.Conv": 1])
        #expect(try fused.only("apus.Conv").ints("pads") == [2, 2, 3, 1])
    }

    @Test mutating func paddingsOfAnotherKindStay() throws {
        let cases: [([Int], Float?, String)] = [
            ([0, 0, 1, 1, 0, 0, 1, 1], 0.5, "constant"), ([0, 0, 1, 1, 0, 0, 1, 1], nil, "reflect"), ([0, 1, 1, 1, 0, 1, 1, 1], nil, "constant"),
            ([0, 0, -1, 1, 0, 0, 1, 1], nil, "constant"),
        ]
        for (pads, value, mode) in cases {
            let builder = GraphBuilder()
            let x = builder.input("x", .float32, [1, 4, 6, 6])
            let fill = try value.map { try builder.scalar($0) }
            let padded = builder.node("Pad", [x, try builder.integers(pads), fill], ["mode": .string(ByteString(mode))])
            let channels = 4 + pads[1] + pads[5]
            builder.output(builder.node("Conv", [padded, try builder.weights([8, channels, 3, 3], &random)]), "y")
            #expect(try expectSame(builder.graph, level: level).census == ["Pad": 1, "apus.Conv": 1], "\(pads) \(mode)")
        }
        let builder = GraphBuilder()
        let padded = builder.node("Pad", [builder.input("x", .float32, [1, 4, 6, 6]), try builder.integers([0, 0, 1, 1, 0, 0, 1, 1])])
        builder.output(
            builder.node("Conv", [padded, try builder.weights([8, 4, 3, 3], &random)], ["auto_pad": .string("SAME_UPPER"), "strides": .ints([2, 2])]),
            "y")
        #expect(try expectSame(builder.graph, level: level).census == ["Pad": 1, "apus.Conv": 1])
    }

    @Test mutating func scaleBeforeAConvolution() throws {
        for (pads, group, operation, left) in [
            (Int64(0), 1, "BatchNormalization", 0), (0, 2, "BatchNormalization", 0), (1, 1, "BatchNormalization", 1), (1, 4, "Mul", 0),
            (0, 1, "Sub", 0), (1, 1, "Sub", 1),
        ] {
            let builder = GraphBuilder()
            let x = builder.input("x", .float32, [2, 4, 6, 6])
            let before = operation == "BatchNormalization" ? try Self.normalization(builder, x, 4, &random)
                : builder.node(operation, [x, try builder.weights([4, 1, 1], &random)])
            let w = try builder.weights([8, 4 / group, 3, 3], &random)
            builder.output(
                builder.node(
                    "Conv", [before, w, try builder.weights([8], &random)], ["pads": .ints([pads, pads, pads, pads]), "group": .int(Int64(group))]),
                "y")
            let fused = try expectSame(builder.graph, level: level, "\(operation) \(pads) \(group)")
            #expect(fused.census[operation, default: 0] == left, "\(operation) \(pads) \(group)")
        }
    }

    @Test mutating func scaleThatWidensTheInputStays() throws {
        let builder = GraphBuilder()
        let x = builder.input("x", .float32, [2, 1, 6, 6])
        let wide = builder.node("Mul", [x, try builder.weights([4, 1, 1], &random)])
        builder.output(builder.node("Conv", [wide, try builder.weights([8, 4, 3, 3], &random)]), "y")
        #expect(try expectSame(builder.graph, level: level).census == ["Mul": 1, "apus.Conv": 1])
    }

    @Test mutating func transposedConvolutions() throws {
        for group in [1, 2] {
            let builder = GraphBuilder()
            let x = builder.input("x", .float32, [2, 4, 5, 5]), r = builder.input("r", .float32, [2, 6, 11, 11])
            let y = builder.node(
                "ConvTranspose", [x, try builder.weights([4, 6 / group, 3, 3], &random)],
                ["strides": .ints([2, 2]), "group": .int(Int64(group))])
            let normalized = try Self.normalization(builder, y, 6, &random)
            builder.output(builder.node("LeakyRelu", [builder.node("Add", [normalized, r])]), "y")
            #expect(try expectSame(builder.graph, level: level).census == ["apus.ConvTranspose": 1])
        }
    }

    @Test mutating func strideOfManyPhasesStays() throws {
        let builder = GraphBuilder()
        let x = builder.input("x", .float32, [1, 1, 2, 2])
        builder.output(builder.node("ConvTranspose", [x, try builder.weights([1, 1, 1, 1], &random)], ["strides": .ints([40, 40])]), "y")
        #expect(try expectSame(builder.graph, level: level).census == ["ConvTranspose": 1])
    }

    @Test func doublesStay() throws {
        let builder = GraphBuilder()
        let x = builder.input("x", .float64, [1, 1, 2, 2])
        let w = builder.constant(try Tensor(.float64, [1, 1, 1, 1], [Double(2)]))
        builder.output(builder.node("Relu", [builder.node("Conv", [x, w])]), "y")
        #expect(try optimized(builder.graph).graph.census == ["Conv": 1, "Relu": 1])
    }

    @Test mutating func eachPassCanBeTurnedOff() throws {
        let graph = try graph { builder, y, random in
            let r = builder.input("r", .float32, [1, 8, 6, 6])
            return builder.node("Relu", [builder.node("Add", [try Self.normalization(builder, y, 8, &random), r])])
        }
        func census(_ names: Set<String>) throws -> [String: Int] { try expectSame(graph, level: level, without: names).census }
        #expect(try census(["OwnConvolutions"]) == ["Conv": 1, "BatchNormalization": 1, "Add": 1, "Relu": 1])
        #expect(try census(["ConvolutionScale"]) == ["apus.Conv": 1, "BatchNormalization": 1, "Add": 1, "Relu": 1])
        #expect(try census(["ConvolutionResidual"]) == ["apus.Conv": 1, "Add": 1, "Relu": 1])
        #expect(try census(["ConvolutionActivation"]) == ["apus.Conv": 1, "Relu": 1])
        #expect(try expectSame(graph, level: 1).census == ["Conv": 1, "BatchNormalization": 1, "Add": 1, "Relu": 1])
        #expect(try expectSame(graph, level: 0).census == ["Conv": 1, "BatchNormalization": 1, "Add": 1, "Relu": 1])
    }

    @Test mutating func reasonsAreTold() throws {
        let graph = try graph { builder, y, _ in builder.node("Add", [y, builder.input("r", .float32, [1, 8, 1, 1])]) }
        let notes = try optimized(graph, level: level).notes
        #expect(notes.contains { $0.hasPrefix("OwnConvolutions: applied at Conv") })
        #expect(notes.contains { $0.hasPrefix("ConvolutionResidual: matched, not applied at Add") && $0.hasSuffix("the shapes are not surely the same") })
    }

    @Test func printedForm() throws {
        let builder = GraphBuilder()
        let x = builder.input("x", .float32, [1, 2, 4, 4])
        let w = builder.constant(try Tensor(.float32, [2, 2, 1, 1], [Float](repeating: 1, count: 4)), name: "w")
        builder.output(builder.node("Relu", [builder.node("Conv", [x, w])]), "y")
        let text = GraphPrinter.text(try optimized(builder.graph, level: level).graph)
        #expect(text == """
            graph "main" {
              input "x": tensor(float)[1,2,4,4]
              initializer "w": tensor(float)[2,2,1,1]
              "y" = apus.Conv("x", "w") {activation="relu", channels_first=1} // ConvolutionActivation
              output "y"
            }

            """)
    }
}
