import ApusCore
import ApusGraph
import Testing

@testable import ApusOperators

/// TopK and OneHot.
/// Expected values come from onnxruntime 1.31 or NumPy.
struct TopKTests {

    @Test
    func topK() throws {
        try expectEvaluates(
            "TopK", opset: 11, ["largest": .int(0)],
            [.tensor(try Tensor(.float32, [2, 8], [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3] as [Float])), .tensor(try Tensor(.int64, [1], [0] as [Int64]))],
            [.tensor(try Tensor(.float32, [2, 0], [] as [Float])), .tensor(try Tensor(.int64, [2, 0], [] as [Int64]))])
        try expectEvaluates(
            "TopK", opset: 11, ["largest": .int(1)],
            [.tensor(try Tensor(.float32, [2, 8], [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3] as [Float])), .tensor(try Tensor(.int64, [1], [0] as [Int64]))],
            [.tensor(try Tensor(.float32, [2, 0], [] as [Float])), .tensor(try Tensor(.int64, [2, 0], [] as [Int64]))])
        try expectEvaluates(
            "TopK", opset: 11, ["largest": .int(0)],
            [.tensor(try Tensor(.float32, [2, 8], [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3] as [Float])), .tensor(try Tensor(.int64, [1], [1] as [Int64]))],
            [.tensor(try Tensor(.float32, [2, 1], [1, 3] as [Float])), .tensor(try Tensor(.int64, [2, 1], [1, 1] as [Int64]))])
        try expectEvaluates(
            "TopK", opset: 11, ["largest": .int(1)],
            [.tensor(try Tensor(.float32, [2, 8], [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3] as [Float])), .tensor(try Tensor(.int64, [1], [1] as [Int64]))],
            [.tensor(try Tensor(.float32, [2, 1], [9, 9] as [Float])), .tensor(try Tensor(.int64, [2, 1], [5, 4] as [Int64]))])
        try expectEvaluates(
            "TopK", opset: 11, ["largest": .int(0)],
            [.tensor(try Tensor(.float32, [2, 8], [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3] as [Float])), .tensor(try Tensor(.int64, [1], [3] as [Int64]))],
            [.tensor(try Tensor(.float32, [2, 3], [1, 1, 2, 3, 3, 5] as [Float])), .tensor(try Tensor(.int64, [2, 3], [1, 3, 6, 1, 7, 0] as [Int64]))])
        try expectEvaluates(
            "TopK", opset: 11, ["largest": .int(1)],
            [.tensor(try Tensor(.float32, [2, 8], [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3] as [Float])), .tensor(try Tensor(.int64, [1], [3] as [Int64]))],
            [.tensor(try Tensor(.float32, [2, 3], [9, 6, 5, 9, 9, 8] as [Float])), .tensor(try Tensor(.int64, [2, 3], [5, 7, 4, 4, 6, 3] as [Int64]))])
        try expectEvaluates(
            "TopK", opset: 11, ["largest": .int(0)],
            [.tensor(try Tensor(.float32, [2, 8], [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3] as [Float])), .tensor(try Tensor(.int64, [1], [8] as [Int64]))],
            [.tensor(try Tensor(.float32, [2, 8], [1, 1, 2, 3, 4, 5, 6, 9, 3, 3, 5, 5, 7, 8, 9, 9] as [Float])), .tensor(try Tensor(.int64, [2, 8], [1, 3, 6, 0, 2, 4, 7, 5, 1, 7, 0, 2, 5, 3, 4, 6] as [Int64]))])
        try expectEvaluates(
            "TopK", opset: 11, ["largest": .int(1)],
            [.tensor(try Tensor(.float32, [2, 8], [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3] as [Float])), .tensor(try Tensor(.int64, [1], [8] as [Int64]))],
            [.tensor(try Tensor(.float32, [2, 8], [9, 6, 5, 4, 3, 2, 1, 1, 9, 9, 8, 7, 5, 5, 3, 3] as [Float])), .tensor(try Tensor(.int64, [2, 8], [5, 7, 4, 2, 0, 6, 1, 3, 4, 6, 3, 5, 0, 2, 1, 7] as [Int64]))])
        try expectEvaluates(
            "TopK", opset: 1, ["k": .int(2)],
            [.tensor(try Tensor(.float32, [2, 8], [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3] as [Float]))],
            [.tensor(try Tensor(.float32, [2, 2], [9, 6, 9, 9] as [Float])), .tensor(try Tensor(.int64, [2, 2], [5, 7, 4, 6] as [Int64]))])
        try expectEvaluates(
            "TopK", opset: 10, ["axis": .int(0)],
            [.tensor(try Tensor(.float32, [2, 8], [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3] as [Float])), .tensor(try Tensor(.int64, [1], [1] as [Int64]))],
            [.tensor(try Tensor(.float32, [1, 8], [5, 3, 5, 8, 9, 9, 9, 6] as [Float])), .tensor(try Tensor(.int64, [1, 8], [1, 1, 1, 1, 1, 0, 1, 0] as [Int64]))])
        try expectEvaluates(
            "TopK", opset: 11, ["axis": .int(0)],
            [.tensor(try Tensor(.float32, [2, 8], [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3] as [Float])), .tensor(try Tensor(.int64, [1], [2] as [Int64]))],
            [.tensor(try Tensor(.float32, [2, 8], [5, 3, 5, 8, 9, 9, 9, 6, 3, 1, 4, 1, 5, 7, 2, 3] as [Float])), .tensor(try Tensor(.int64, [2, 8], [1, 1, 1, 1, 1, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 1] as [Int64]))])
        try expectEvaluates(
            "TopK", opset: 11, ["axis": .int(1)],
            [.tensor(try Tensor(.float32, [2, 3, 2], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] as [Float])), .tensor(try Tensor(.int64, [1], [2] as [Int64]))],
            [.tensor(try Tensor(.float32, [2, 2, 2], [4, 5, 2, 3, 10, 11, 8, 9] as [Float])), .tensor(try Tensor(.int64, [2, 2, 2], [2, 2, 1, 1, 2, 2, 1, 1] as [Int64]))])
        try expectEvaluates(
            "TopK", opset: 11, [:],
            [.tensor(try Tensor(.int64, [2, 8], [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3] as [Int64])), .tensor(try Tensor(.int64, [1], [4] as [Int64]))],
            [.tensor(try Tensor(.int64, [2, 4], [9, 6, 5, 4, 9, 9, 8, 7] as [Int64])), .tensor(try Tensor(.int64, [2, 4], [5, 7, 4, 2, 4, 6, 3, 5] as [Int64]))])
        try expectEvaluates(
            "TopK", opset: 11, [:],
            [.tensor(try Tensor(.float64, [2, 8], [3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0, 5.0, 3.0, 5.0, 8.0, 9.0, 7.0, 9.0, 3.0] as [Double])), .tensor(try Tensor(.int64, [1], [4] as [Int64]))],
            [.tensor(try Tensor(.float64, [2, 4], [9.0, 6.0, 5.0, 4.0, 9.0, 9.0, 8.0, 7.0] as [Double])), .tensor(try Tensor(.int64, [2, 4], [5, 7, 4, 2, 4, 6, 3, 5] as [Int64]))])
        try expectEvaluates(
            "TopK", opset: 11, ["largest": .int(0)],
            [.tensor(try Tensor(.int32, [2, 8], [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3] as [Int32])), .tensor(try Tensor(.int64, [1], [5] as [Int64]))],
            [.tensor(try Tensor(.int32, [2, 5], [1, 1, 2, 3, 4, 3, 3, 5, 5, 7] as [Int32])), .tensor(try Tensor(.int64, [2, 5], [1, 3, 6, 0, 2, 1, 7, 0, 2, 5] as [Int64]))])
        try expectEvaluates(
            "TopK", opset: 11, [:],
            [.tensor(try Tensor(.float32, [0, 3], [] as [Float])), .tensor(try Tensor(.int64, [1], [2] as [Int64]))],
            [.tensor(try Tensor(.float32, [0, 2], [] as [Float])), .tensor(try Tensor(.int64, [0, 2], [] as [Int64]))])
        try expectEvaluates(
            "TopK", opset: 11, [:],
            [.tensor(try Tensor(.float32, [3], [1, .nan, 3] as [Float])), .tensor(try Tensor(.int64, [1], [2] as [Int64]))],
            [.tensor(try Tensor(.float32, [2], [.nan, 3] as [Float])), .tensor(try Tensor(.int64, [2], [1, 2] as [Int64]))], tolerance: 1e-09)
        try expectEvaluates(
            "TopK", opset: 11, ["sorted": .int(0)],
            [.tensor(try Tensor(.float16, [2, 8], [16896, 15360, 17408, 15360, 17664, 18560, 16384, 17920, 17664, 16896, 17664, 18432, 18560, 18176, 18560, 16896] as [UInt16])), .tensor(try Tensor(.int64, [1], [2] as [Int64]))],
            [.tensor(try Tensor(.float16, [2, 2], [18560, 17920, 18560, 18560] as [UInt16])), .tensor(try Tensor(.int64, [2, 2], [5, 7, 4, 6] as [Int64]))])
        expectRefuses(
            "TopK", opset: 11, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [1], [9] as [Int64]))], outputs: 2, .invalidValue, "K is 9")
        expectRefuses(
            "TopK", opset: 11, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [1], [-1] as [Int64]))], outputs: 2, .invalidValue, "K is")
        expectRefuses(
            "TopK", opset: 11, ["axis": .int(2)],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [1], [1] as [Int64]))], outputs: 2, .shapeMismatch, "outside")
        expectRefuses(
            "TopK", opset: 11, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [2], [1, 2] as [Int64]))], outputs: 2, .shapeMismatch, "one number")
        expectRefuses(
            "TopK", opset: 11, [:],
            [.tensor(try Tensor(.float32, [], [0] as [Float])), .tensor(try Tensor(.int64, [1], [1] as [Int64]))], outputs: 2, .shapeMismatch, "outside")
    }

    @Test
    func oneHot() throws {
        try expectEvaluates(
            "OneHot", opset: 11, [:],
            [.tensor(try Tensor(.int64, [4], [0, 2, -1, 7] as [Int64])), .tensor(try Tensor(.int64, [], [3] as [Int64])), .tensor(try Tensor(.float32, [2], [2, 5] as [Float]))],
            [.tensor(try Tensor(.float32, [4, 3], [5, 2, 2, 2, 2, 5, 2, 2, 5, 2, 2, 2] as [Float]))])
        try expectEvaluates(
            "OneHot", opset: 9, ["axis": .int(0)],
            [.tensor(try Tensor(.int64, [3], [0, 2, 1] as [Int64])), .tensor(try Tensor(.int64, [], [3] as [Int64])), .tensor(try Tensor(.int64, [2], [0, 1] as [Int64]))],
            [.tensor(try Tensor(.int64, [3, 3], [1, 0, 0, 0, 0, 1, 0, 1, 0] as [Int64]))])
        try expectEvaluates(
            "OneHot", opset: 11, ["axis": .int(1)],
            [.tensor(try Tensor(.int64, [2, 2], [1, 9, 2, 4] as [Int64])), .tensor(try Tensor(.int64, [], [10] as [Int64])), .tensor(try Tensor(.float32, [2], [1, 3] as [Float]))],
            [.tensor(try Tensor(.float32, [2, 10, 2], [1, 1, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 3, 1, 1, 1, 1, 3, 1, 1, 1, 1, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1] as [Float]))])
        try expectEvaluates(
            "OneHot", opset: 11, [:],
            [.tensor(try Tensor(.float32, [2], [0, 1] as [Float])), .tensor(try Tensor(.float32, [], [2] as [Float])), .tensor(try Tensor(.float32, [2], [0, 1] as [Float]))],
            [.tensor(try Tensor(.float32, [2, 2], [1, 0, 0, 1] as [Float]))])
        try expectEvaluates(
            "OneHot", opset: 11, [:],
            [.tensor(try Tensor(.int64, [2], [1, 0] as [Int64])), .tensor(try Tensor(.int64, [], [2] as [Int64])), .strings(try StringTensor(shape: Shape([2]), elements: ["off", "on"]))],
            [.strings(try StringTensor(shape: Shape([2, 2]), elements: ["off", "on", "on", "off"]))])
        expectRefuses(
            "OneHot", opset: 11, [:],
            [.tensor(try Tensor(.int64, [1], [0] as [Int64])), .tensor(try Tensor(.int64, [], [2] as [Int64])), .tensor(try Tensor(.float32, [3], [0, 1, 2] as [Float]))], .shapeMismatch, "off, on")
        expectRefuses(
            "OneHot", opset: 11, [:],
            [.tensor(try Tensor(.int64, [1], [0] as [Int64])), .tensor(try Tensor(.int64, [], [1099511627776] as [Int64])), .tensor(try Tensor(.float32, [2], [0, 1] as [Float]))], .memoryLimit, "")
        expectRefuses(
            "OneHot", opset: 11, [:],
            [.tensor(try Tensor(.int64, [1], [0] as [Int64])), .tensor(try Tensor(.int64, [], [-2] as [Int64])), .tensor(try Tensor(.float32, [2], [0, 1] as [Float]))], .invalidValue, "negative")
        expectRefuses(
            "OneHot", opset: 11, ["axis": .int(2)],
            [.tensor(try Tensor(.int64, [1], [0] as [Int64])), .tensor(try Tensor(.int64, [], [2] as [Int64])), .tensor(try Tensor(.float32, [2], [0, 1] as [Float]))], .shapeMismatch, "outside")
    }
}
