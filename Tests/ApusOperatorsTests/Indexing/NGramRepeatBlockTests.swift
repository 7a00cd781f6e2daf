import ApusCore
import ApusGraph
import Testing

@testable import ApusOperators

struct NGramRepeatBlockTests {
    private func scores(_ ids: [Int64], size: Int, vocabulary: Int = 5) throws -> [Float]? {
        try Evaluator().evaluate(
            "NGramRepeatBlock", domain: "com.microsoft", opset: 1, ["ngram_size": .int(Int64(size))],
            [.tensor(Tensor(.int64, [1, ids.count], ids)), floatTensor([1, vocabulary], [Float](repeating: 1, count: vocabulary))]
        )[0]?.asTensor().array(Float.self)
    }

    @Test func whatWouldRepeatIsBarred() throws {
        let out = -Float.infinity
        #expect(try scores([1, 2, 3, 1, 2], size: 3) == [1, 1, 1, out, 1])
        #expect(try scores([1, 2, 3, 1, 2], size: 2) == [1, 1, 1, out, 1])
        #expect(try scores([0, 4], size: 1) == [out, 1, 1, 1, out])
        #expect(try scores([1, 2], size: 3) == [1, 1, 1, 1, 1])
        expectError(.invalidValue) { _ = try scores([7, 1, 7], size: 1) }
        expectError(.invalidModel) { _ = try scores([1], size: 0) }
    }
}
