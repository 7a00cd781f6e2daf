import ApusCore
import ApusGraph
import Testing

@testable import ApusOperators

/// Sequences, optionals and strings.
struct SequenceTests {
    private func vector(_ elements: Float...) throws -> Value { .tensor(try Tensor(.float32, [elements.count], elements)) }
    private func scalar(_ number: Int64) throws -> Value { .tensor(try Tensor(.int64, [], [number])) }
    private func sequence(_ elements: Value...) -> Value {
        .sequence(SequenceValue(elementType: .tensor(.float32, .unknown), elements: elements))
    }
    private func strings(_ dimensions: [Int], _ elements: [ByteString]) throws -> Value {
        .strings(try StringTensor(shape: Shape(dimensions), elements: elements))
    }

    @Test
    func makesAndEdits() throws {
        let a = try vector(1), b = try vector(2, 3), c = try vector(4)
        try expectEvaluates("SequenceConstruct", opset: 11, [:], [a, b], [sequence(a, b)])
        try expectEvaluates("SequenceEmpty", opset: 11, ["dtype": .int(7)], [], [sequence()])
        try expectEvaluates("SequenceInsert", opset: 11, [:], [sequence(a, b), c], [sequence(a, b, c)])
        try expectEvaluates("SequenceInsert", opset: 11, [:], [sequence(a, b), c, scalar(0)], [sequence(c, a, b)])
        try expectEvaluates("SequenceInsert", opset: 11, [:], [sequence(a, b), c, scalar(-1)], [sequence(a, c, b)])
        try expectEvaluates("SequenceErase", opset: 11, [:], [sequence(a, b)], [sequence(a)])
        try expectEvaluates("SequenceErase", opset: 11, [:], [sequence(a, b), scalar(-2)], [sequence(b)])
        try expectEvaluates("SequenceAt", opset: 11, [:], [sequence(a, b), scalar(-1)], [b])
        try expectEvaluates("SequenceLength", opset: 11, [:], [sequence(a, b)], [scalar(2)])
    }

    @Test
    func refuses() throws {
        let a = try vector(1)
        expectRefuses("SequenceAt", opset: 11, [:], [sequence(a), try scalar(1)], .invalidValue, "outside")
        expectRefuses("SequenceAt", opset: 11, [:], [sequence(a), try scalar(.min)], .invalidValue, "outside")
        expectRefuses("SequenceErase", opset: 11, [:], [sequence()], .invalidValue, "nothing to erase")
        expectRefuses("SequenceInsert", opset: 11, [:], [sequence(a), a, try scalar(5)], .invalidValue, "outside")
        expectRefuses("SequenceInsert", opset: 11, [:], [sequence(a), try scalar(1)], .typeMismatch, "cannot hold both")
        expectRefuses("SequenceLength", opset: 11, [:], [a], .typeMismatch, "sequence")
        expectRefuses("ConcatFromSequence", opset: 11, ["axis": .int(0)], [sequence()], .invalidValue, "empty sequence")
        expectRefuses("SplitToSequence", opset: 11, [:], [a, try scalar(0)], .invalidValue, "split is 0")
    }

    @Test
    func splitsAndJoins() throws {
        let matrix = Value.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float]))
        let left = Value.tensor(try Tensor(.float32, [2, 2], [0, 1, 3, 4] as [Float]))
        let right = Value.tensor(try Tensor(.float32, [2, 1], [2, 5] as [Float]))
        try expectEvaluates("SplitToSequence", opset: 11, ["axis": .int(1)], [matrix, scalar(2)], [sequence(left, right)])
        let sizes = Value.tensor(try .int64([2, 1]))
        try expectEvaluates("SplitToSequence", opset: 11, ["axis": .int(-1)], [matrix, sizes], [sequence(left, right)])
        try expectEvaluates(
            "SplitToSequence", opset: 11, ["keepdims": .int(0)], [matrix], [sequence(vector(0, 1, 2), vector(3, 4, 5))])
        try expectEvaluates("ConcatFromSequence", opset: 11, ["axis": .int(1)], [sequence(left, right)], [matrix])
        try expectEvaluates(
            "ConcatFromSequence", opset: 11, ["axis": .int(0), "new_axis": .int(1)], [sequence(vector(0, 1, 2), vector(3, 4, 5))],
            [matrix])
        try expectEvaluates(
            "SplitToSequence", opset: 11, [:], [strings([2], ["a", "b"])], [sequence(strings([1], ["a"]), strings([1], ["b"]))])
    }

    @Test
    func optionals() throws {
        let a = try vector(1)
        let type = ValueType.tensor(.float32, .unknown)
        let full = Value.optional(OptionalValue(elementType: type, element: a))
        let empty = Value.optional(OptionalValue(elementType: type, element: nil))
        let yes = Value.tensor(try Tensor(.bool, [], [1] as [UInt8])), no = Value.tensor(try Tensor(.bool, [], [0] as [UInt8]))
        try expectEvaluates("Optional", opset: 15, [:], [a], [full])
        try expectEvaluates("Optional", opset: 15, ["type": .type(type)], [], [empty])
        try expectEvaluates("OptionalGetElement", opset: 15, [:], [full], [a])
        try expectEvaluates("OptionalGetElement", opset: 18, [:], [a], [a])
        try expectEvaluates("OptionalHasElement", opset: 15, [:], [full], [yes])
        try expectEvaluates("OptionalHasElement", opset: 15, [:], [empty], [no])
        try expectEvaluates("OptionalHasElement", opset: 18, [:], [], [no])
        try expectEvaluates("OptionalHasElement", opset: 18, [:], [a], [yes])
        expectRefuses("OptionalGetElement", opset: 15, [:], [empty], .invalidValue, "empty")
        expectRefuses("OptionalGetElement", opset: 15, [:], [a], .typeMismatch, "optional")
        expectRefuses("Optional", opset: 15, [:], [], .invalidModel, "type")
    }

    @Test
    func joinsAndCutsStrings() throws {
        try expectEvaluates(
            "StringConcat", opset: 20, [:], [strings([2, 1], ["a", "b"]), strings([2], ["x", ""])],
            [strings([2, 2], ["ax", "a", "bx", "b"])])
        let counts = Value.tensor(try .int64([2, 0, 3]))
        try expectEvaluates(
            "StringSplit", opset: 20, [:], [strings([3], [" a  b ", "", "c d\te"])],
            [strings([3, 3], ["a", "b", "", "", "", "", "c", "d", "e"]), counts])
        try expectEvaluates(
            "StringSplit", opset: 20, ["delimiter": .string(","), "maxsplit": .int(1)], [strings([2], ["a,b,c", ","])],
            [strings([2, 2], ["a", "b,c", "", ""]), .tensor(try .int64([2, 2]))])
    }
}
