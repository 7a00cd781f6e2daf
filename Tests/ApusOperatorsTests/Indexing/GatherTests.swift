import ApusCore
import ApusGraph
import Testing

@testable import ApusOperators

/// Gather.
/// Expected values come from onnxruntime 1.31 or NumPy.
struct GatherTests {

    @Test
    func gather() throws {
        try expectEvaluates(
            "Gather", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [3], [1, 0, -1] as [Int64]))],
            [.tensor(try Tensor(.float32, [3, 3], [3, 4, 5, 0, 1, 2, 3, 4, 5] as [Float]))])
        try expectEvaluates(
            "Gather", opset: 1, ["axis": .int(1)],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [1], [2] as [Int64]))],
            [.tensor(try Tensor(.float32, [2, 1], [2, 5] as [Float]))])
        try expectEvaluates(
            "Gather", opset: 11, ["axis": .int(-1)],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int32, [2, 2], [0, 1, 2, -3] as [Int32]))],
            [.tensor(try Tensor(.float32, [2, 2, 2], [0, 1, 2, 0, 3, 4, 5, 3] as [Float]))])
        try expectEvaluates(
            "Gather", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [], [1] as [Int64]))],
            [.tensor(try Tensor(.float32, [3], [3, 4, 5] as [Float]))])
        try expectEvaluates(
            "Gather", opset: 13, [:],
            [.tensor(try Tensor(.int64, [3], [5, 6, 7] as [Int64])), .tensor(try Tensor(.int64, [], [-2] as [Int64]))],
            [.tensor(try Tensor(.int64, [], [6] as [Int64]))])
        try expectEvaluates(
            "Gather", opset: 13, ["axis": .int(1)],
            [.tensor(try Tensor(.float32, [2, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23] as [Float])), .tensor(try Tensor(.int64, [0], [] as [Int64]))],
            [.tensor(try Tensor(.float32, [2, 0, 4], [] as [Float]))])
        try expectEvaluates(
            "Gather", opset: 13, [:],
            [.tensor(try Tensor(.float32, [0, 3], [] as [Float])), .tensor(try Tensor(.int64, [0], [] as [Int64]))],
            [.tensor(try Tensor(.float32, [0, 3], [] as [Float]))])
        try expectEvaluates(
            "Gather", opset: 13, [:],
            [.strings(try StringTensor(shape: Shape([2]), elements: ["a", "b"])), .tensor(try Tensor(.int64, [3], [1, 1, 0] as [Int64]))],
            [.strings(try StringTensor(shape: Shape([3]), elements: ["b", "b", "a"]))])
        try expectEvaluates(
            "Gather", opset: 13, ["axis": .int(1)],
            [.tensor(try Tensor(.uint8, [2, 3, 2], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] as [UInt8])), .tensor(try Tensor(.int64, [2], [0, 2] as [Int64]))],
            [.tensor(try Tensor(.uint8, [2, 2, 2], [0, 1, 4, 5, 6, 7, 10, 11] as [UInt8]))])
        try expectEvaluates(
            "Gather", opset: 13, [:],
            [.tensor(try Tensor(.float32, [3, 0], [] as [Float])), .tensor(try Tensor(.int64, [1], [2] as [Int64]))],
            [.tensor(try Tensor(.float32, [1, 0], [] as [Float]))])
    }

    @Test
    func refuses() throws {
        expectRefuses(
            "Gather", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [1], [2] as [Int64]))], .invalidValue, "outside")
        expectRefuses(
            "Gather", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [1], [-9223372036854775808] as [Int64]))], .invalidValue, "outside")
        expectRefuses(
            "Gather", opset: 13, ["axis": .int(4)],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [1], [0] as [Int64]))], .shapeMismatch, "outside")
        expectRefuses(
            "Gather", opset: 13, [:],
            [.tensor(try Tensor(.float32, [], [0] as [Float])), .tensor(try Tensor(.int64, [1], [0] as [Int64]))], .shapeMismatch, "outside")
        expectRefuses(
            "Gather", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.float32, [1], [0] as [Float]))], .typeMismatch, "")
        expectRefuses(
            "Gather", opset: 13, [:],
            [.tensor(try Tensor(.float32, [0, 3], [] as [Float])), .tensor(try Tensor(.int64, [1], [0] as [Int64]))], .invalidValue, "outside")
    }
}
