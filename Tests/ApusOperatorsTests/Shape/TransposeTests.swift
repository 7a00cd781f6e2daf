import ApusCore
import ApusGraph
import Testing

@testable import ApusOperators

/// Transpose of every rank and width.
/// Expected values come from onnxruntime 1.31 or NumPy.
struct TransposeTests {

    @Test
    func permutations() throws {
        try expectEvaluates(
            "Transpose", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float]))],
            [.tensor(try Tensor(.float32, [3, 2], [0, 3, 1, 4, 2, 5] as [Float]))])
        try expectEvaluates(
            "Transpose", opset: 1, ["perm": .ints([0, 2, 1])],
            [.tensor(try Tensor(.float32, [2, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23] as [Float]))],
            [.tensor(try Tensor(.float32, [2, 4, 3], [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11, 12, 16, 20, 13, 17, 21, 14, 18, 22, 15, 19, 23] as [Float]))])
        try expectEvaluates(
            "Transpose", opset: 13, ["perm": .ints([2, 0, 1])],
            [.tensor(try Tensor(.float32, [2, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23] as [Float]))],
            [.tensor(try Tensor(.float32, [4, 2, 3], [0, 4, 8, 12, 16, 20, 1, 5, 9, 13, 17, 21, 2, 6, 10, 14, 18, 22, 3, 7, 11, 15, 19, 23] as [Float]))])
        try expectEvaluates(
            "Transpose", opset: 13, ["perm": .ints([1, 0, 2])],
            [.tensor(try Tensor(.float32, [2, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23] as [Float]))],
            [.tensor(try Tensor(.float32, [3, 2, 4], [0, 1, 2, 3, 12, 13, 14, 15, 4, 5, 6, 7, 16, 17, 18, 19, 8, 9, 10, 11, 20, 21, 22, 23] as [Float]))])
        try expectEvaluates(
            "Transpose", opset: 13, [:],
            [.tensor(try Tensor(.float32, [], [0] as [Float]))],
            [.tensor(try Tensor(.float32, [], [0] as [Float]))])
        try expectEvaluates(
            "Transpose", opset: 13, [:],
            [.tensor(try Tensor(.float32, [3], [0, 1, 2] as [Float]))],
            [.tensor(try Tensor(.float32, [3], [0, 1, 2] as [Float]))])
        try expectEvaluates(
            "Transpose", opset: 13, ["perm": .ints([1, 0])],
            [.tensor(try Tensor(.float32, [0, 3], [] as [Float]))],
            [.tensor(try Tensor(.float32, [3, 0], [] as [Float]))])
        try expectEvaluates(
            "Transpose", opset: 13, ["perm": .ints([0, 2, 3, 1])],
            [.tensor(try Tensor(.float32, [1, 3, 2, 2], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 2, 2, 3], [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11] as [Float]))])
        try expectEvaluates(
            "Transpose", opset: 13, ["perm": .ints([0, 3, 1, 2])],
            [.tensor(try Tensor(.float32, [2, 2, 2, 3], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23] as [Float]))],
            [.tensor(try Tensor(.float32, [2, 3, 2, 2], [0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11, 12, 15, 18, 21, 13, 16, 19, 22, 14, 17, 20, 23] as [Float]))])
    }

    @Test
    func types() throws {
        try expectEvaluates(
            "Transpose", opset: 13, [:],
            [.tensor(try Tensor(.uint8, [2, 3], [0, 1, 2, 3, 4, 5] as [UInt8]))],
            [.tensor(try Tensor(.uint8, [3, 2], [0, 3, 1, 4, 2, 5] as [UInt8]))])
        try expectEvaluates(
            "Transpose", opset: 13, [:],
            [.tensor(try Tensor(.int16, [2, 3], [0, 1, 2, 3, 4, 5] as [Int16]))],
            [.tensor(try Tensor(.int16, [3, 2], [0, 3, 1, 4, 2, 5] as [Int16]))])
        try expectEvaluates(
            "Transpose", opset: 13, [:],
            [.tensor(try Tensor(.float64, [2, 3], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0] as [Double]))],
            [.tensor(try Tensor(.float64, [3, 2], [0.0, 3.0, 1.0, 4.0, 2.0, 5.0] as [Double]))])
        try expectEvaluates(
            "Transpose", opset: 13, [:],
            [.tensor(try Tensor(.float16, [2, 3], [0, 15360, 16384, 16896, 17408, 17664] as [UInt16]))],
            [.tensor(try Tensor(.float16, [3, 2], [0, 16896, 15360, 17408, 16384, 17664] as [UInt16]))])
        try expectEvaluates(
            "Transpose", opset: 13, [:],
            [.tensor(try Tensor(.bool, [2, 3], [0, 1, 1, 1, 1, 1] as [UInt8]))],
            [.tensor(try Tensor(.bool, [3, 2], [0, 1, 1, 1, 1, 1] as [UInt8]))])
        try expectEvaluates(
            "Transpose", opset: 13, [:],
            [.tensor(try Tensor(.int64, [2, 3], [0, 1, 2, 3, 4, 5] as [Int64]))],
            [.tensor(try Tensor(.int64, [3, 2], [0, 3, 1, 4, 2, 5] as [Int64]))])
        try expectEvaluates(
            "Transpose", opset: 13, [:],
            [.strings(try StringTensor(shape: Shape([2, 3]), elements: ["a", "b", "c", "d", "e", ""]))],
            [.strings(try StringTensor(shape: Shape([3, 2]), elements: ["a", "d", "b", "e", "c", ""]))])
    }

    @Test
    func refuses() throws {
        expectRefuses(
            "Transpose", opset: 13, ["perm": .ints([0, 0])],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float]))], .shapeMismatch, "no permutation")
        expectRefuses(
            "Transpose", opset: 13, ["perm": .ints([0])],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float]))], .shapeMismatch, "no permutation")
        expectRefuses(
            "Transpose", opset: 13, ["perm": .ints([0, 2])],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float]))], .shapeMismatch, "no permutation")
        expectRefuses(
            "Transpose", opset: 13, ["perm": .int(1)],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float]))], .invalidModel, "ints")
    }
}
