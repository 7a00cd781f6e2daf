import ApusCore
import ApusGraph
import Testing

@testable import ApusOperators

@Suite struct NormalizationTests {
    @Test func softmaxAxes() throws {
        let x = try randomTensor([2, 3])
        for opset in [1, 11, 13] {
            expectError(.shapeMismatch) { _ = try Evaluator().evaluate("Softmax", opset: opset, ["axis": .int(7)], [x]) }
            expectError(.shapeMismatch) { _ = try Evaluator().evaluate("Softmax", opset: opset, ["axis": .int(-9)], [x]) }
        }
        let empty = try Evaluator().evaluate("Softmax", ["axis": .int(1)], [try floatTensor([2, 0], [])])[0]
        #expect(empty?.shape?.dimensions == [2, 0])
        try expectClose(try Evaluator().evaluate("Softmax", [:], [try floatTensor([1, 2], [1000, 1000])])[0], [1, 2], [0.5, 0.5])
        try expectClose(try Evaluator().evaluate("Softmax", [:], [try floatTensor([2], [-.infinity, 0])])[0], [2], [0, 1])
    }

    @Test func softmaxHalves() throws {
        let x = try randomTensor([3, 7])
        let y = try #require(try Evaluator().evaluate("Softmax", [:], [x])[0])
        for type in [ElementType.float16, .bfloat16] {
            let z = try Evaluator().evaluate("Softmax", [:], [try x.converted(type)])[0]
            #expect(try z?.asTensor().type == type)
            try expectClose(z, [3, 7], try y.floats(), tolerance: 1e-2)
        }
    }

    @Test func batchNormalizationChecksSizes() throws {
        let x = try randomTensor([1, 3, 2]), good = try floatTensor([3], [1, 2, 3]), bad = try floatTensor([2], [1, 2])
        for position in 1..<5 {
            var inputs: [Value?] = [x, good, good, good, good]
            inputs[position] = bad
            expectError(.shapeMismatch) { _ = try Evaluator().evaluate("BatchNormalization", opset: 15, [:], inputs) }
        }
        // Statistics of every element, as before opset 9.
        let all = try floatTensor([3, 2], [1, 1, 1, 1, 1, 1]), zeros = try floatTensor([3, 2], [0, 0, 0, 0, 0, 0])
        let y = try Evaluator().evaluate(
            "BatchNormalization", opset: 7, ["spatial": .int(0), "epsilon": .float(0)], [x, all, all, zeros, all])[0]
        try expectClose(y, [1, 3, 2], try x.floats().map { $0 + 1 })
        expectError(.invalidModel) { _ = try Evaluator().evaluate("BatchNormalization", opset: 15, ["spatial": .int(0)], [x, good, good, good, good]) }
    }

    @Test func layerNormalizationRefusals() throws {
        let x = try randomTensor([2, 3, 4])
        expectError(.shapeMismatch) { _ = try Evaluator().evaluate("LayerNormalization", [:], [x, try randomTensor([5])]) }
        expectError(.shapeMismatch) { _ = try Evaluator().evaluate("LayerNormalization", ["axis": .int(3)], [x, try randomTensor([4])]) }
        expectError(.shapeMismatch) { _ = try Evaluator().evaluate("LayerNormalization", ["axis": .int(-4)], [x, try randomTensor([4])]) }
    }

    @Test func otherRefusals() throws {
        let x = try randomTensor([1, 4, 3])
        expectError(.invalidModel) { _ = try Evaluator().evaluate("LRN", ["size": .int(0)], [x]) }
        expectError(.invalidModel) { _ = try Evaluator().evaluate("LpNormalization", ["p": .int(3)], [x]) }
        expectError(.shapeMismatch) { _ = try Evaluator().evaluate("MeanVarianceNormalization", ["axes": ints([0, 5])], [x]) }
        expectError(.shapeMismatch) { _ = try Evaluator().evaluate("InstanceNormalization", [:], [x, try randomTensor([3]), try randomTensor([4])]) }
        expectError(.shapeMismatch) {
            _ = try Evaluator().evaluate("GroupNormalization", ["num_groups": .int(3)], [x, try randomTensor([4]), try randomTensor([4])])
        }
        expectError(.invalidModel) {
            _ = try Evaluator().evaluate("GroupNormalization", ["num_groups": .int(0)], [x, try randomTensor([4]), try randomTensor([4])])
        }
    }

    /// Neighbouring channels by the definition.
    @Test(arguments: [1, 3, 4, 30]) func localResponse(_ size: Int) throws {
        let x = try randomTensor([2, 7, 3]), xs = try x.floats()
        let y = try Evaluator().evaluate(
            "LRN", ["size": .int(Int64(size)), "alpha": .float(0.2), "beta": .float(0.5), "bias": .float(1.5)], [x])[0]
        let before = (size - 1) / 2, after = size - 1 - before
        let expected = indices([2, 7, 3]).map { index in
            let window = max(0, index[1] - before)...min(6, index[1] + after)
            let squares = window.map { xs[position([index[0], $0, index[2]], [2, 7, 3])] }.reduce(0) { $0 + $1 * $1 }
            return xs[position(index, [2, 7, 3])] / (1.5 + 0.2 / Float(size) * squares).squareRoot()
        }
        try expectClose(y, [2, 7, 3], expected)
    }
}
