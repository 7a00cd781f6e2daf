import ApusCore
import ApusGraph
import ApusOperators
import TestSupport
import Testing

@testable import ApusOptimizer

@Suite struct WinogradTransformsTests {
    private func tile(
        size: Int?, channels: Int, ballast: Int = 1 << 20, kernel: [Int] = [3, 3], attributes: [Attribute] = [], isConstant: Bool = true,
        operation: String = "Conv"
    ) throws -> Int? {
        try transform(
            size: size, channels: channels, ballast: ballast, kernel: kernel, attributes: attributes, isConstant: isConstant,
            operation: operation)?.tile
    }

    /// A graph of one channels-last convolution over `size` × `size` pixels, beside constants of `ballast` floats; the tile that
    /// the pass allows it, and whether its weights are transformed in each run.
    private func transform(
        size: Int?, channels: Int, ballast: Int = 1 << 20, kernel: [Int] = [3, 3], attributes: [Attribute] = [], isConstant: Bool = true,
        operation: String = "Conv"
    ) throws -> (tile: Int, inRun: Bool)? {
        let graph = Graph()
        let side = size.map(Dimension.known) ?? .unknown
        let x = graph.addValue("x", type: .tensor(.float32, PartialShape([.known(1)] + kernel.map { _ in side } + [.known(channels)])))
        let weightShape = try Shape([channels, channels] + kernel)
        let w: ValueID
        if isConstant {
            w = graph.addInitializer(.tensor(try Tensor.allocate(.float32, weightShape)), name: "w")
        } else {
            w = graph.addValue("w", type: .tensor(.float32, PartialShape(weightShape.dimensions.map(Dimension.known))))
        }
        let y = graph.addValue("y")
        graph.inputs = isConstant ? [x] : [x, w]
        graph.outputs = [y]
        let pads = Attribute("pads", .ints((kernel + kernel).map { Int64($0 / 2) }))
        graph.nodes = [Node(operation, domain: "apus", opset: 1, attributes: [pads] + attributes, inputs: [x, w], outputs: [y])]
        let rest = graph.addInitializer(.tensor(try Tensor.allocate(.float32, try Shape([ballast]))), name: "ballast")
        let z = graph.addValue("z")
        graph.nodes.append(Node("Identity", opset: 21, inputs: [rest], outputs: [z]))
        graph.outputs.append(z)
        let editor = GraphEditor(graph)
        let infos = try GraphInference(graph, evaluator: Evaluator()).run(captures: [])
        try WinogradTransforms().run(editor, PassContext(evaluator: Evaluator(), log: nil, infos: infos))
        try editor.commit()
        guard let node = graph.nodes.first(where: { $0.opType == operation }), case .int(let tile)? = node.attribute("winograd") else {
            return nil
        }
        return (Int(tile), node.attribute("winograd_in_run") != nil)
    }

    @Test func largeImagesGetTheLargeTile() throws {
        #expect(try tile(size: 56, channels: 32) == 4)
        #expect(try tile(size: nil, channels: 32) == 4)
        #expect(try tile(size: .max - 2, channels: 32) == 4)
    }

    @Test func whereItDoesNotPay() throws {
        #expect(try tile(size: 1, channels: 64) == nil)
        #expect(try tile(size: 56, channels: 8) == nil)
    }

    @Test func onlyPlainWindows() throws {
        #expect(try tile(size: 56, channels: 32, kernel: [5, 3]) == nil)
        #expect(try tile(size: 56, channels: 32, attributes: [Attribute("strides", .ints([2, 2]))]) == nil)
        #expect(try tile(size: 56, channels: 32, attributes: [Attribute("dilations", .ints([1, 2]))]) == nil)
        #expect(try tile(size: 56, channels: 32, isConstant: false) == nil)
    }

    /// Their weights are never transformed in a run: 36 values of 25, 10 of 7.
    @Test func otherWindows() throws {
        for (kernel, tile, ballast) in [([5, 5], 2, 70_000), ([1, 7], 4, 20_000), ([7, 1], 4, 20_000), ([1, 3], 4, 70_000), ([3], 4, 70_000)] {
            let size = kernel.count == 1 ? 400 : 28
            #expect(try #require(try transform(size: size, channels: 64, ballast: 4 * ballast, kernel: kernel)) == (tile, false))
            #expect(try transform(size: size, channels: 64, ballast: 1, kernel: kernel) == nil)
        }
    }

    @Test func phasesOfTransposedConvolutions() throws {
        let strides = Attribute("strides", .ints([2, 2]))
        func transposed(_ size: Int?, _ kernel: [Int], _ attributes: [Attribute]) throws -> Int? {
            try tile(size: size, channels: 64, kernel: kernel, attributes: attributes, operation: "ConvTranspose")
        }
        #expect(try transposed(32, [4, 4], [strides]) == 3)
        #expect(try transposed(nil, [4, 4], [strides]) == 3)
        #expect(try transposed(2, [4, 4], [strides]) == nil)
        #expect(try transposed(32, [4, 4], []) == nil)
        #expect(try transposed(32, [4, 4], [strides, Attribute("dilations", .ints([2, 1]))]) == nil)
        #expect(try transposed(32, [4, 4], [strides, Attribute("group", .int(2))]) == nil)
    }

    /// 147 kB of weights: tile 4 adds 442 kB, which not every graph may add.
    @Test func withinTheBudget() throws {
        #expect(try #require(try transform(size: 56, channels: 64, ballast: 1)) == (4, true))
        #expect(try #require(try transform(size: 56, channels: 64, ballast: 150_000)) == (4, true))
        #expect(try #require(try transform(size: 56, channels: 64, ballast: 600_000)) == (4, false))
    }

    /// With very few pixels, transforming the weights in each run takes longer than it saves.
    @Test func fewPixelsDoNotPayForManyWeights() throws {
        #expect(try #require(try transform(size: 7, channels: 256, ballast: 8 << 20)).inRun == false)
        #expect(try #require(try transform(size: 7, channels: 512, ballast: 1)) == (4, true))
        #expect(try transform(size: 5, channels: 512, ballast: 1) == nil)
    }

    /// Convolutions of integers decide for themselves, where they may.
    @Test func integersAreAllowed() throws {
        func isAllowed(kernel: Int = 3, attributes: [Attribute] = [], isConstant: Bool = true, opType: String = "QLinearConv") throws -> Bool {
            let graph = Graph()
            func scalar<T: BitwiseCopyable>(_ type: ElementType, _ value: T) throws -> ValueID {
                graph.addInitializer(.tensor(try Tensor(type, [], [value])))
            }
            let x = graph.addValue("x", type: .tensor(.uint8, PartialShape([1, 14, 14, 32].map(Dimension.known))))
            let shape = try Shape([32, 32, kernel, kernel])
            let w = isConstant
                ? graph.addInitializer(.tensor(try Tensor.allocate(.int8, shape)), name: "w")
                : graph.addValue("w", type: .tensor(.int8, PartialShape(shape.dimensions.map(Dimension.known))))
            let y = graph.addValue("y")
            graph.inputs = isConstant ? [x] : [x, w]
            graph.outputs = [y]
            let one = try scalar(.float32, Float(1)), zero = try scalar(.uint8, UInt8(0)), weightZero = try scalar(.int8, Int8(0))
            if opType == "QLinearConv" {
                graph.nodes = [
                    Node(
                        opType, domain: "com.microsoft", opset: 1, attributes: [Attribute("channels_last", .int(1))] + attributes,
                        inputs: [x, one, zero, w, one, weightZero, one, zero], outputs: [y])
                ]
            } else {
                graph.nodes = [Node(opType, opset: 10, attributes: attributes, inputs: [x, w, zero, weightZero], outputs: [y])]
            }
            let editor = GraphEditor(graph)
            try WinogradTransforms().run(editor, PassContext(evaluator: Evaluator(), log: nil, infos: []))
            try editor.commit()
            return graph.nodes.contains { $0.attribute("winograd") != nil }
        }
        #expect(try isAllowed())
        #expect(try isAllowed(opType: "ConvInteger"))
        #expect(try !isAllowed(kernel: 5))
        #expect(try !isAllowed(attributes: [Attribute("strides", .ints([2, 1]))]))
        #expect(try !isAllowed(attributes: [Attribute("dilations", .ints([1, 2]))]))
        #expect(try !isAllowed(attributes: [Attribute("group", .int(2))]))
        #expect(try !isAllowed(isConstant: false))
    }
}
