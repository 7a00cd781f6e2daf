import ApusCore
import ApusGraph
import Testing

@testable import ApusOperators

@Suite struct ConvTests {
    struct Case: CustomStringConvertible {
        var x: [Int]
        var w: [Int]
        var group = 1
        var strides: [Int]?
        var dilations: [Int]?
        var pads: [Int]?
        var output: [Int]
        var description: String { "\(x) * \(w) group \(group) strides \(strides ?? []) dilations \(dilations ?? []) pads \(pads ?? [])" }
    }

    static let cases = [
        Case(x: [1, 3, 7, 9], w: [5, 3, 3, 3], output: [5, 7]),
        Case(x: [2, 3, 8, 8], w: [4, 3, 3, 3], strides: [2, 2], pads: [1, 1, 1, 1], output: [4, 4]),
        Case(x: [2, 8, 6, 5], w: [33, 8, 1, 1], output: [6, 5]),
        Case(x: [1, 8, 6, 5], w: [4, 8, 1, 1], strides: [2, 3], output: [3, 2]),
        Case(x: [1, 4, 9, 9], w: [6, 2, 3, 2], group: 2, dilations: [2, 3], pads: [0, 1, 2, 0], output: [7, 7]),
        Case(x: [2, 16, 7, 6], w: [16, 1, 3, 3], group: 16, strides: [2, 1], pads: [1, 1, 1, 1], output: [4, 6]),
        Case(x: [1, 5, 4, 4], w: [10, 1, 2, 2], group: 5, output: [3, 3]),
        Case(x: [2, 4, 11], w: [3, 4, 5], strides: [2], pads: [2, 1], output: [5]),
        Case(x: [1, 6, 11], w: [6, 1, 3], group: 6, dilations: [2], pads: [4, 0], output: [11]),
        Case(x: [1, 2, 4, 5, 6], w: [3, 2, 2, 3, 3], pads: [1, 0, 1, 0, 1, 1], output: [4, 4, 6]),
        Case(x: [1, 4, 3, 3, 3], w: [4, 1, 2, 2, 2], group: 4, output: [2, 2, 2]),
        Case(x: [0, 3, 5, 5], w: [2, 3, 3, 3], output: [3, 3]),
        Case(x: [1, 1, 5, 5], w: [1, 1, 5, 5], output: [1, 1]),
        Case(x: [1, 20, 8, 8], w: [40, 20, 3, 3], pads: [1, 1, 1, 1], output: [8, 8]),
        // Few channels: several bands of rows, cut for threads, and paddings of each kind.
        Case(x: [1, 3, 6, 1200], w: [2, 3, 3, 3], pads: [1, 1, 1, 1], output: [6, 1200]),
        Case(x: [2, 3, 60, 70], w: [20, 3, 5, 5], strides: [2, 1], pads: [2, 2, 1, 1], output: [30, 69]),
        Case(x: [1, 1, 28, 28], w: [6, 1, 5, 5], output: [24, 24]),
        Case(x: [2, 7, 12, 9], w: [9, 7, 3, 4], dilations: [3, 1], pads: [4, 0, 1, 5], output: [11, 11]),
        Case(x: [1, 2, 5, 5], w: [3, 2, 1, 1], strides: [2, 2], pads: [0, 1, 0, 0], output: [3, 3]),
        Case(x: [3, 2, 400], w: [5, 2, 9], strides: [4], pads: [20, 8], output: [105]),
    ]

    private func attributes(_ c: Case) -> [String: AttributeValue] {
        var attributes: [String: AttributeValue] = ["group": .int(Int64(c.group))]
        attributes["strides"] = c.strides.map(ints)
        attributes["dilations"] = c.dilations.map(ints)
        attributes["pads"] = c.pads.map(ints)
        return attributes
    }

    private func expected(_ c: Case, _ x: Value, _ w: Value, _ bias: Value?) throws -> [Float] {
        let axes = c.x.count - 2
        return try convolve(
            x, w, bias: bias, group: c.group, strides: c.strides ?? Array(repeating: 1, count: axes),
            dilations: c.dilations ?? Array(repeating: 1, count: axes), pads: c.pads ?? Array(repeating: 0, count: 2 * axes),
            output: c.output)
    }

    @Test(arguments: cases) func matchesDefinition(_ c: Case) throws {
        let x = try randomTensor(c.x), w = try randomTensor(c.w, seed: 2), bias = try randomTensor([c.w[0]], seed: 3)
        let shape = [c.x[0], c.w[0]] + c.output
        let with = try expected(c, x, w, bias), without = try expected(c, x, w, nil)
        for evaluator in evaluators {
            try expectClose(try evaluator.evaluate("Conv", opset: 11, attributes(c), [x, w, bias])[0], shape, with)
            try expectClose(try evaluator.evaluate("Conv", opset: 1, attributes(c), [x, w])[0], shape, without)
        }
        let wide = try Evaluator().evaluate("Conv", opset: 22, attributes(c), try [x, w, bias].map { try $0.converted(.float64) })[0]
        try expectClose(wide, shape, with)
        let half = try Evaluator().evaluate("Conv", opset: 22, attributes(c), try [x, w, bias].map { try $0.converted(.float16) })[0]
        #expect(try half?.asTensor().type == .float16)
        try expectClose(half, shape, with, tolerance: 0.02)
    }

    /// The channels-last form, with everything fused.
    @Test(arguments: cases) func channelsLastWithEpilogue(_ c: Case) throws {
        let x = try randomTensor(c.x), w = try randomTensor(c.w, seed: 2), bias = try randomTensor([c.w[0]], seed: 3)
        let residual = try randomTensor([c.x[0], c.w[0]] + c.output, seed: 4), scale = try randomTensor([c.w[0]], seed: 5)
        let plain = try expected(c, x, w, nil), biases = try bias.floats(), residuals = try residual.floats(), scales = try scale.floats()
        let pixels = c.output.reduce(1, *)
        let result = plain.indices.map { index in
            let channel = index / max(pixels, 1) % c.w[0]
            return max(0, plain[index] * scales[channel] + biases[channel] + residuals[index])
        }
        let last = try channelsLast(try floatTensor([c.x[0], c.w[0]] + c.output, result))
        var attributes = attributes(c)
        attributes["activation"] = .string("relu")
        let isWindowed = c.group == 1 && c.x[1] <= WindowedConvolution.mostChannels && c.x.count <= 4 && c.dilations?.last ?? 1 == 1
            && (c.w[2...].contains { $0 > 1 } || c.strides != nil)
        for evaluator in evaluators {
            let rest = [w, bias, try channelsLast(residual), scale]
            let y = try evaluator.evaluate("Conv", domain: "apus", opset: 1, attributes, [try channelsLast(x)] + rest)[0]
            try expectClose(y, [c.x[0]] + c.output + [c.w[0]], try last.floats())
            var first = attributes
            first["input_first"] = .int(1)
            if isWindowed {
                let z = try evaluator.evaluate("Conv", domain: "apus", opset: 1, first, [x] + rest)[0]
                try expectClose(z, [c.x[0]] + c.output + [c.w[0]], try last.floats())
            } else {
                expectError(.invalidModel) { _ = try evaluator.evaluate("Conv", domain: "apus", opset: 1, first, [x] + rest) }
            }
        }
    }

    /// One window, whose row lies in a padding of a size that no product of it fits.
    @Test func windowsFarOutside() throws {
        let x = try randomTensor([1, 3, 4, 4]), w = try randomTensor([2, 3, 3, 3], seed: 2), bias = try randomTensor([2], seed: 3)
        let huge = 1 << 62
        for evaluator in evaluators {
            let y = try evaluator.evaluate(
                "Conv", ["strides": ints([1, huge]), "pads": ints([0, huge - 2, 0, 0])], [x, w, bias])[0]
            try expectClose(y, [1, 2, 2, 1], try bias.floats().flatMap { [$0, $0] })
        }
    }

    @Test(arguments: ["SAME_UPPER", "SAME_LOWER", "VALID"]) func automaticPadding(_ mode: String) throws {
        let x = try randomTensor([1, 2, 6, 7]), w = try randomTensor([3, 2, 4, 3], seed: 2)
        let y = try Evaluator().evaluate("Conv", ["auto_pad": .string(ByteString(mode)), "strides": ints([2, 2])], [x, w])[0]
        // SAME: output 3 x 4; padding 2 rows and 2 columns in all.
        let pads = mode == "VALID" ? [0, 0, 0, 0] : [1, 1, 1, 1], output = mode == "VALID" ? [2, 3] : [3, 4]
        try expectClose(
            y, [1, 3] + output, try convolve(x, w, bias: nil, group: 1, strides: [2, 2], dilations: [1, 1], pads: pads, output: output))
        // One row of padding: at the end or at the begin.
        let odd = try randomTensor([3, 2, 3, 3], seed: 3)
        let z = try Evaluator().evaluate("Conv", ["auto_pad": .string(ByteString(mode)), "strides": ints([2, 2])], [x, odd])[0]
        let begin = mode == "SAME_LOWER" ? [1, 1] : mode == "SAME_UPPER" ? [0, 1] : [0, 0]
        let size = mode == "VALID" ? [2, 3] : [3, 4]
        try expectClose(
            z, [1, 3] + size,
            try convolve(x, odd, bias: nil, group: 1, strides: [2, 2], dilations: [1, 1], pads: begin + [0, 0], output: size))
    }

    @Test func refusals() throws {
        let x = try randomTensor([1, 4, 5, 5]), w = try randomTensor([4, 4, 3, 3])
        func refuse(_ code: ApusError.Code, _ attributes: [String: AttributeValue], _ inputs: [Value?]) {
            expectError(code) { _ = try Evaluator().evaluate("Conv", attributes, inputs) }
        }
        refuse(.invalidModel, ["group": .int(0)], [x, w])
        refuse(.invalidModel, ["group": .int(-1)], [x, w])
        refuse(.shapeMismatch, ["group": .int(3)], [x, w])
        refuse(.invalidModel, ["strides": ints([-1, 1])], [x, w])
        refuse(.invalidModel, ["dilations": ints([0, 1])], [x, w])
        refuse(.invalidModel, ["pads": ints([-1, 0, 0, 0])], [x, w])
        refuse(.invalidValue, ["pads": ints([Int.max, 0, Int.max, 0])], [x, w])
        refuse(.shapeMismatch, ["dilations": ints([Int.max / 4, 1])], [x, w])
        refuse(.shapeMismatch, ["kernel_shape": ints([2, 3])], [x, w])
        refuse(.shapeMismatch, ["strides": ints([1])], [x, w])
        refuse(.shapeMismatch, [:], [x, try randomTensor([4, 4, 3])])
        refuse(.shapeMismatch, [:], [x, w, try randomTensor([3])])
        refuse(.shapeMismatch, [:], [x, try randomTensor([4, 4, 6, 3])])
        refuse(.invalidModel, ["auto_pad": .string("SOME")], [x, w])
        expectError(.memoryLimit) {
            _ = try Evaluator(budget: MemoryBudget(cap: 1 << 20)).evaluate("Conv", ["pads": ints([9999, 9999, 9999, 9999])], [x, w])
        }
    }

    @Test func symbolicShapes() throws {
        let graph = Graph()
        let values = (0..<3).map { _ in graph.addValue() }
        let node = Node(
            "Conv", opset: 11, attributes: [Attribute("strides", ints([2, 2])), Attribute("pads", ints([1, 1, 1, 1]))],
            inputs: [values[0], values[1]], outputs: [values[2]])
        let n = Dimension.symbol("n"), h = Dimension.symbol("h")
        let infos = try Registry.make(node, in: graph).inferOutputs(
            InferenceContext(
                inputs: [
                    ValueInfo(.float32, PartialShape([n, .known(3), h, .known(16)])),
                    ValueInfo(.float32, PartialShape([8, 3, 3, 3].map(Dimension.known))),
                ], outputCount: 1))
        let dimensions = try #require(infos[0].type.shape?.dimensions)
        #expect(dimensions[0] == n && dimensions[1] == .known(8) && dimensions[3] == .known(8))
        #expect(dimensions[2].evaluated(["h": 9]) == 5)
    }

    @Test func weightsComputedByTheModelAreNotCached() throws {
        let graph = Graph()
        let values = (0..<3).map { _ in graph.addValue() }
        let node = Node("Conv", opset: 11, inputs: [values[0], values[1]], outputs: [values[2]])
        let cache = PackCache(budget: .shared)
        let x = try Shape([1, 3, 8, 8]), w = try Shape([40, 3, 3, 3])
        let prepared = try Registry.make(node, in: graph).prepare(
            PrepareContext(
                inputs: [ValueInfo(.float32, x), ValueInfo(.float32, w)], outputs: [ValueInfo(.float32, try Shape([1, 40, 6, 6]))],
                levels: 1, threads: 1, packed: cache))
        #expect(cache.byteCount == 0)
        #expect(prepared.workspaceByteCount >= (3 * 64 + 40 * 36 + 40 * 27) * 4)
    }
}
