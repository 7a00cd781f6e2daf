import ApusCore
import ApusGraph
import Testing

@testable import ApusOperators

@Suite struct AttentionTests {
    /// Attention by MatMul and Softmax.
    private func composed(_ q: Value, _ k: Value, _ v: Value, scale: Float, mask: Value?) throws -> [Float] {
        let e = Evaluator()
        let transposed = try permuted(k, [0, 1, 3, 2])
        let scores = try #require(
            try e.evaluate("FusedMatMul", domain: "com.microsoft", opset: 1, ["alpha": .float(scale)], [q, transposed])[0])
        let shape = try scores.asTensor().shape.dimensions
        var sums = try scores.floats()
        if let mask {
            let own = try mask.asTensor().shape, strides = own.broadcastStrides(to: try Shape(shape)), summands = try mask.floats()
            for (at, index) in indices(shape).enumerated() { sums[at] += summands[zip(index, strides).reduce(0) { $0 + $1.0 * $1.1 }] }
        }
        let weights = try #require(try e.evaluate("Softmax", [:], [try floatTensor(shape, sums)])[0])
        return try #require(try e.evaluate("MatMul", [:], [weights, v])[0]).floats()
    }

    @Test(arguments: [(1, 1), (5, 9), (130, 70)], [[1, 1, 1], [2, 3, 1], [0, 0, 0]])
    func allLayouts(_ lengths: (Int, Int), _ maskShape: [Int]) throws {
        let (queries, keys) = lengths
        let q = try randomTensor([2, 3, queries, 8]), k = try randomTensor([2, 3, keys, 8], seed: 2), v = try randomTensor([2, 3, keys, 5], seed: 3)
        let mask = maskShape[0] == 0 ? nil : try randomTensor(maskShape + [keys], seed: 4)
        let expected = try composed(q, k, v, scale: 0.3, mask: mask)
        func moved(_ value: Value, _ layout: String) throws -> Value {
            layout == "bsnh" ? try permuted(value, [0, 2, 1, 3]) : layout == "bnhs" ? try permuted(value, [0, 1, 3, 2]) : value
        }
        for layouts in [["bnsh", "bnsh", "bnsh", "bnsh"], ["bsnh", "bsnh", "bsnh", "bsnh"], ["bnsh", "bnhs", "bsnh", "bsnh"]] {
            for evaluator in evaluators {
                let y = try evaluator.evaluate(
                    "Attention", domain: "apus", opset: 1,
                    [
                        "scale": .float(0.3), "q_layout": .string(ByteString(layouts[0])), "k_layout": .string(ByteString(layouts[1])),
                        "v_layout": .string(ByteString(layouts[2])), "output_layout": .string(ByteString(layouts[3])),
                    ], [try moved(q, layouts[0]), try moved(k, layouts[1]), try moved(v, layouts[2])] + (mask.map { [$0] } ?? []))[0]
                let back = try moved(try #require(y), layouts[3])
                try expectClose(back, [2, 3, queries, 5], expected)
            }
        }
    }

    @Test func refusals() throws {
        let q = try randomTensor([1, 2, 3, 4]), k = try randomTensor([1, 2, 5, 4])
        func refuse(_ code: ApusError.Code, _ attributes: [String: AttributeValue], _ inputs: [Value?]) {
            expectError(code) { _ = try Evaluator().evaluate("Attention", opset: 23, attributes, inputs) }
        }
        refuse(.shapeMismatch, [:], [q, try randomTensor([1, 2, 5, 3]), k])
        refuse(.shapeMismatch, [:], [q, k, try randomTensor([1, 2, 4, 4])])
        refuse(.shapeMismatch, [:], [q, k, k, try randomTensor([3, 6])])
        refuse(.invalidModel, [:], [try randomTensor([1, 3, 8]), k, k])
        refuse(.invalidModel, ["q_num_heads": .int(0)], [q, k, k])
        refuse(.shapeMismatch, [:], [try randomTensor([1, 3, 3, 4]), k, k])
    }

    @Test func rotaryPositionsAreChecked() throws {
        let x = try randomTensor([1, 1, 2, 4]), cache = try randomTensor([3, 2])
        expectError(.invalidValue) {
            _ = try Evaluator().evaluate("RotaryEmbedding", opset: 23, [:], [x, cache, cache, .tensor(try Tensor(.int64, [1, 2], [Int64(0), 3]))])
        }
        expectError(.invalidValue) {
            _ = try Evaluator().evaluate("RotaryEmbedding", domain: "com.microsoft", opset: 1, [:], [x, try intTensor([-1]), cache, cache])
        }
    }
}
