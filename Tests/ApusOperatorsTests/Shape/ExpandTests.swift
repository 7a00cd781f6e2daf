import ApusCore
import ApusGraph
import Testing

@testable import ApusOperators

/// Expand and Tile.
/// Expected values come from onnxruntime 1.31 or NumPy.
struct ExpandTests {

    @Test
    func expand() throws {
        try expectEvaluates(
            "Expand", opset: 13, [:],
            [.tensor(try Tensor(.float32, [1, 3], [0, 1, 2] as [Float])), .tensor(try Tensor(.int64, [2], [2, 3] as [Int64]))],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 0, 1, 2] as [Float]))])
        try expectEvaluates(
            "Expand", opset: 13, [:],
            [.tensor(try Tensor(.float32, [3, 1], [0, 1, 2] as [Float])), .tensor(try Tensor(.int64, [2], [3, 1] as [Int64]))],
            [.tensor(try Tensor(.float32, [3, 1], [0, 1, 2] as [Float]))])
        try expectEvaluates(
            "Expand", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [3], [4, 2, 3] as [Int64]))],
            [.tensor(try Tensor(.float32, [4, 2, 3], [0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5] as [Float]))])
        try expectEvaluates(
            "Expand", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [1], [1] as [Int64]))],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float]))])
        try expectEvaluates(
            "Expand", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [0], [] as [Int64]))],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float]))])
        try expectEvaluates(
            "Expand", opset: 8, [:],
            [.tensor(try Tensor(.float32, [3, 1], [0, 1, 2] as [Float])), .tensor(try Tensor(.int64, [2], [1, 4] as [Int64]))],
            [.tensor(try Tensor(.float32, [3, 4], [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2] as [Float]))])
        try expectEvaluates(
            "Expand", opset: 13, [:],
            [.tensor(try Tensor(.float32, [], [0] as [Float])), .tensor(try Tensor(.int64, [2], [2, 2] as [Int64]))],
            [.tensor(try Tensor(.float32, [2, 2], [0, 0, 0, 0] as [Float]))])
        try expectEvaluates(
            "Expand", opset: 13, [:],
            [.tensor(try Tensor(.float32, [1], [0] as [Float])), .tensor(try Tensor(.int64, [1], [0] as [Int64]))],
            [.tensor(try Tensor(.float32, [0], [] as [Float]))])
        try expectEvaluates(
            "Expand", opset: 13, [:],
            [.strings(try StringTensor(shape: Shape([1]), elements: ["q"])), .tensor(try Tensor(.int64, [1], [3] as [Int64]))],
            [.strings(try StringTensor(shape: Shape([3]), elements: ["q", "q", "q"]))])
        try expectEvaluates(
            "Expand", opset: 13, [:],
            [.tensor(try Tensor(.bool, [2, 1], [1, 0] as [UInt8])), .tensor(try Tensor(.int64, [2], [2, 3] as [Int64]))],
            [.tensor(try Tensor(.bool, [2, 3], [1, 1, 1, 0, 0, 0] as [UInt8]))])
        expectRefuses(
            "Expand", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [2], [4, 4] as [Int64]))], .shapeMismatch, "broadcast")
        expectRefuses(
            "Expand", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [2], [-1, 3] as [Int64]))], .shapeMismatch, "negative")
    }

    @Test
    func tile() throws {
        try expectEvaluates(
            "Tile", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [2], [2, 2] as [Int64]))],
            [.tensor(try Tensor(.float32, [4, 6], [0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5, 0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5] as [Float]))])
        try expectEvaluates(
            "Tile", opset: 6, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [2], [1, 3] as [Int64]))],
            [.tensor(try Tensor(.float32, [2, 9], [0, 1, 2, 0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5, 3, 4, 5] as [Float]))])
        try expectEvaluates(
            "Tile", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [2], [0, 1] as [Int64]))],
            [.tensor(try Tensor(.float32, [0, 3], [] as [Float]))])
        try expectEvaluates(
            "Tile", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 1, 2], [0, 1, 2, 3] as [Float])), .tensor(try Tensor(.int64, [3], [1, 3, 2] as [Int64]))],
            [.tensor(try Tensor(.float32, [2, 3, 4], [0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3] as [Float]))])
        try expectEvaluates(
            "Tile", opset: 13, [:],
            [.strings(try StringTensor(shape: Shape([2]), elements: ["a", "b"])), .tensor(try Tensor(.int64, [1], [2] as [Int64]))],
            [.strings(try StringTensor(shape: Shape([4]), elements: ["a", "b", "a", "b"]))])
        try expectEvaluates(
            "Tile", opset: 1, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.float32, [], [2] as [Float])), .tensor(try Tensor(.float32, [], [1] as [Float]))],
            [.tensor(try Tensor(.float32, [2, 6], [0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5] as [Float]))])
        try expectEvaluates(
            "Tile", opset: 13, [:],
            [.tensor(try Tensor(.float32, [], [0] as [Float])), .tensor(try Tensor(.int64, [0], [] as [Int64]))],
            [.tensor(try Tensor(.float32, [], [0] as [Float]))])
        expectRefuses(
            "Tile", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [1], [1] as [Int64]))], .shapeMismatch, "rank 2")
        expectRefuses(
            "Tile", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [2], [1, -1] as [Int64]))], .invalidValue, "negative")
        expectRefuses(
            "Tile", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [2], [9223372036854775807, 9223372036854775807] as [Int64]))], .memoryLimit, "")
    }
}
