import ApusCore
import ApusGraph
import Testing

@testable import ApusOperators

/// Scale, bias, residual and activation of the optimiser's own convolutions, with channels first and last.
@Suite struct FusedConvTests {
    private func evaluate(_ type: String, domain: String = "", _ attributes: [String: AttributeValue], _ inputs: [Value?]) throws -> Value? {
        try Evaluator().evaluate(type, domain: domain, opset: 11, attributes, inputs)[0]
    }

    private func transposed(_ x: Value?, _ permutation: [Int]) throws -> Value? {
        try evaluate("Transpose", ["perm": ints(permutation)], [x])
    }

    /// [operator, W, channels of the output, height of the output]
    @Test(arguments: [
        ("Conv", [6, 4, 3, 3], 6, 5, 1), ("Conv", [1, 4, 1, 1], 1, 7, 1), ("Conv", [4, 1, 3, 3], 4, 5, 4), ("Conv", [6, 4, 7, 7], 6, 1, 1),
        ("ConvTranspose", [4, 6, 3, 3], 6, 9, 1), ("ConvTranspose", [4, 3, 2, 2], 6, 14, 2),
    ]) func bothLayouts(_ type: String, _ weights: [Int], _ channels: Int, _ size: Int, _ group: Int) throws {
        var attributes: [String: AttributeValue] = ["group": .int(Int64(group))]
        if size == 14 { attributes["strides"] = ints([2, 2]) }
        let x = try randomTensor([2, 4, 7, 7]), w = try randomTensor(weights, seed: 2), bias = try randomTensor([channels], seed: 3)
        let residual = try randomTensor([2, channels, size, size], seed: 4), scale = try randomTensor([channels], seed: 5)
        let plain = try evaluate(type, attributes, [x, w])
        func spread(_ value: Value) throws -> Value { .tensor(try value.asTensor().reshaped(Shape([channels, 1, 1]))) }
        let scaled = try evaluate("Mul", [:], [plain, try spread(scale)])
        let sum = try evaluate("Add", [:], [try evaluate("Add", [:], [scaled, try spread(bias)]), residual])
        let expected = try #require(try evaluate("LeakyRelu", ["alpha": .float(0.3)], [sum])).floats()
        attributes["activation"] = .string("leaky_relu")
        attributes["activation_params"] = .floats([0.3])
        for evaluator in evaluators {
            let last = try evaluator.evaluate(
                type, domain: "apus", opset: 1, attributes,
                [try transposed(x, [0, 2, 3, 1]), w, bias, try transposed(residual, [0, 2, 3, 1]), scale])[0]
            try expectClose(try transposed(last, [0, 3, 1, 2]), [2, channels, size, size], expected)
            let first = try evaluator.evaluate(
                type, domain: "apus", opset: 1, attributes.merging(["channels_first": .int(1)]) { $1 }, [x, w, bias, residual, scale])[0]
            try expectClose(first, [2, channels, size, size], expected)
        }
    }

    @Test func residualsOfOtherShapesAreRefused() throws {
        let x = try randomTensor([1, 4, 7, 7]), w = try randomTensor([6, 4, 3, 3])
        for shape in [[1, 6, 5, 4], [1, 5, 5, 6], [6, 1, 1]] {
            expectError(.shapeMismatch) {
                _ = try evaluate("Conv", domain: "apus", ["channels_first": .int(1)], [x, w, nil, try randomTensor(shape)])
            }
        }
    }
}
