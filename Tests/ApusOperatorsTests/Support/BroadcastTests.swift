import ApusCore
import Testing

@testable import ApusOperators

struct BroadcastTests {
    /// Reads operands through a plan, split at every possible place, against coordinates worked out one by one.
    @Test(arguments: [
        ([2, 3, 4], [[2, 3, 4], [2, 3, 4]], 0),
        ([2, 3, 4], [[4], [2, 3, 1]], 1),
        ([2, 3, 4], [[3, 1], [1]], 2),
        ([2, 3, 4, 5], [[1, 3, 1, 5], [2, 1, 4, 1]], 3),
        ([], [[], []], 0),
        ([1, 1], [[1], [1, 1]], 0),
        ([0, 3], [[3], [0, 1]], 1),
        ([2, 1, 3], [[2, 1, 3], [3]], 1),
    ] as [([Int], [[Int]], Int)])
    func plansReadWhatBroadcastingSays(_ target: [Int], _ operands: [[Int]], _ outerRank: Int) throws {
        let shape = try Shape(target), shapes = try operands.map { try Shape($0) }
        let plan = try BroadcastPlan(shape, operands: shapes)
        #expect(plan.outerRank == outerRank || shape.count == 0)
        var expected = [[Int]]()
        for position in 0..<shape.count {
            expected.append(shapes.map { operand in
                var index = 0, rest = position, strides = operand.broadcastStrides(to: shape)
                for axis in target.indices.reversed() {
                    index += (rest % target[axis]) * (strides.popLast() ?? 0)
                    rest /= target[axis]
                }
                return index
            })
        }
        for split in 0...shape.count {
            var found = [[Int]](repeating: [], count: shape.count)
            for range in [0..<split, split..<shape.count] {
                plan.forEachRun(in: range) { offset, count, starts in
                    for index in 0..<count {
                        found[offset + index] = shapes.indices.map { starts[$0] + index * plan.steps[$0] }
                    }
                }
            }
            #expect(found == expected)
        }
    }

    @Test func anOperandThatDoesNotFitIsAnError() throws {
        #expect(throws: ApusError.self) { try BroadcastPlan(Shape([2, 3]), operands: [Shape([2])]) }
        #expect(throws: ApusError.self) { try BroadcastPlan(Shape([1]), operands: [Shape([2])]) }
    }
}
