import ApusCore
import ApusGraph
import Testing

@testable import ApusOperators

/// Reshape, Flatten, Squeeze and Unsqueeze in all their eras.
/// Expected values come from onnxruntime 1.31 or NumPy.
struct ReshapeTests {

    @Test
    func reshape() throws {
        try expectEvaluates(
            "Reshape", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23] as [Float])), .tensor(try Tensor(.int64, [2], [4, 6] as [Int64]))],
            [.tensor(try Tensor(.float32, [4, 6], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23] as [Float]))])
        try expectEvaluates(
            "Reshape", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23] as [Float])), .tensor(try Tensor(.int64, [2], [0, -1] as [Int64]))],
            [.tensor(try Tensor(.float32, [2, 12], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23] as [Float]))])
        try expectEvaluates(
            "Reshape", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23] as [Float])), .tensor(try Tensor(.int64, [1], [-1] as [Int64]))],
            [.tensor(try Tensor(.float32, [24], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23] as [Float]))])
        try expectEvaluates(
            "Reshape", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23] as [Float])), .tensor(try Tensor(.int64, [4], [2, 0, 2, 2] as [Int64]))],
            [.tensor(try Tensor(.float32, [2, 3, 2, 2], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23] as [Float]))])
        try expectEvaluates(
            "Reshape", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23] as [Float])), .tensor(try Tensor(.int64, [1], [24] as [Int64]))],
            [.tensor(try Tensor(.float32, [24], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23] as [Float]))])
        try expectEvaluates(
            "Reshape", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23] as [Float])), .tensor(try Tensor(.int64, [3], [-1, 1, 12] as [Int64]))],
            [.tensor(try Tensor(.float32, [2, 1, 12], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23] as [Float]))])
        try expectEvaluates(
            "Reshape", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23] as [Float])), .tensor(try Tensor(.int64, [3], [2, 3, 4] as [Int64]))],
            [.tensor(try Tensor(.float32, [2, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23] as [Float]))])
        try expectEvaluates(
            "Reshape", opset: 14, ["allowzero": .int(1)],
            [.tensor(try Tensor(.float32, [0, 3], [] as [Float])), .tensor(try Tensor(.int64, [2], [3, 0] as [Int64]))],
            [.tensor(try Tensor(.float32, [3, 0], [] as [Float]))])
        try expectEvaluates(
            "Reshape", opset: 14, ["allowzero": .int(0)],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [2], [0, 3] as [Int64]))],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float]))])
        try expectEvaluates(
            "Reshape", opset: 5, [:],
            [.tensor(try Tensor(.float32, [2, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23] as [Float])), .tensor(try Tensor(.int64, [2], [-1, 4] as [Int64]))],
            [.tensor(try Tensor(.float32, [6, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23] as [Float]))])
        try expectEvaluates(
            "Reshape", opset: 1, ["shape": .ints([4, -1])],
            [.tensor(try Tensor(.float32, [2, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23] as [Float]))],
            [.tensor(try Tensor(.float32, [4, 6], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23] as [Float]))])
        try expectEvaluates(
            "Reshape", opset: 13, [:],
            [.tensor(try Tensor(.float32, [], [0] as [Float])), .tensor(try Tensor(.int64, [2], [1, 1] as [Int64]))],
            [.tensor(try Tensor(.float32, [1, 1], [0] as [Float]))])
        try expectEvaluates(
            "Reshape", opset: 13, [:],
            [.tensor(try Tensor(.float32, [1], [0] as [Float])), .tensor(try Tensor(.int64, [0], [] as [Int64]))],
            [.tensor(try Tensor(.float32, [], [0] as [Float]))])
        try expectEvaluates(
            "Reshape", opset: 13, [:],
            [.tensor(try Tensor(.float32, [0, 3], [] as [Float])), .tensor(try Tensor(.int64, [2], [0, -1] as [Int64]))],
            [.tensor(try Tensor(.float32, [0, 3], [] as [Float]))])
        try expectEvaluates(
            "Reshape", opset: 13, [:],
            [.strings(try StringTensor(shape: Shape([4]), elements: ["a", "b", "c", "d"])), .tensor(try Tensor(.int64, [2], [2, -1] as [Int64]))],
            [.strings(try StringTensor(shape: Shape([2, 2]), elements: ["a", "b", "c", "d"]))])
        try expectEvaluates(
            "Reshape", opset: 21, [:],
            [.tensor(try Tensor(.float16, [4], [15360, 16384, 16896, 17408] as [UInt16])), .tensor(try Tensor(.int64, [2], [2, 2] as [Int64]))],
            [.tensor(try Tensor(.float16, [2, 2], [15360, 16384, 16896, 17408] as [UInt16]))])
    }

    @Test
    func reshapeRefuses() throws {
        expectRefuses(
            "Reshape", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [2], [4, 4] as [Int64]))], .shapeMismatch, "cannot be given")
        expectRefuses(
            "Reshape", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [2], [-1, -1] as [Int64]))], .shapeMismatch, "more than one")
        expectRefuses(
            "Reshape", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [3], [6, 1, 0] as [Int64]))], .shapeMismatch, "has none")
        expectRefuses(
            "Reshape", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [2], [4611686018427387904, -1] as [Int64]))], .shapeMismatch, "cannot be given")
        expectRefuses(
            "Reshape", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [2], [-2, 3] as [Int64]))], .shapeMismatch, "negative")
        expectRefuses(
            "Reshape", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [2], [4, -1] as [Int64]))], .shapeMismatch, "cannot be given")
        expectRefuses(
            "Reshape", opset: 14, ["allowzero": .int(1)],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [2], [0, -1] as [Int64]))], .shapeMismatch, "allowzero")
        expectRefuses(
            "Reshape", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int32, [1], [6] as [Int32]))], .typeMismatch, "int64")
        expectRefuses(
            "Reshape", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [1, 1], [6] as [Int64]))], .shapeMismatch, "vector")
        expectRefuses(
            "Reshape", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float]))], .invalidModel, "input 1")
    }

    @Test
    func flatten() throws {
        try expectEvaluates(
            "Flatten", opset: 13, ["axis": .int(0)],
            [.tensor(try Tensor(.float32, [2, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 24], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23] as [Float]))])
        try expectEvaluates(
            "Flatten", opset: 13, ["axis": .int(1)],
            [.tensor(try Tensor(.float32, [2, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23] as [Float]))],
            [.tensor(try Tensor(.float32, [2, 12], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23] as [Float]))])
        try expectEvaluates(
            "Flatten", opset: 13, ["axis": .int(2)],
            [.tensor(try Tensor(.float32, [2, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23] as [Float]))],
            [.tensor(try Tensor(.float32, [6, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23] as [Float]))])
        try expectEvaluates(
            "Flatten", opset: 13, ["axis": .int(3)],
            [.tensor(try Tensor(.float32, [2, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23] as [Float]))],
            [.tensor(try Tensor(.float32, [24, 1], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23] as [Float]))])
        try expectEvaluates(
            "Flatten", opset: 13, ["axis": .int(-1)],
            [.tensor(try Tensor(.float32, [2, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23] as [Float]))],
            [.tensor(try Tensor(.float32, [6, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23] as [Float]))])
        try expectEvaluates(
            "Flatten", opset: 13, ["axis": .int(-3)],
            [.tensor(try Tensor(.float32, [2, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 24], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23] as [Float]))])
        try expectEvaluates(
            "Flatten", opset: 9, [:],
            [.tensor(try Tensor(.float32, [2, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23] as [Float]))],
            [.tensor(try Tensor(.float32, [2, 12], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23] as [Float]))])
        try expectEvaluates(
            "Flatten", opset: 13, ["axis": .int(0)],
            [.tensor(try Tensor(.float32, [], [0] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 1], [0] as [Float]))])
        try expectEvaluates(
            "Flatten", opset: 13, [:],
            [.tensor(try Tensor(.float32, [0, 3], [] as [Float]))],
            [.tensor(try Tensor(.float32, [0, 3], [] as [Float]))])
        expectRefuses(
            "Flatten", opset: 13, ["axis": .int(5)],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float]))], .shapeMismatch, "outside")
        expectRefuses(
            "Flatten", opset: 9, ["axis": .int(-1)],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float]))], .shapeMismatch, "outside")
    }

    @Test
    func squeeze() throws {
        try expectEvaluates(
            "Squeeze", opset: 11, ["axes": .ints([0, -2])],
            [.tensor(try Tensor(.float32, [1, 3, 1, 2], [0, 1, 2, 3, 4, 5] as [Float]))],
            [.tensor(try Tensor(.float32, [3, 2], [0, 1, 2, 3, 4, 5] as [Float]))])
        try expectEvaluates(
            "Squeeze", opset: 1, ["axes": .ints([2])],
            [.tensor(try Tensor(.float32, [1, 3, 1, 2], [0, 1, 2, 3, 4, 5] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 3, 2], [0, 1, 2, 3, 4, 5] as [Float]))])
        try expectEvaluates(
            "Squeeze", opset: 1, [:],
            [.tensor(try Tensor(.float32, [1, 3, 1, 2], [0, 1, 2, 3, 4, 5] as [Float]))],
            [.tensor(try Tensor(.float32, [3, 2], [0, 1, 2, 3, 4, 5] as [Float]))])
        try expectEvaluates(
            "Squeeze", opset: 13, [:],
            [.tensor(try Tensor(.float32, [1, 3, 1, 2], [0, 1, 2, 3, 4, 5] as [Float]))],
            [.tensor(try Tensor(.float32, [3, 2], [0, 1, 2, 3, 4, 5] as [Float]))])
        try expectEvaluates(
            "Squeeze", opset: 13, [:],
            [.tensor(try Tensor(.float32, [1, 3, 1, 2], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [1], [0] as [Int64]))],
            [.tensor(try Tensor(.float32, [3, 1, 2], [0, 1, 2, 3, 4, 5] as [Float]))])
        try expectEvaluates(
            "Squeeze", opset: 13, [:],
            [.tensor(try Tensor(.float32, [1, 3, 1, 2], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [2], [-2, 0] as [Int64]))],
            [.tensor(try Tensor(.float32, [3, 2], [0, 1, 2, 3, 4, 5] as [Float]))])
        try expectEvaluates(
            "Squeeze", opset: 13, [:],
            [.strings(try StringTensor(shape: Shape([1, 1]), elements: ["x"])), .tensor(try Tensor(.int64, [1], [0] as [Int64]))],
            [.strings(try StringTensor(shape: Shape([1]), elements: ["x"]))])
        try expectEvaluates(
            "Squeeze", opset: 13, [:],
            [.tensor(try Tensor(.float32, [1, 0], [] as [Float])), .tensor(try Tensor(.int64, [1], [0] as [Int64]))],
            [.tensor(try Tensor(.float32, [0], [] as [Float]))])
        expectRefuses(
            "Squeeze", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [1], [0] as [Int64]))], .shapeMismatch, "not size 1")
        expectRefuses(
            "Squeeze", opset: 13, [:],
            [.tensor(try Tensor(.float32, [1, 3, 1, 2], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [2], [0, -4] as [Int64]))], .shapeMismatch, "twice")
        expectRefuses(
            "Squeeze", opset: 13, [:],
            [.tensor(try Tensor(.float32, [1, 3, 1, 2], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [1], [4] as [Int64]))], .shapeMismatch, "outside")
        expectRefuses(
            "Squeeze", opset: 13, ["axes": .ints([0])],
            [.tensor(try Tensor(.float32, [1, 3, 1, 2], [0, 1, 2, 3, 4, 5] as [Float]))], .invalidModel, "no attribute")
    }

    @Test
    func unsqueeze() throws {
        try expectEvaluates(
            "Unsqueeze", opset: 11, ["axes": .ints([0, -1])],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 2, 3, 1], [0, 1, 2, 3, 4, 5] as [Float]))])
        try expectEvaluates(
            "Unsqueeze", opset: 1, ["axes": .ints([1])],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float]))],
            [.tensor(try Tensor(.float32, [2, 1, 3], [0, 1, 2, 3, 4, 5] as [Float]))])
        try expectEvaluates(
            "Unsqueeze", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [2], [0, 3] as [Int64]))],
            [.tensor(try Tensor(.float32, [1, 2, 3, 1], [0, 1, 2, 3, 4, 5] as [Float]))])
        try expectEvaluates(
            "Unsqueeze", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [1], [-1] as [Int64]))],
            [.tensor(try Tensor(.float32, [2, 3, 1], [0, 1, 2, 3, 4, 5] as [Float]))])
        try expectEvaluates(
            "Unsqueeze", opset: 13, [:],
            [.tensor(try Tensor(.float32, [], [0] as [Float])), .tensor(try Tensor(.int64, [1], [0] as [Int64]))],
            [.tensor(try Tensor(.float32, [1], [0] as [Float]))])
        try expectEvaluates(
            "Unsqueeze", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [3], [3, 0, 1] as [Int64]))],
            [.tensor(try Tensor(.float32, [1, 1, 2, 1, 3], [0, 1, 2, 3, 4, 5] as [Float]))])
        expectRefuses(
            "Unsqueeze", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [2], [0, 0] as [Int64]))], .shapeMismatch, "twice")
        expectRefuses(
            "Unsqueeze", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [1], [9] as [Int64]))], .shapeMismatch, "outside")
        expectRefuses(
            "Unsqueeze", opset: 11, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float]))], .invalidModel, "axes")
        expectRefuses(
            "Unsqueeze", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float]))], .invalidModel, "input 1")
    }
}
