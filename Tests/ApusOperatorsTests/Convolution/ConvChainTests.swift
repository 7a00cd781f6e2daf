import ApusCore
import ApusGraph
import Testing

@testable import ApusOperators

@Suite struct ConvChainTests {
    struct Case: CustomStringConvertible {
        /// [N, rows, columns, channels], or [N, channels, rows, columns] if `inputFirst`.
        var x: [Int]
        var first = [1, 1]
        var firstStride = 1
        var inputFirst = false
        var wide: Int
        var window: [Int]
        var strides = [1, 1]
        var dilations = [1, 1]
        var pads: [Int]
        /// Channels of the third convolution; nil: there are two.
        var last: Int?
        var isPlain = false
        var activation = "clip"
        var description: String { "\(x) by \(first) to \(wide) by \(window) strides \(strides) dilations \(dilations) pads \(pads) to \(last ?? 0)" }

        func attributes(_ position: Int) -> [String: AttributeValue] {
            var own: [String: AttributeValue] = [:]
            if !isPlain { own["activation"] = .string(ByteString(position == 2 ? "none" : position == 1 ? activation : "relu")) }
            switch position {
            case 0:
                own["strides"] = ints([firstStride, firstStride])
                own["pads"] = ints([first[0] / 2, first[1] / 2, first[0] / 2, first[1] / 2])
                if inputFirst { own["input_first"] = .int(1) }
            case 1:
                own["group"] = .int(Int64(wide))
                own["strides"] = ints(strides)
                own["dilations"] = ints(dilations)
                own["pads"] = ints(pads)
            default: break
            }
            return own
        }

        /// W, bias, scale of each convolution.
        func operands() throws -> [[Value?]] {
            let inputs = inputFirst ? x[1] : x[3]
            var shapes = [[wide, inputs] + first, [wide, 1] + window]
            if let last { shapes.append([last, wide, 1, 1]) }
            return try shapes.enumerated().map { position, shape in
                let seed = UInt64(10 * position)
                let w = try randomTensor(shape, seed: seed + 2)
                if isPlain { return [w, nil, nil] }
                return [w, try randomTensor([shape[0]], seed: seed + 3), try randomTensor([shape[0]], seed: seed + 4)]
            }
        }
    }

    static let cases = [
        Case(x: [1, 12, 11, 8], wide: 33, window: [3, 3], pads: [1, 1, 1, 1], last: 7),
        Case(x: [2, 13, 9, 5], wide: 20, window: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1], last: 40),
        Case(x: [3, 9, 10, 8], wide: 16, window: [5, 5], pads: [2, 2, 2, 2]),
        Case(x: [2, 17, 8, 3], wide: 70, window: [5, 3], strides: [2, 1], pads: [0, 1, 3, 0], last: 5, activation: "silu"),
        Case(x: [1, 11, 7, 9], wide: 17, window: [3, 3], dilations: [2, 1], pads: [2, 1, 2, 1], last: 9, isPlain: true),
        // Windows with rows between them that none sees, and such as see nothing but padding.
        Case(x: [2, 14, 6, 4], wide: 8, window: [2, 2], strides: [4, 3], pads: [0, 0, 0, 0], last: 3),
        Case(x: [2, 3, 5, 4], wide: 18, window: [3, 3], strides: [2, 2], pads: [7, 1, 8, 1], last: 4),
        Case(x: [1, 6, 6, 4], wide: 6, window: [1, 1], pads: [0, 0, 0, 0], last: 4),
        // The first convolution of a network.
        Case(x: [2, 3, 21, 19], first: [3, 3], firstStride: 2, inputFirst: true, wide: 20, window: [3, 3], pads: [1, 1, 1, 1], last: 6),
        Case(x: [1, 15, 12, 3], first: [5, 3], wide: 32, window: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1]),
    ]

    private func make(_ attributes: [String: AttributeValue], inputs: Int, _ limits: ConvolutionChain.Limits? = nil) throws -> ConvChainOperator {
        let reader = try NodeReader(
            Node(
                "ConvChain", domain: "apus", opset: 1, attributes: attributes.map { Attribute($0.key, $0.value) },
                inputs: (0..<inputs).map { ValueID($0) }, outputs: [ValueID(inputs)]))
        var chain = try ConvChainOperator(reader)
        try reader.finish()
        if let limits { chain.limits = limits }
        return chain
    }

    private func attributes(_ c: Case) -> [String: AttributeValue] {
        var all: [String: AttributeValue] = [:]
        for position in 0..<(c.last == nil ? 2 : 3) {
            for (name, value) in c.attributes(position) { all[ConvChain.prefixes[position] + name] = value }
        }
        return all
    }

    /// Bands of every height give the bits that one convolution after another gives.
    @Test(arguments: cases) func isOneAfterAnother(_ c: Case) throws {
        let x = try randomTensor(c.x), operands = try c.operands()
        for levels in [1, Evaluator().levels] {
            let single = Evaluator(levels: levels)
            var y: Value? = x, residual: Value?
            for (position, own) in operands.enumerated() {
                if position == 2, !c.isPlain, let shape = y?.shape?.dimensions, let last = c.last {
                    residual = try randomTensor(shape.dropLast() + [last], seed: 50)
                }
                y = try single.evaluate(
                    "Conv", domain: "apus", opset: 1, c.attributes(position), [y, own[0], own[1], position == 2 ? residual : nil, own[2]])[0]
            }
            let expected = try #require(y).asTensor(), inputs = [x] + operands.joined() + (residual == nil ? [] : [residual])
            let count = inputs.count
            func compare(_ threads: Int, _ limits: ConvolutionChain.Limits) throws {
                let found = try Evaluator(levels: levels, pool: ThreadPool(size: threads)).evaluate(
                    try make(attributes(c), inputs: count, limits), inputs, outputCount: 1)[0]
                let tensor = try #require(found).asTensor()
                #expect(tensor.shape == expected.shape && tensor.array(Float.self) == expected.array(Float.self), "\(threads) threads, \(limits)")
            }
            for threads in 1...4 {
                try compare(threads, ConvolutionChain.Limits(leastElements: .max))
                for rows in [0, 1, 2, 3, 5, 40] {
                    try compare(
                        threads,
                        ConvolutionChain.Limits(leastElements: 1, fastElements: rows * c.wide * 2 * 21, leastRowsForOneTwice: 0))
                }
            }
        }
    }

    /// Inputs of these shapes, made ready.
    private func prepared(_ c: Case, threads: Int, _ limits: ConvolutionChain.Limits? = nil) throws -> any PreparedNode {
        let inputs = try [try randomTensor(c.x)] + c.operands().joined()
        let infos = inputs.map { $0.map { ValueInfo(constant: $0) } }
        let chain = try make(attributes(c), inputs: inputs.count, limits)
        return try chain.prepare(
            PrepareContext(
                inputs: infos, outputs: try chain.inferOutputs(InferenceContext(inputs: infos, outputCount: 1)), levels: 1, threads: threads,
                packed: PackCache(budget: MemoryBudget())))
    }

    @Test func bandsAreForLargeImages() throws {
        let large = Case(x: [1, 64, 64, 2], wide: 32, window: [3, 3], pads: [1, 1, 1, 1], last: 2, isPlain: true)
        let small = Case(x: [1, 64, 63, 2], wide: 32, window: [3, 3], pads: [1, 1, 1, 1], last: 2, isPlain: true)
        #expect(try prepared(large, threads: 1).kernelName.contains(" > "))
        #expect(try prepared(large, threads: 2).kernelName.contains(" > "))
        #expect(try prepared(small, threads: 1).kernelName.contains(", "))
        // Too many rows would be computed twice.
        #expect(try prepared(large, threads: 3).kernelName.contains(", "))
        // All of what lies between, or a part of it.
        #expect(try prepared(small, threads: 1).workspaceByteCount >= 64 * 63 * 32 * 4)
        #expect(try prepared(large, threads: 1, ConvolutionChain.Limits(fastElements: 1)).workspaceByteCount < 64 * 32 * 4 * 6)
        // Neither by pixels nor depthwise.
        let grouped = Case(x: [1, 64, 64, 32], first: [3, 3], wide: 32, window: [3, 3], pads: [1, 1, 1, 1], last: 2, isPlain: true)
        #expect(try prepared(grouped, threads: 1).kernelName.contains(", "))
    }

    /// Other convolutions than those that the optimiser joins follow one another too.
    @Test func anyConvolutions() throws {
        let x = try randomTensor([2, 7, 6, 4]), a = try randomTensor([6, 2, 2, 3], seed: 2), b = try randomTensor([5, 6, 3, 3], seed: 3)
        for evaluator in evaluators {
            let between = try evaluator.evaluate("Conv", domain: "apus", opset: 1, ["group": .int(2)], [x, a])[0]
            let expected = try #require(try evaluator.evaluate("Conv", domain: "apus", opset: 1, ["strides": ints([2, 1])], [between, b])[0])
            let y = try evaluator.evaluate(
                "ConvChain", domain: "apus", opset: 1, ["first_group": .int(2), "second_strides": ints([2, 1])], [x, a, nil, nil, b])[0]
            try expectClose(y, [2, 2, 2, 5], try expected.floats(), tolerance: 0)
        }
        let line = try randomTensor([2, 9, 4]), pixel = try randomTensor([6, 4, 1], seed: 4), three = try randomTensor([6, 1, 3], seed: 5)
        let evaluator = Evaluator()
        let between = try evaluator.evaluate("Conv", domain: "apus", opset: 1, [:], [line, pixel])[0]
        let expected = try #require(try evaluator.evaluate("Conv", domain: "apus", opset: 1, ["group": .int(6)], [between, three])[0])
        let y = try evaluator.evaluate("ConvChain", domain: "apus", opset: 1, ["second_group": .int(6)], [line, pixel, nil, nil, three])[0]
        try expectClose(y, [2, 7, 6], try expected.floats(), tolerance: 0)
        let empty = try evaluator.evaluate(
            "ConvChain", domain: "apus", opset: 1, ["second_group": .int(6)], [try randomTensor([0, 9, 4]), pixel, nil, nil, three])[0]
        try expectClose(empty, [0, 7, 6], [])
    }

    @Test func refusals() throws {
        let x = try randomTensor([1, 5, 5, 4]), a = try randomTensor([6, 4, 1, 1]), b = try randomTensor([6, 1, 3, 3]), c = try randomTensor([3, 6, 1, 1])
        func refuse(_ code: ApusError.Code, _ attributes: [String: AttributeValue], _ inputs: [Value?]) {
            expectError(code) { _ = try Evaluator().evaluate("ConvChain", domain: "apus", opset: 1, attributes, inputs) }
        }
        let group = ["second_group": AttributeValue.int(6)]
        func with(_ name: String, _ value: AttributeValue) -> [String: AttributeValue] { group.merging([name: value]) { $1 } }
        refuse(.invalidModel, with("first_colour", .int(1)), [x, a, nil, nil, b])
        refuse(.invalidModel, with("colour", .int(1)), [x, a, nil, nil, b])
        refuse(.invalidModel, with("last_group", .int(1)), [x, a, nil, nil, b])
        refuse(.invalidModel, with("second_input_first", .int(1)), [x, a, nil, nil, b])
        refuse(.invalidModel, with("first_channels_first", .int(1)), [x, a, nil, nil, b])
        refuse(.invalidModel, with("second_group", .int(0)), [x, a, nil, nil, b])
        refuse(.invalidModel, group, [x, a, nil, nil, b, nil, nil, nil, nil, nil, try randomTensor([1, 3, 3, 6])])
        refuse(.invalidModel, group, [x, a, nil, nil, nil])
        refuse(.shapeMismatch, group, [x, b, nil, nil, b])
        refuse(.shapeMismatch, group, [x, a, nil, nil, b, nil, nil, try randomTensor([3, 5, 1, 1])])
        refuse(.shapeMismatch, group, [x, a, nil, nil, b, nil, nil, c, nil, nil, try randomTensor([1, 3, 3, 4])])
        refuse(.shapeMismatch, group, [x, a, try randomTensor([5]), nil, b])
        refuse(.shapeMismatch, group, [x, a, nil, nil, try randomTensor([6, 1, 9, 9])])
        refuse(.typeMismatch, group, [try x.converted(.float16), a, nil, nil, b])
        // Sizes that no memory holds.
        refuse(.memoryLimit, with("second_pads", ints([1 << 40, 1 << 40, 1 << 40, 1 << 40])), [x, a, nil, nil, b])
        refuse(.invalidValue, with("second_pads", ints([1 << 62, 1 << 62, 1 << 62, 1 << 62])), [x, a, nil, nil, b])
    }
}
