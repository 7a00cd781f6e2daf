import ApusCore
import ApusGraph
import Testing

@testable import ApusOperators

@Suite struct RecurrentTests {
    private func inputs(batch: Int = 2, hidden: Int = 3) throws -> [Value?] {
        [try randomTensor([4, batch, 2]), try randomTensor([1, 4 * hidden, 2], seed: 2), try randomTensor([1, 4 * hidden, hidden], seed: 3)]
    }

    private func refuse(_ code: ApusError.Code, _ attributes: [String: AttributeValue], _ inputs: [Value?]) {
        expectError(code) { _ = try Evaluator().evaluate("LSTM", attributes, inputs, outputs: 3) }
    }

    @Test func refusals() throws {
        let good = try inputs()
        refuse(.invalidModel, ["hidden_size": .int(0)], good)
        refuse(.shapeMismatch, ["hidden_size": .int(1 << 40)], good)
        refuse(.invalidModel, ["direction": .string("foo")], good)
        refuse(.invalidModel, ["activations": .strings(["Sigmoid"])], good)
        refuse(.invalidModel, ["activations": .strings(["Sigmoid", "Tanh", "Foo"])], good)
        refuse(.shapeMismatch, [:], [good[0], good[1], try randomTensor([1, 12, 4])])
        refuse(.shapeMismatch, [:], [try randomTensor([4, 2]), good[1], good[2]])
        func lengths(_ values: [Int32]) throws -> Value { .tensor(try Tensor(.int32, [values.count], values)) }
        refuse(.shapeMismatch, [:], good + [nil, try lengths([1, 2, 3])])
        refuse(.invalidValue, [:], good + [nil, try lengths([-1, 2])])
        refuse(.invalidValue, [:], good + [nil, try lengths([5, 2])])
    }

    @Test func nothingToDo() throws {
        let y = try Evaluator().evaluate("LSTM", [:], try [floatTensor([4, 0, 2], [])] + inputs().dropFirst(), outputs: 3)
        #expect(y.map { $0?.shape?.dimensions } == [[4, 1, 0, 3], [1, 0, 3], [1, 0, 3]])
        let none = try Evaluator().evaluate("LSTM", [:], try [floatTensor([0, 2, 2], [])] + inputs().dropFirst(), outputs: 3)
        #expect(none.map { $0?.shape?.dimensions } == [[0, 1, 2, 3], [1, 2, 3], [1, 2, 3]])
        #expect(try none[1]?.floats().allSatisfy { $0 == 0 } == true)
    }

    /// Batch-first data gives the same numbers in another order.
    @Test(arguments: [("LSTM", 4), ("GRU", 3), ("RNN", 1)]) func layouts(_ op: String, _ gates: Int) throws {
        let x = try randomTensor([4, 3, 2]), w = try randomTensor([2, gates * 5, 2], seed: 2), r = try randomTensor([2, gates * 5, 5], seed: 3)
        let h = try randomTensor([2, 3, 5], seed: 4)
        let attributes: [String: AttributeValue] = ["direction": .string("bidirectional")]
        let plain = try Evaluator().evaluate(op, opset: 14, attributes, [x, w, r, nil, nil, h], outputs: 2)
        let other = try Evaluator().evaluate(
            op, opset: 14, attributes.merging(["layout": .int(1)]) { $1 },
            [try permuted(x, [1, 0, 2]), w, r, nil, nil, try permuted(h, [1, 0, 2])], outputs: 2)
        try expectClose(other[0], [3, 4, 2, 5], try permuted(try #require(plain[0]), [2, 0, 1, 3]).floats())
        try expectClose(other[1], [3, 2, 5], try permuted(try #require(plain[1]), [1, 0, 2]).floats())
    }
}
