import ApusCore
import ApusGraph
import Testing

@testable import ApusOperators

@Suite struct PoolTests {
    private func refuse(_ code: ApusError.Code, _ op: String, _ attributes: [String: AttributeValue], opset: Int = 17) {
        expectError(code) { _ = try Evaluator().evaluate(op, opset: opset, attributes, [try randomTensor([1, 2, 5, 5])]) }
    }

    @Test(arguments: ["MaxPool", "AveragePool", "LpPool"]) func refusals(_ op: String) {
        refuse(.invalidModel, op, ["kernel_shape": ints([-1, 2])])
        refuse(.invalidModel, op, ["kernel_shape": ints([0, 2])])
        refuse(.invalidModel, op, ["kernel_shape": ints([2, 2]), "strides": ints([0, 1])])
        refuse(.shapeMismatch, op, ["kernel_shape": ints([6, 2])])
        refuse(.shapeMismatch, op, ["kernel_shape": ints([2])])
        refuse(.shapeMismatch, op, ["kernel_shape": ints([2, 2]), "pads": ints([1, 1])])
        refuse(.invalidModel, op, [:])
        refuse(.invalidModel, op, ["kernel_shape": ints([2, 2]), "ceil_mode": .int(1)], opset: 9)
    }

    @Test(arguments: ["MaxPool", "AveragePool"]) func channelsLastIsTheSame(_ op: String) throws {
        let x = try randomTensor([2, 5, 6, 7])
        let attributes: [String: AttributeValue] = ["kernel_shape": ints([3, 2]), "strides": ints([2, 2]), "pads": ints([1, 0, 1, 1])]
        for evaluator in evaluators {
            let first = try #require(try evaluator.evaluate(op, opset: 19, attributes, [x])[0])
            let last = try #require(try evaluator.evaluate(op, domain: "apus", opset: 1, attributes, [try channelsLast(x)])[0])
            #expect(try channelsFirst(last).floats() == first.floats())
        }
    }

    @Test func globalAverageChannelsLast() throws {
        let x = try randomTensor([2, 5, 6, 7])
        let first = try #require(try Evaluator().evaluate("GlobalAveragePool", [:], [x])[0])
        let last = try Evaluator().evaluate("GlobalAveragePool", domain: "apus", opset: 1, [:], [try channelsLast(x)])[0]
        try expectClose(last, [2, 1, 1, 5], try first.floats())
    }

    @Test func emptyBatch() throws {
        let y = try Evaluator().evaluate("MaxPool", ["kernel_shape": ints([2, 2])], [try floatTensor([0, 3, 4, 4], [])])[0]
        #expect(y?.shape?.dimensions == [0, 3, 3, 3])
    }

    @Test func notANumberStays() throws {
        let x = try floatTensor([1, 1, 3], [1, .nan, 2])
        for outputs in 1...2 {
            let y = try Evaluator().evaluate("MaxPool", ["kernel_shape": ints([2])], [x], outputs: outputs)[0]
            #expect(try y?.floats().allSatisfy(\.isNaN) == true)
        }
    }

    @Test func unpoolChecksPlaces() throws {
        func run(_ places: [Int]) throws -> Value? {
            try Evaluator().evaluate(
                "MaxUnpool", ["kernel_shape": ints([2]), "strides": ints([2])],
                [try floatTensor([1, 1, 2], [5, 6]), .tensor(try Tensor(.int64, [1, 1, 2], places.map(Int64.init)))])[0]
        }
        try expectClose(try run([1, 2]), [1, 1, 4], [0, 5, 6, 0])
        expectError(.invalidValue) { _ = try run([1, 4]) }
        expectError(.invalidValue) { _ = try run([-1, 0]) }
    }
}
