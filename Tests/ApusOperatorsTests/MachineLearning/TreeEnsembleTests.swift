import ApusCore
import ApusGraph
import Testing

@testable import ApusOperators

struct TreeEnsembleTests {
    /// One tree: feature 0 <= 0.5 leads to class 0, else feature 1 <= 2 decides between classes 1 and 2.
    private func attributes(_ changes: [String: AttributeValue] = [:]) -> [String: AttributeValue] {
        let strings = ["BRANCH_LEQ", "LEAF", "BRANCH_LEQ", "LEAF", "LEAF"].map { ByteString($0) }
        return [
            "nodes_treeids": .ints([0, 0, 0, 0, 0]), "nodes_nodeids": .ints([0, 1, 2, 3, 4]), "nodes_featureids": .ints([0, 0, 1, 0, 0]),
            "nodes_values": .floats([0.5, 0, 2, 0, 0]), "nodes_modes": .strings(strings), "nodes_truenodeids": .ints([1, 0, 3, 0, 0]),
            "nodes_falsenodeids": .ints([2, 0, 4, 0, 0]), "class_treeids": .ints([0, 0, 0]), "class_nodeids": .ints([1, 3, 4]),
            "class_ids": .ints([0, 1, 2]), "class_weights": .floats([1, 1, 1]), "classlabels_int64s": .ints([10, 20, 30]),
        ].merging(changes) { $1 }
    }

    private func classify(_ attributes: [String: AttributeValue]) throws -> [Value?] {
        let input = try valueOf(.float32, [3, 2], [0, 9, 1, 1, 1, 3] as [Float])
        return try Evaluator().evaluate("TreeEnsembleClassifier", domain: "ai.onnx.ml", opset: 1, attributes, [input], outputs: 2)
    }

    @Test("The leaf that the features lead to decides")
    func classifies() throws {
        let outputs = try classify(attributes())
        #expect(try outputs[0]?.asTensor().integers() == [10, 20, 30])
        #expect(try outputs[1]?.asTensor().array(Float.self) == [1, 0, 0, 0, 1, 0, 0, 0, 1])
    }

    @Test(
        "Broken trees are refused",
        arguments: [
            ("nodes_truenodeids", AttributeValue.ints([7, 0, 3, 0, 0])), ("nodes_truenodeids", .ints([1, 0, 0, 0, 0])),
            ("nodes_featureids", .ints([0, 0, -1, 0, 0])), ("nodes_featureids", .ints([0, 0, 5, 0, 0])),
            ("nodes_values", .floats([1])), ("class_ids", .ints([0, 1, 3])), ("class_nodeids", .ints([1, 3, 2])),
        ] as [(String, AttributeValue)])
    func refuses(_ name: String, _ value: AttributeValue) throws {
        #expect(throws: ApusError.self) { try classify(attributes([name: value])) }
    }

    @Test("ZipMap gives one map for each row")
    func zipMap() throws {
        let input = try valueOf(.float32, [2, 2], [0.25, 0.75, 1, 0] as [Float])
        let output = try Evaluator().evaluate(
            "ZipMap", domain: "ai.onnx.ml", opset: 1, ["classlabels_int64s": .ints([4, 5])], [input])[0]
        let maps = try #require(try output?.asSequence().elements)
        #expect(maps.count == 2)
        guard case .map(let map) = maps[0] else { return #expect(Bool(false), "no map") }
        #expect(try map.values.asTensor().array(Float.self) == [0.25, 0.75])
    }
}
