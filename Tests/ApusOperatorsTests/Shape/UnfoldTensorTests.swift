import ApusCore
import ApusGraph
import Testing

@testable import ApusOperators

struct UnfoldTensorTests {
    @Test func windowsOfAnAxis() throws {
        let x = try floatTensor([2, 4], [0, 1, 2, 3, 4, 5, 6, 7])
        func unfold(_ attributes: [String: AttributeValue]) throws -> Value? {
            try Evaluator().evaluate("UnfoldTensor", domain: "com.microsoft", opset: 1, attributes, [x])[0]
        }
        try expectClose(try unfold(["size": .int(3)]), [2, 2, 3], [0, 1, 2, 1, 2, 3, 4, 5, 6, 5, 6, 7])
        try expectClose(try unfold(["size": .int(2), "step": .int(2)]), [2, 2, 2], [0, 1, 2, 3, 4, 5, 6, 7])
        try expectClose(try unfold(["size": .int(2), "dim": .int(0)]), [1, 4, 2], [0, 4, 1, 5, 2, 6, 3, 7])
        try expectClose(try unfold(["size": .int(1), "step": .int(.max)]), [2, 1, 1], [0, 4])
        expectError(.shapeMismatch) { _ = try unfold(["size": .int(5)]) }
        expectError(.invalidModel) { _ = try unfold(["size": .int(1), "step": .int(0)]) }
    }
}
