import ApusCore
import ApusGraph
import Testing

@testable import ApusOperators

@Suite struct ConvTransposeTests {
    struct Case: CustomStringConvertible {
        var x: [Int]
        var w: [Int]
        var group = 1
        var strides: [Int]
        var dilations: [Int]?
        var pads: [Int]?
        var padding: [Int]?
        var output: [Int]
        var description: String { "\(x) * \(w) group \(group) strides \(strides) dilations \(dilations ?? []) pads \(pads ?? [])" }
    }

    static let cases = [
        Case(x: [1, 3, 4, 5], w: [3, 6, 3, 3], strides: [1, 1], output: [6, 7]),
        Case(x: [2, 4, 4, 5], w: [4, 40, 2, 2], strides: [2, 2], output: [8, 10]),
        Case(x: [2, 3, 4, 3], w: [3, 5, 4, 4], strides: [2, 2], pads: [1, 1, 1, 1], output: [8, 6]),
        Case(x: [1, 4, 3, 3], w: [4, 3, 3, 3], group: 2, strides: [2, 3], pads: [1, 0, 0, 1], padding: [1, 2], output: [7, 10]),
        Case(x: [1, 4, 5, 5], w: [4, 1, 3, 3], group: 4, strides: [2, 2], dilations: [2, 1], pads: [1, 1, 1, 1], output: [11, 9]),
        Case(x: [2, 3, 7], w: [3, 2, 5], strides: [3], dilations: [2], pads: [2, 1], output: [24]),
        Case(x: [1, 2, 2, 3, 2], w: [2, 3, 2, 2, 3], strides: [2, 1, 2], output: [4, 4, 5]),
        Case(x: [1, 2, 2, 2], w: [2, 2, 2, 2], strides: [4, 4], padding: [1, 0], output: [7, 6]),
        Case(x: [1, 2, 2, 2], w: [2, 2, 2, 2], strides: [40, 40], output: [42, 42]),
        Case(x: [0, 2, 2, 2], w: [2, 2, 2, 2], strides: [2, 2], output: [4, 4]),
        // One product whose columns are added: several bands, tall windows, taps that miss the output, and one pixel.
        Case(x: [2, 5, 40, 33], w: [5, 3, 4, 4], strides: [2, 2], pads: [1, 1, 1, 1], output: [80, 66]),
        Case(x: [1, 9, 30, 31], w: [9, 2, 9, 2], strides: [3, 4], dilations: [2, 1], pads: [10, 0, 3, 3], padding: [0, 2], output: [91, 121]),
        Case(x: [1, 6, 1, 1], w: [6, 40, 4, 4], strides: [1, 1], output: [4, 4]),
        Case(x: [3, 6, 1, 2], w: [6, 20, 4, 5], strides: [2, 1], pads: [0, 2, 1, 1], output: [3, 3]),
        Case(x: [2, 3, 50], w: [3, 1, 5], strides: [2], pads: [7, 0], padding: [1], output: [97]),
    ]

    private func attributes(_ c: Case) -> [String: AttributeValue] {
        var attributes: [String: AttributeValue] = ["group": .int(Int64(c.group)), "strides": ints(c.strides)]
        attributes["dilations"] = c.dilations.map(ints)
        attributes["pads"] = c.pads.map(ints)
        attributes["output_padding"] = c.padding.map(ints)
        return attributes
    }

    @Test(arguments: cases) func matchesDefinition(_ c: Case) throws {
        let x = try randomTensor(c.x), w = try randomTensor(c.w, seed: 2), m = c.w[1] * c.group
        let bias = try randomTensor([m], seed: 3), shape = [c.x[0], m] + c.output
        let axes = c.x.count - 2
        let expected = try spread(
            x, w, bias: bias, group: c.group, strides: c.strides, dilations: c.dilations ?? Array(repeating: 1, count: axes),
            pads: c.pads ?? Array(repeating: 0, count: axes * 2), output: c.output)
        for evaluator in evaluators {
            try expectClose(try evaluator.evaluate("ConvTranspose", opset: 11, attributes(c), [x, w, bias])[0], shape, expected)
        }
        let wide = try Evaluator().evaluate(
            "ConvTranspose", opset: 1, attributes(c), try [x, w, bias].map { try $0.converted(.float64) })[0]
        try expectClose(wide, shape, expected)

        // Channels last, with everything fused.
        let plain = try spread(
            x, w, bias: nil, group: c.group, strides: c.strides, dilations: c.dilations ?? Array(repeating: 1, count: axes),
            pads: c.pads ?? Array(repeating: 0, count: axes * 2), output: c.output)
        let residual = try randomTensor(shape, seed: 4), scale = try randomTensor([m], seed: 5)
        let biases = try bias.floats(), residuals = try residual.floats(), scales = try scale.floats(), pixels = c.output.reduce(1, *)
        let fused = plain.indices.map { index in
            let channel = index / pixels % m
            let sum = plain[index] * scales[channel] + biases[channel] + residuals[index]
            return sum < 0 ? 0.1 * sum : sum
        }
        var attributes = attributes(c)
        attributes["activation"] = .string("leaky_relu")
        attributes["activation_params"] = .floats([0.1])
        if c.strides.reduce(1, *) > FloatTransposedConvolution.mostPhases { return }
        let y = try Evaluator().evaluate(
            "ConvTranspose", domain: "apus", opset: 1, attributes,
            [try channelsLast(x), w, bias, try channelsLast(residual), scale])[0]
        try expectClose(
            y, [c.x[0]] + c.output + [m], try channelsLast(try floatTensor(shape, fused)).floats())
    }

    /// Expected values by onnxruntime 1.31.
    @Test func paddingThatFollowsFromTheOutput() throws {
        let x = try floatTensor([1, 1, 3], [1, 1, 1]), w = try floatTensor([1, 1, 4], [1, 10, 100, 1000])
        let short = try floatTensor([1, 1, 3], [1, 10, 100])
        func check(_ attributes: [String: AttributeValue], _ w: Value, _ expected: [Float]) throws {
            var attributes = attributes
            attributes["strides"] = ints([2])
            try expectClose(try Evaluator().evaluate("ConvTranspose", attributes, [x, w])[0], [1, 1, expected.count], expected)
        }
        try check(["auto_pad": .string("SAME_UPPER")], short, [1, 10, 101, 10, 101, 10])
        try check(["auto_pad": .string("SAME_LOWER")], short, [10, 101, 10, 101, 10, 100])
        try check(["output_shape": ints([7])], w, [10, 101, 1010, 101, 1010, 100, 1000])
        try check(["output_shape": ints([5])], w, [101, 1010, 101, 1010, 100])
        try check(["output_shape": ints([5]), "auto_pad": .string("SAME_UPPER")], w, [10, 101, 1010, 101, 1010])
    }

    @Test func refusals() throws {
        let x = try randomTensor([1, 4, 5, 5]), w = try randomTensor([4, 2, 3, 3])
        func refuse(_ code: ApusError.Code, _ attributes: [String: AttributeValue], _ inputs: [Value?]) {
            expectError(code) { _ = try Evaluator().evaluate("ConvTranspose", attributes, inputs) }
        }
        refuse(.invalidModel, ["strides": ints([0, 1])], [x, w])
        refuse(.invalidModel, ["group": .int(0)], [x, w])
        refuse(.shapeMismatch, ["group": .int(3)], [x, w])
        refuse(.shapeMismatch, [:], [x, try randomTensor([3, 2, 3, 3])])
        refuse(.shapeMismatch, [:], [x, w, try randomTensor([3])])
        refuse(.shapeMismatch, ["output_padding": ints([1])], [x, w])
        refuse(.invalidModel, ["output_padding": ints([-1, 0])], [x, w])
        refuse(.shapeMismatch, ["pads": ints([9, 9, 9, 9])], [x, w])
        refuse(.invalidValue, ["strides": ints([Int.max / 2, 1])], [x, w])
        expectError(.memoryLimit) {
            _ = try Evaluator(budget: MemoryBudget(cap: 1 << 20)).evaluate("ConvTranspose", ["strides": ints([99999, 99999])], [x, w])
        }
    }
}
