import ApusCore
import ApusGraph
import Testing

@testable import ApusOperators

/// The optimiser's own forms with channels last give what the standard operators give between Transposes.
@Suite struct ChannelsLastNormalizationTests {
    private func transposed(_ x: Value?, _ permutation: [Int]) throws -> Value? {
        try Evaluator().evaluate("Transpose", ["perm": ints(permutation)], [x])[0]
    }

    private func expectSame(
        _ operation: String, opset: Int, _ attributes: [String: AttributeValue], own: [String: AttributeValue], _ parameters: [Value?],
        dimensions: [Int] = [2, 6, 5, 3]
    ) throws {
        let rank = dimensions.count
        let toLast = [0] + Array(2..<rank) + [1], toFirst = [0, rank - 1] + Array(1..<(rank - 1))
        for type in [ElementType.float32, .float64, .float16] {
            let x = try randomTensor(dimensions).converted(type), given = try parameters.map { try $0?.converted(type) }
            let expected = try #require(try Evaluator().evaluate(operation, opset: opset, attributes, [x] + given)[0])
            for evaluator in evaluators {
                let y = try evaluator.evaluate(operation, domain: "apus", opset: 1, own, [try transposed(x, toLast)] + given)[0]
                try expectClose(
                    try transposed(y, toFirst), dimensions, try expected.floats(), tolerance: type == .float16 ? 4e-3 : 1e-5, "\(type)")
            }
        }
    }

    @Test(arguments: [[2, 6, 5, 3], [1, 6, 7], [2, 6, 2, 3, 2], [3, 6]]) func batchNormalization(_ dimensions: [Int]) throws {
        let parameters = try (2..<5).map { try randomTensor([6], seed: $0) } + [try floatTensor([6], [1, 2, 0.5, 0.1, 3, 1])]
        try expectSame(
            "BatchNormalization", opset: 15, ["epsilon": .float(1e-3)], own: ["epsilon": .float(1e-3)], parameters, dimensions: dimensions)
    }

    @Test(arguments: [[2, 6, 5, 3], [1, 6, 70], [2, 6, 2, 3, 2]]) func instanceNormalization(_ dimensions: [Int]) throws {
        let parameters = try (2..<4).map { try randomTensor([6], seed: $0) }
        try expectSame("InstanceNormalization", opset: 6, [:], own: [:], parameters, dimensions: dimensions)
    }

    @Test(arguments: [1, 2, 3, 6]) func groupNormalization(_ groups: Int) throws {
        let number: [String: AttributeValue] = ["num_groups": .int(Int64(groups))]
        let perChannel = try (2..<4).map { try randomTensor([6], seed: $0) }
        try expectSame("GroupNormalization", opset: 21, number, own: number, perChannel)
        let perGroup = try (2..<4).map { try randomTensor([groups], seed: $0) }
        try expectSame(
            "GroupNormalization", opset: 18, number, own: number.merging(["scales_groups": .int(1)]) { $1 }, perGroup)
    }

    @Test func channelsAreTheLastAxis() throws {
        let x = try randomTensor([1, 4, 3]), three = try randomTensor([3]), four = try randomTensor([4])
        _ = try Evaluator().evaluate("InstanceNormalization", domain: "apus", [:], [x, three, three])
        expectError(.shapeMismatch) { _ = try Evaluator().evaluate("InstanceNormalization", domain: "apus", [:], [x, four, four]) }
        expectError(.shapeMismatch) {
            _ = try Evaluator().evaluate("GroupNormalization", domain: "apus", ["num_groups": .int(2)], [x, three, three])
        }
        expectError(.shapeMismatch) { _ = try Evaluator().evaluate("BatchNormalization", domain: "apus", [:], [x, four, four, four, four]) }
        expectError(.invalidModel) {
            _ = try Evaluator().evaluate("BatchNormalization", domain: "apus", ["training_mode": .int(1)], [x, three, three, three, three])
        }
    }
}
