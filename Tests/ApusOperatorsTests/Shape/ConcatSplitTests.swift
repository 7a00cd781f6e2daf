import ApusCore
import ApusGraph
import Testing

@testable import ApusOperators

/// Concat and Split.
/// Expected values come from onnxruntime 1.31 or NumPy.
struct ConcatSplitTests {

    @Test
    func concat() throws {
        try expectEvaluates(
            "Concat", opset: 13, ["axis": .int(0)],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.float32, [1, 3], [0, 1, 2] as [Float]))],
            [.tensor(try Tensor(.float32, [3, 3], [0, 1, 2, 3, 4, 5, 0, 1, 2] as [Float]))])
        try expectEvaluates(
            "Concat", opset: 13, ["axis": .int(-1)],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.float32, [2, 1], [0, 1] as [Float])), .tensor(try Tensor(.float32, [2, 0], [] as [Float]))],
            [.tensor(try Tensor(.float32, [2, 4], [0, 1, 2, 0, 3, 4, 5, 1] as [Float]))])
        try expectEvaluates(
            "Concat", opset: 1, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float]))],
            [.tensor(try Tensor(.float32, [2, 6], [0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5] as [Float]))])
        try expectEvaluates(
            "Concat", opset: 4, ["axis": .int(1)],
            [.tensor(try Tensor(.float32, [2, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23] as [Float])), .tensor(try Tensor(.float32, [2, 2, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15] as [Float]))],
            [.tensor(try Tensor(.float32, [2, 5, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0, 1, 2, 3, 4, 5, 6, 7, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 8, 9, 10, 11, 12, 13, 14, 15] as [Float]))])
        try expectEvaluates(
            "Concat", opset: 13, ["axis": .int(0)],
            [.strings(try StringTensor(shape: Shape([1]), elements: ["a"])), .strings(try StringTensor(shape: Shape([2]), elements: ["", "c"]))],
            [.strings(try StringTensor(shape: Shape([3]), elements: ["a", "", "c"]))])
        try expectEvaluates(
            "Concat", opset: 11, ["axis": .int(0)],
            [.tensor(try Tensor(.int64, [2], [1, 2] as [Int64]))],
            [.tensor(try Tensor(.int64, [2], [1, 2] as [Int64]))])
        try expectEvaluates(
            "Concat", opset: 13, ["axis": .int(2)],
            [.tensor(try Tensor(.uint8, [1, 2, 1], [0, 0] as [UInt8])), .tensor(try Tensor(.uint8, [1, 2, 3], [1, 1, 1, 1, 1, 1] as [UInt8]))],
            [.tensor(try Tensor(.uint8, [1, 2, 4], [0, 1, 1, 1, 0, 1, 1, 1] as [UInt8]))])
    }

    @Test
    func concatRefuses() throws {
        expectRefuses(
            "Concat", opset: 13, ["axis": .int(9)],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float]))], .shapeMismatch, "outside")
        expectRefuses(
            "Concat", opset: 13, ["axis": .int(0)],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.float32, [3, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] as [Float]))], .shapeMismatch, "joined")
        expectRefuses(
            "Concat", opset: 13, ["axis": .int(0)],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.float32, [6], [0, 1, 2, 3, 4, 5] as [Float]))], .shapeMismatch, "joined")
        expectRefuses(
            "Concat", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float]))], .invalidModel, "axis")
        expectRefuses(
            "Concat", opset: 13, ["axis": .int(0)],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [1], [1] as [Int64]))], .typeMismatch, "one element type")
        expectRefuses(
            "Concat", opset: 13, ["axis": .int(0)],
            [.tensor(try Tensor(.float32, [], [0] as [Float])), .tensor(try Tensor(.float32, [], [0] as [Float]))], .shapeMismatch, "outside")
    }

    @Test
    func split() throws {
        try expectEvaluates(
            "Split", opset: 2, ["axis": .int(1)],
            [.tensor(try Tensor(.float32, [2, 6], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] as [Float]))],
            [.tensor(try Tensor(.float32, [2, 2], [0, 1, 6, 7] as [Float])), .tensor(try Tensor(.float32, [2, 2], [2, 3, 8, 9] as [Float])), .tensor(try Tensor(.float32, [2, 2], [4, 5, 10, 11] as [Float]))])
        try expectEvaluates(
            "Split", opset: 2, ["axis": .int(1), "split": .ints([1, 3, 2])],
            [.tensor(try Tensor(.float32, [2, 6], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] as [Float]))],
            [.tensor(try Tensor(.float32, [2, 1], [0, 6] as [Float])), .tensor(try Tensor(.float32, [2, 3], [1, 2, 3, 7, 8, 9] as [Float])), .tensor(try Tensor(.float32, [2, 2], [4, 5, 10, 11] as [Float]))])
        try expectEvaluates(
            "Split", opset: 11, ["axis": .int(-1), "split": .ints([6, 0])],
            [.tensor(try Tensor(.float32, [2, 6], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] as [Float]))],
            [.tensor(try Tensor(.float32, [2, 6], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] as [Float])), .tensor(try Tensor(.float32, [2, 0], [] as [Float]))])
        try expectEvaluates(
            "Split", opset: 13, ["axis": .int(1)],
            [.tensor(try Tensor(.float32, [2, 6], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] as [Float])), .tensor(try Tensor(.int64, [2], [2, 4] as [Int64]))],
            [.tensor(try Tensor(.float32, [2, 2], [0, 1, 6, 7] as [Float])), .tensor(try Tensor(.float32, [2, 4], [2, 3, 4, 5, 8, 9, 10, 11] as [Float]))])
        try expectEvaluates(
            "Split", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 6], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 6], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.float32, [1, 6], [6, 7, 8, 9, 10, 11] as [Float]))])
        try expectEvaluates(
            "Split", opset: 18, ["axis": .int(1), "num_outputs": .int(4)],
            [.tensor(try Tensor(.float32, [1, 7], [0, 1, 2, 3, 4, 5, 6] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 2], [0, 1] as [Float])), .tensor(try Tensor(.float32, [1, 2], [2, 3] as [Float])), .tensor(try Tensor(.float32, [1, 2], [4, 5] as [Float])), .tensor(try Tensor(.float32, [1, 1], [6] as [Float]))])
        try expectEvaluates(
            "Split", opset: 18, ["axis": .int(0), "num_outputs": .int(2)],
            [.tensor(try Tensor(.float32, [4], [0, 1, 2, 3] as [Float]))],
            [.tensor(try Tensor(.float32, [2], [0, 1] as [Float])), .tensor(try Tensor(.float32, [2], [2, 3] as [Float]))])
        try expectEvaluates(
            "Split", opset: 18, ["axis": .int(1)],
            [.tensor(try Tensor(.float32, [2, 6], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] as [Float])), .tensor(try Tensor(.int64, [2], [5, 1] as [Int64]))],
            [.tensor(try Tensor(.float32, [2, 5], [0, 1, 2, 3, 4, 6, 7, 8, 9, 10] as [Float])), .tensor(try Tensor(.float32, [2, 1], [5, 11] as [Float]))])
        try expectEvaluates(
            "Split", opset: 13, ["axis": .int(0)],
            [.strings(try StringTensor(shape: Shape([3]), elements: ["a", "b", "c"])), .tensor(try Tensor(.int64, [2], [1, 2] as [Int64]))],
            [.strings(try StringTensor(shape: Shape([1]), elements: ["a"])), .strings(try StringTensor(shape: Shape([2]), elements: ["b", "c"]))])
        try expectEvaluates(
            "Split", opset: 1, ["axis": .int(1), "split": .ints([2, 4])],
            [.tensor(try Tensor(.float32, [2, 6], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] as [Float]))],
            [.tensor(try Tensor(.float32, [2, 2], [0, 1, 6, 7] as [Float])), .tensor(try Tensor(.float32, [2, 4], [2, 3, 4, 5, 8, 9, 10, 11] as [Float]))])
        try expectEvaluates(
            "Split", opset: 1, ["axis": .int(1)],
            [.tensor(try Tensor(.float32, [2, 6], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] as [Float])), .tensor(try Tensor(.float32, [2], [2, 4] as [Float]))],
            [.tensor(try Tensor(.float32, [2, 2], [0, 1, 6, 7] as [Float])), .tensor(try Tensor(.float32, [2, 4], [2, 3, 4, 5, 8, 9, 10, 11] as [Float]))])
    }

    @Test
    func splitRefuses() throws {
        expectRefuses(
            "Split", opset: 13, ["axis": .int(1)],
            [.tensor(try Tensor(.float32, [2, 6], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] as [Float]))], outputs: 4, .shapeMismatch, "cannot be split")
        expectRefuses(
            "Split", opset: 13, ["axis": .int(1)],
            [.tensor(try Tensor(.float32, [2, 6], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] as [Float])), .tensor(try Tensor(.int64, [2], [2, 2] as [Int64]))], outputs: 2, .shapeMismatch, "sum up")
        expectRefuses(
            "Split", opset: 13, ["axis": .int(1)],
            [.tensor(try Tensor(.float32, [2, 6], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] as [Float])), .tensor(try Tensor(.int64, [2], [7, -1] as [Int64]))], outputs: 2, .shapeMismatch, "negative")
        expectRefuses(
            "Split", opset: 13, ["axis": .int(1)],
            [.tensor(try Tensor(.float32, [2, 6], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] as [Float])), .tensor(try Tensor(.int64, [1], [6] as [Int64]))], outputs: 2, .shapeMismatch, "sizes for")
        expectRefuses(
            "Split", opset: 18, ["axis": .int(1), "num_outputs": .int(3)],
            [.tensor(try Tensor(.float32, [2, 6], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] as [Float]))], outputs: 2, .invalidModel, "num_outputs")
        expectRefuses(
            "Split", opset: 18, ["axis": .int(1), "num_outputs": .int(2)],
            [.tensor(try Tensor(.float32, [2, 6], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] as [Float])), .tensor(try Tensor(.int64, [2], [3, 3] as [Int64]))], outputs: 2, .invalidModel, "both")
        expectRefuses(
            "Split", opset: 13, ["axis": .int(2)],
            [.tensor(try Tensor(.float32, [2, 6], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] as [Float]))], outputs: 2, .shapeMismatch, "outside")
    }
}
