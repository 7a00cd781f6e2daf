import ApusCore
import ApusGraph
import Testing

@testable import ApusOperators

struct DistanceTests {
    @Test func distancesOfRows() throws {
        let a = try floatTensor([2, 3], [0, 0, 0, 1, 2, 3]), b = try floatTensor([2, 3], [1, 2, 2, 4, 6, 3])
        for evaluator in evaluators {
            let squares = try evaluator.evaluate("CDist", domain: "com.microsoft", opset: 1, [:], [a, b])
            try expectClose(squares[0], [2, 2], [9, 61, 1, 25])
            let distances = try evaluator.evaluate("CDist", domain: "com.microsoft", opset: 1, ["metric": .string("euclidean")], [a, b])
            try expectClose(distances[0], [2, 2], [3, 7.8102497, 1, 5])
        }
        let none = try Evaluator().evaluate("CDist", domain: "com.microsoft", opset: 1, [:], [floatTensor([0, 3], []), b])
        #expect(none[0]?.shape?.dimensions == [0, 2])
        expectError(.shapeMismatch) {
            _ = try Evaluator().evaluate("CDist", domain: "com.microsoft", opset: 1, [:], [a, floatTensor([1, 2], [0, 0])])
        }
        expectError(.invalidModel) {
            _ = try Evaluator().evaluate("CDist", domain: "com.microsoft", opset: 1, ["metric": .string("cosine")], [a, b])
        }
    }

    @Test func theCheapestWay() throws {
        func path(_ shape: [Int], _ costs: [Float]) throws -> [Int32]? {
            try Evaluator().evaluate("DynamicTimeWarping", domain: "com.microsoft", opset: 1, [:], [floatTensor(shape, costs)])[0]?
                .asTensor().array(Int32.self)
        }
        #expect(try path([1, 1], [5]) == [0, 0])
        #expect(try path([3, 4], [1, 9, 9, 9, 9, 1, 1, 9, 9, 9, 9, 1]) == [0, 1, 1, 2, 0, 1, 2, 3])
        #expect(try path([1, 2, 3], [1, 1, 1, 5, 5, 1]) == [0, 0, 1, 0, 1, 2])
        #expect(try path([2, 1], [.nan, 1]) == [0, 1, 0, 0])
        expectError(.shapeMismatch) { _ = try path([2, 1, 3], [Float](repeating: 0, count: 6)) }
        expectError(.shapeMismatch) { _ = try path([0, 3], []) }
    }
}
