import ApusCore
import ApusGraph
import Testing

@testable import ApusOperators

/// Slice: attributes and inputs, all extremes.
/// Expected values come from onnxruntime 1.31 or NumPy.
struct SliceTests {

    @Test
    func ranges() throws {
        try expectEvaluates(
            "Slice", opset: 1, ["starts": .ints([0, 1]), "ends": .ints([1, 3])],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 2], [1, 2] as [Float]))])
        try expectEvaluates(
            "Slice", opset: 1, ["starts": .ints([-2]), "ends": .ints([1000]), "axes": .ints([1])],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float]))],
            [.tensor(try Tensor(.float32, [2, 2], [1, 2, 4, 5] as [Float]))])
        try expectEvaluates(
            "Slice", opset: 10, [:],
            [.tensor(try Tensor(.float32, [2, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23] as [Float])), .tensor(try Tensor(.int64, [1], [1] as [Int64])), .tensor(try Tensor(.int64, [1], [3] as [Int64])), .tensor(try Tensor(.int64, [1], [2] as [Int64])), .tensor(try Tensor(.int64, [1], [1] as [Int64]))],
            [.tensor(try Tensor(.float32, [2, 3, 2], [1, 2, 5, 6, 9, 10, 13, 14, 17, 18, 21, 22] as [Float]))])
        try expectEvaluates(
            "Slice", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23] as [Float])), .tensor(try Tensor(.int64, [2], [0, 0] as [Int64])), .tensor(try Tensor(.int64, [2], [2, 4] as [Int64])), .tensor(try Tensor(.int64, [2], [0, -1] as [Int64])), .tensor(try Tensor(.int64, [2], [1, 2] as [Int64]))],
            [.tensor(try Tensor(.float32, [2, 3, 2], [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22] as [Float]))])
        try expectEvaluates(
            "Slice", opset: 13, [:],
            [.tensor(try Tensor(.float32, [4], [0, 1, 2, 3] as [Float])), .tensor(try Tensor(.int64, [1], [0] as [Int64])), .tensor(try Tensor(.int64, [1], [9223372036854775807] as [Int64])), .tensor(try Tensor(.int64, [1], [0] as [Int64])), .tensor(try Tensor(.int64, [1], [1] as [Int64]))],
            [.tensor(try Tensor(.float32, [4], [0, 1, 2, 3] as [Float]))])
        try expectEvaluates(
            "Slice", opset: 13, [:],
            [.tensor(try Tensor(.float32, [4], [0, 1, 2, 3] as [Float])), .tensor(try Tensor(.int64, [1], [9223372036854775807] as [Int64])), .tensor(try Tensor(.int64, [1], [-9223372036854775808] as [Int64])), .tensor(try Tensor(.int64, [1], [0] as [Int64])), .tensor(try Tensor(.int64, [1], [-1] as [Int64]))],
            [.tensor(try Tensor(.float32, [4], [3, 2, 1, 0] as [Float]))])
        try expectEvaluates(
            "Slice", opset: 13, [:],
            [.tensor(try Tensor(.float32, [4], [0, 1, 2, 3] as [Float])), .tensor(try Tensor(.int64, [1], [1] as [Int64])), .tensor(try Tensor(.int64, [1], [-9223372036854775808] as [Int64])), .tensor(try Tensor(.int64, [1], [0] as [Int64])), .tensor(try Tensor(.int64, [1], [-9223372036854775807] as [Int64]))],
            [.tensor(try Tensor(.float32, [1], [1] as [Float]))])
        try expectEvaluates(
            "Slice", opset: 13, [:],
            [.tensor(try Tensor(.float32, [4], [0, 1, 2, 3] as [Float])), .tensor(try Tensor(.int64, [1], [5] as [Int64])), .tensor(try Tensor(.int64, [1], [9] as [Int64])), .tensor(try Tensor(.int64, [1], [0] as [Int64])), .tensor(try Tensor(.int64, [1], [1] as [Int64]))],
            [.tensor(try Tensor(.float32, [0], [] as [Float]))])
        try expectEvaluates(
            "Slice", opset: 13, [:],
            [.tensor(try Tensor(.float32, [4], [0, 1, 2, 3] as [Float])), .tensor(try Tensor(.int64, [1], [-1] as [Int64])), .tensor(try Tensor(.int64, [1], [-4] as [Int64])), .tensor(try Tensor(.int64, [1], [0] as [Int64])), .tensor(try Tensor(.int64, [1], [-1] as [Int64]))],
            [.tensor(try Tensor(.float32, [3], [3, 2, 1] as [Float]))])
        try expectEvaluates(
            "Slice", opset: 13, [:],
            [.tensor(try Tensor(.float32, [4], [0, 1, 2, 3] as [Float])), .tensor(try Tensor(.int64, [1], [3] as [Int64])), .tensor(try Tensor(.int64, [1], [0] as [Int64])), .tensor(try Tensor(.int64, [1], [0] as [Int64])), .tensor(try Tensor(.int64, [1], [-2] as [Int64]))],
            [.tensor(try Tensor(.float32, [2], [3, 1] as [Float]))])
        try expectEvaluates(
            "Slice", opset: 13, [:],
            [.tensor(try Tensor(.float32, [4], [0, 1, 2, 3] as [Float])), .tensor(try Tensor(.int64, [1], [-100] as [Int64])), .tensor(try Tensor(.int64, [1], [100] as [Int64])), .tensor(try Tensor(.int64, [1], [0] as [Int64])), .tensor(try Tensor(.int64, [1], [3] as [Int64]))],
            [.tensor(try Tensor(.float32, [2], [0, 3] as [Float]))])
        try expectEvaluates(
            "Slice", opset: 13, [:],
            [.tensor(try Tensor(.float32, [4], [0, 1, 2, 3] as [Float])), .tensor(try Tensor(.int64, [1], [2] as [Int64])), .tensor(try Tensor(.int64, [1], [1] as [Int64])), .tensor(try Tensor(.int64, [1], [0] as [Int64])), .tensor(try Tensor(.int64, [1], [1] as [Int64]))],
            [.tensor(try Tensor(.float32, [0], [] as [Float]))])
        try expectEvaluates(
            "Slice", opset: 13, [:],
            [.tensor(try Tensor(.float32, [4], [0, 1, 2, 3] as [Float])), .tensor(try Tensor(.int64, [1], [1] as [Int64])), .tensor(try Tensor(.int64, [1], [2] as [Int64])), .tensor(try Tensor(.int64, [1], [0] as [Int64])), .tensor(try Tensor(.int64, [1], [9223372036854775807] as [Int64]))],
            [.tensor(try Tensor(.float32, [1], [1] as [Float]))])
        try expectEvaluates(
            "Slice", opset: 13, [:],
            [.tensor(try Tensor(.float32, [4], [0, 1, 2, 3] as [Float])), .tensor(try Tensor(.int64, [1], [3] as [Int64])), .tensor(try Tensor(.int64, [1], [-9223372036854775808] as [Int64])), .tensor(try Tensor(.int64, [1], [0] as [Int64])), .tensor(try Tensor(.int64, [1], [-9223372036854775808] as [Int64]))],
            [.tensor(try Tensor(.float32, [1], [3] as [Float]))])
        try expectEvaluates(
            "Slice", opset: 13, [:],
            [.tensor(try Tensor(.float32, [4], [0, 1, 2, 3] as [Float])), .tensor(try Tensor(.int64, [1], [0] as [Int64])), .tensor(try Tensor(.int64, [1], [0] as [Int64])), .tensor(try Tensor(.int64, [1], [0] as [Int64])), .tensor(try Tensor(.int64, [1], [1] as [Int64]))],
            [.tensor(try Tensor(.float32, [0], [] as [Float]))])
        try expectEvaluates(
            "Slice", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [1], [1] as [Int64])), .tensor(try Tensor(.int64, [1], [2] as [Int64]))],
            [.tensor(try Tensor(.float32, [1, 3], [3, 4, 5] as [Float]))])
        try expectEvaluates(
            "Slice", opset: 11, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int32, [1], [1] as [Int32])), .tensor(try Tensor(.int32, [1], [3] as [Int32])), .tensor(try Tensor(.int32, [1], [-1] as [Int32]))],
            [.tensor(try Tensor(.float32, [2, 2], [1, 2, 4, 5] as [Float]))])
        try expectEvaluates(
            "Slice", opset: 13, [:],
            [.tensor(try Tensor(.float32, [0, 3], [] as [Float])), .tensor(try Tensor(.int64, [1], [0] as [Int64])), .tensor(try Tensor(.int64, [1], [2] as [Int64]))],
            [.tensor(try Tensor(.float32, [0, 3], [] as [Float]))])
        try expectEvaluates(
            "Slice", opset: 13, [:],
            [.tensor(try Tensor(.float32, [0], [] as [Float])), .tensor(try Tensor(.int64, [1], [-1] as [Int64])), .tensor(try Tensor(.int64, [1], [-9223372036854775808] as [Int64])), .tensor(try Tensor(.int64, [1], [0] as [Int64])), .tensor(try Tensor(.int64, [1], [-1] as [Int64]))],
            [.tensor(try Tensor(.float32, [0], [] as [Float]))])
        try expectEvaluates(
            "Slice", opset: 13, [:],
            [.strings(try StringTensor(shape: Shape([3]), elements: ["a", "b", "c"])), .tensor(try Tensor(.int64, [1], [2] as [Int64])), .tensor(try Tensor(.int64, [1], [-9223372036854775808] as [Int64])), .tensor(try Tensor(.int64, [1], [0] as [Int64])), .tensor(try Tensor(.int64, [1], [-1] as [Int64]))],
            [.strings(try StringTensor(shape: Shape([3]), elements: ["c", "b", "a"]))])
        try expectEvaluates(
            "Slice", opset: 13, [:],
            [.tensor(try Tensor(.int8, [3, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] as [Int8])), .tensor(try Tensor(.int64, [2], [2, 3] as [Int64])), .tensor(try Tensor(.int64, [2], [-9223372036854775808, -9223372036854775808] as [Int64])), .tensor(try Tensor(.int64, [2], [0, 1] as [Int64])), .tensor(try Tensor(.int64, [2], [-2, -1] as [Int64]))],
            [.tensor(try Tensor(.int8, [2, 4], [11, 10, 9, 8, 3, 2, 1, 0] as [Int8]))])
        try expectEvaluates(
            "Slice", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [1], [1] as [Int64])), .tensor(try Tensor(.int64, [1], [2] as [Int64])), nil, .tensor(try Tensor(.int64, [1], [1] as [Int64]))],
            [.tensor(try Tensor(.float32, [1, 3], [3, 4, 5] as [Float]))])
    }

    @Test
    func refuses() throws {
        expectRefuses(
            "Slice", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [1], [0] as [Int64])), .tensor(try Tensor(.int64, [1], [2] as [Int64])), .tensor(try Tensor(.int64, [1], [0] as [Int64])), .tensor(try Tensor(.int64, [1], [0] as [Int64]))], .invalidValue, "0")
        expectRefuses(
            "Slice", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [1], [0] as [Int64])), .tensor(try Tensor(.int64, [1], [2] as [Int64])), .tensor(try Tensor(.int64, [1], [2] as [Int64]))], .shapeMismatch, "outside")
        expectRefuses(
            "Slice", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [2], [0, 0] as [Int64])), .tensor(try Tensor(.int64, [2], [2, 2] as [Int64])), .tensor(try Tensor(.int64, [2], [0, -2] as [Int64]))], .shapeMismatch, "twice")
        expectRefuses(
            "Slice", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [2], [0, 0] as [Int64])), .tensor(try Tensor(.int64, [1], [2] as [Int64]))], .shapeMismatch, "one length")
        expectRefuses(
            "Slice", opset: 13, [:],
            [.tensor(try Tensor(.float32, [], [0] as [Float])), .tensor(try Tensor(.int64, [1], [0] as [Int64])), .tensor(try Tensor(.int64, [1], [2] as [Int64]))], .shapeMismatch, "outside")
        expectRefuses(
            "Slice", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.float32, [1], [0] as [Float])), .tensor(try Tensor(.int64, [1], [2] as [Int64]))], .typeMismatch, "int32, int64")
    }
}
