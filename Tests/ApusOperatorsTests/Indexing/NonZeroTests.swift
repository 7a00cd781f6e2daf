import ApusCore
import ApusGraph
import Testing

@testable import ApusOperators

/// NonZero and Unique.
/// Expected values come from onnxruntime 1.31 or NumPy.
struct NonZeroTests {

    @Test
    func nonZero() throws {
        try expectEvaluates(
            "NonZero", opset: 9, [:],
            [.tensor(try Tensor(.float32, [2, 3], [1, 0, 2, 0, 0, -0.0] as [Float]))],
            [.tensor(try Tensor(.int64, [2, 2], [0, 0, 0, 2] as [Int64]))])
        try expectEvaluates(
            "NonZero", opset: 13, [:],
            [.tensor(try Tensor(.bool, [2], [1, 0] as [UInt8]))],
            [.tensor(try Tensor(.int64, [1, 1], [0] as [Int64]))])
        try expectEvaluates(
            "NonZero", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 0], [] as [Float]))],
            [.tensor(try Tensor(.int64, [2, 0], [] as [Int64]))])
        try expectEvaluates(
            "NonZero", opset: 13, [:],
            [.tensor(try Tensor(.float32, [], [3] as [Float]))],
            [.tensor(try Tensor(.int64, [0, 1], [] as [Int64]))])
        try expectEvaluates(
            "NonZero", opset: 13, [:],
            [.tensor(try Tensor(.int64, [3], [0, -5, 0] as [Int64]))],
            [.tensor(try Tensor(.int64, [1, 1], [1] as [Int64]))])
        try expectEvaluates(
            "NonZero", opset: 13, [:],
            [.strings(try StringTensor(shape: Shape([2]), elements: ["", "a"]))],
            [.tensor(try Tensor(.int64, [1, 1], [1] as [Int64]))])
        try expectEvaluates(
            "NonZero", opset: 13, [:],
            [.tensor(try Tensor(.float64, [3], [0.0, -0.0, .nan] as [Double]))],
            [.tensor(try Tensor(.int64, [1, 1], [2] as [Int64]))])
    }

    @Test
    func unique() throws {
        try expectEvaluates(
            "Unique", opset: 11, [:],
            [.tensor(try Tensor(.float32, [6], [2, 1, 1, 3, 4, 3] as [Float]))],
            [.tensor(try Tensor(.float32, [4], [1, 2, 3, 4] as [Float])), .tensor(try Tensor(.int64, [4], [1, 0, 3, 4] as [Int64])), .tensor(try Tensor(.int64, [6], [1, 0, 0, 2, 3, 2] as [Int64])), .tensor(try Tensor(.int64, [4], [2, 1, 2, 1] as [Int64]))])
        try expectEvaluates(
            "Unique", opset: 11, ["sorted": .int(0)],
            [.tensor(try Tensor(.float32, [6], [2, 1, 1, 3, 4, 3] as [Float]))],
            [.tensor(try Tensor(.float32, [4], [2, 1, 3, 4] as [Float])), .tensor(try Tensor(.int64, [4], [0, 1, 3, 4] as [Int64])), .tensor(try Tensor(.int64, [6], [0, 1, 1, 2, 3, 2] as [Int64])), .tensor(try Tensor(.int64, [4], [1, 2, 2, 1] as [Int64]))])
        try expectEvaluates(
            "Unique", opset: 11, ["axis": .int(0)],
            [.tensor(try Tensor(.float32, [3, 3], [1, 0, 0, 1, 0, 0, 2, 3, 4] as [Float]))],
            [.tensor(try Tensor(.float32, [2, 3], [1, 0, 0, 2, 3, 4] as [Float])), .tensor(try Tensor(.int64, [2], [0, 2] as [Int64])), .tensor(try Tensor(.int64, [3], [0, 0, 1] as [Int64])), .tensor(try Tensor(.int64, [2], [2, 1] as [Int64]))])
        try expectEvaluates(
            "Unique", opset: 11, ["axis": .int(-1), "sorted": .int(0)],
            [.tensor(try Tensor(.int64, [2, 3], [3, 1, 3, 4, 0, 4] as [Int64]))],
            [.tensor(try Tensor(.int64, [2, 2], [3, 1, 4, 0] as [Int64])), .tensor(try Tensor(.int64, [2], [0, 1] as [Int64])), .tensor(try Tensor(.int64, [3], [0, 1, 0] as [Int64])), .tensor(try Tensor(.int64, [2], [2, 1] as [Int64]))])
        try expectEvaluates(
            "Unique", opset: 11, [:],
            [.strings(try StringTensor(shape: Shape([3]), elements: ["b", "a", "b"]))],
            [.strings(try StringTensor(shape: Shape([2]), elements: ["a", "b"])), .tensor(try Tensor(.int64, [2], [1, 0] as [Int64])), .tensor(try Tensor(.int64, [3], [1, 0, 1] as [Int64])), .tensor(try Tensor(.int64, [2], [1, 2] as [Int64]))])
        try expectEvaluates(
            "Unique", opset: 11, [:],
            [.tensor(try Tensor(.int8, [2, 2], [2, 1, 2, 2] as [Int8]))],
            [.tensor(try Tensor(.int8, [2], [1, 2] as [Int8]))])
        expectRefuses(
            "Unique", opset: 11, ["axis": .int(2)],
            [.tensor(try Tensor(.float32, [1], [1] as [Float]))], .shapeMismatch, "outside")
    }
}
