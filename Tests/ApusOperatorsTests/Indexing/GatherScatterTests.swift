import ApusCore
import ApusGraph
import Testing

@testable import ApusOperators

/// GatherElements, GatherND, ScatterElements, ScatterND and their relatives.
/// Expected values come from onnxruntime 1.31 or NumPy.
struct GatherScatterTests {

    @Test
    func gatherElements() throws {
        try expectEvaluates(
            "GatherElements", opset: 13, ["axis": .int(1)],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [2, 2], [0, -1, 2, 1] as [Int64]))],
            [.tensor(try Tensor(.float32, [2, 2], [0, 2, 5, 4] as [Float]))])
        try expectEvaluates(
            "GatherElements", opset: 11, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int32, [1, 3], [1, 0, -2] as [Int32]))],
            [.tensor(try Tensor(.float32, [1, 3], [3, 1, 2] as [Float]))])
        try expectEvaluates(
            "GatherElements", opset: 13, ["axis": .int(-2)],
            [.tensor(try Tensor(.float32, [2, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23] as [Float])), .tensor(try Tensor(.int64, [2, 1, 4], [0, 1, 2, 0, -1, 1, 2, 0] as [Int64]))],
            [.tensor(try Tensor(.float32, [2, 1, 4], [0, 5, 10, 3, 20, 17, 22, 15] as [Float]))])
        try expectEvaluates(
            "GatherElements", opset: 13, ["axis": .int(0)],
            [.strings(try StringTensor(shape: Shape([2]), elements: ["a", "b"])), .tensor(try Tensor(.int64, [3], [1, 1, 0] as [Int64]))],
            [.strings(try StringTensor(shape: Shape([3]), elements: ["b", "b", "a"]))])
        try expectEvaluates(
            "GatherElements", opset: 13, ["axis": .int(1)],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [2, 0], [] as [Int64]))],
            [.tensor(try Tensor(.float32, [2, 0], [] as [Float]))])
        expectRefuses(
            "GatherElements", opset: 13, ["axis": .int(1)],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [1, 3], [0, 0, 9] as [Int64]))], .invalidValue, "outside")
        expectRefuses(
            "GatherElements", opset: 13, ["axis": .int(1)],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [2], [0, 1] as [Int64]))], .shapeMismatch, "rank")
        expectRefuses(
            "GatherElements", opset: 13, ["axis": .int(1)],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [3, 1], [0, 0, 0] as [Int64]))], .shapeMismatch, "beyond")
        expectRefuses(
            "GatherElements", opset: 13, ["axis": .int(2)],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [2, 1], [0, 0] as [Int64]))], .shapeMismatch, "outside")
    }

    @Test
    func gatherND() throws {
        try expectEvaluates(
            "GatherND", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [2, 2], [0, 0, 1, -1] as [Int64]))],
            [.tensor(try Tensor(.float32, [2], [0, 5] as [Float]))])
        try expectEvaluates(
            "GatherND", opset: 11, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [2, 1], [1, 0] as [Int64]))],
            [.tensor(try Tensor(.float32, [2, 3], [3, 4, 5, 0, 1, 2] as [Float]))])
        try expectEvaluates(
            "GatherND", opset: 12, ["batch_dims": .int(1)],
            [.tensor(try Tensor(.float32, [2, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23] as [Float])), .tensor(try Tensor(.int64, [2, 1], [1, -1] as [Int64]))],
            [.tensor(try Tensor(.float32, [2, 4], [4, 5, 6, 7, 20, 21, 22, 23] as [Float]))])
        try expectEvaluates(
            "GatherND", opset: 13, ["batch_dims": .int(1)],
            [.tensor(try Tensor(.float32, [2, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23] as [Float])), .tensor(try Tensor(.int64, [2, 2, 2], [1, 0, 2, 3, 0, 1, 0, 0] as [Int64]))],
            [.tensor(try Tensor(.float32, [2, 2], [4, 11, 13, 12] as [Float]))])
        try expectEvaluates(
            "GatherND", opset: 13, [:],
            [.strings(try StringTensor(shape: Shape([2]), elements: ["a", "b"])), .tensor(try Tensor(.int64, [2, 1], [1, 0] as [Int64]))],
            [.strings(try StringTensor(shape: Shape([2]), elements: ["b", "a"]))])
        expectRefuses(
            "GatherND", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [1, 2], [1, 7] as [Int64]))], .invalidValue, "outside")
        expectRefuses(
            "GatherND", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [1, 3], [0, 0, 0] as [Int64]))], .shapeMismatch, "coordinates")
        expectRefuses(
            "GatherND", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [1, 2], [-3, 0] as [Int64]))], .invalidValue, "outside")
        expectRefuses(
            "GatherND", opset: 13, ["batch_dims": .int(2)],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [1, 1], [0] as [Int64]))], .shapeMismatch, "batch_dims")
        expectRefuses(
            "GatherND", opset: 13, [:],
            [.tensor(try Tensor(.float32, [], [0] as [Float])), .tensor(try Tensor(.int64, [1, 1], [0] as [Int64]))], .shapeMismatch, "scalar")
    }

    @Test
    func scatterElements() throws {
        try expectEvaluates(
            "Scatter", opset: 9, ["axis": .int(1)],
            [.tensor(try Tensor(.float32, [1, 5], [0, 1, 2, 3, 4] as [Float])), .tensor(try Tensor(.int64, [1, 2], [1, 3] as [Int64])), .tensor(try Tensor(.float32, [1, 2], [1.5, 2.5] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 5], [0, 1.5, 2, 2.5, 4] as [Float]))])
        try expectEvaluates(
            "ScatterElements", opset: 11, ["axis": .int(1)],
            [.tensor(try Tensor(.float32, [1, 5], [0, 1, 2, 3, 4] as [Float])), .tensor(try Tensor(.int64, [1, 2], [1, 3] as [Int64])), .tensor(try Tensor(.float32, [1, 2], [1.5, 2.5] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 5], [0, 1.5, 2, 2.5, 4] as [Float]))])
        try expectEvaluates(
            "ScatterElements", opset: 13, [:],
            [.tensor(try Tensor(.float32, [3, 3], [0, 0, 0, 0, 0, 0, 0, 0, 0] as [Float])), .tensor(try Tensor(.int64, [2, 3], [1, 0, 2, 0, 2, 1] as [Int64])), .tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float]))],
            [.tensor(try Tensor(.float32, [3, 3], [3, 1, 0, 0, 0, 5, 0, 4, 2] as [Float]))])
        try expectEvaluates(
            "ScatterElements", opset: 16, ["reduction": .string("add"), "axis": .int(0)],
            [.tensor(try Tensor(.float32, [3], [0, 1, 2] as [Float])), .tensor(try Tensor(.int64, [3], [1, 1, -1] as [Int64])), .tensor(try Tensor(.float32, [3], [1, 2, 3] as [Float]))],
            [.tensor(try Tensor(.float32, [3], [0, 4, 5] as [Float]))])
        try expectEvaluates(
            "ScatterElements", opset: 18, ["reduction": .string("add")],
            [.tensor(try Tensor(.int32, [3], [5, 6, 7] as [Int32])), .tensor(try Tensor(.int64, [3], [0, 0, 2] as [Int64])), .tensor(try Tensor(.int32, [3], [3, 9, 7] as [Int32]))],
            [.tensor(try Tensor(.int32, [3], [17, 6, 14] as [Int32]))])
        try expectEvaluates(
            "ScatterElements", opset: 18, ["reduction": .string("mul")],
            [.tensor(try Tensor(.int32, [3], [5, 6, 7] as [Int32])), .tensor(try Tensor(.int64, [3], [0, 0, 2] as [Int64])), .tensor(try Tensor(.int32, [3], [3, 9, 7] as [Int32]))],
            [.tensor(try Tensor(.int32, [3], [135, 6, 49] as [Int32]))])
        try expectEvaluates(
            "ScatterElements", opset: 18, ["reduction": .string("min")],
            [.tensor(try Tensor(.int32, [3], [5, 6, 7] as [Int32])), .tensor(try Tensor(.int64, [3], [0, 0, 2] as [Int64])), .tensor(try Tensor(.int32, [3], [3, 9, 7] as [Int32]))],
            [.tensor(try Tensor(.int32, [3], [3, 6, 7] as [Int32]))])
        try expectEvaluates(
            "ScatterElements", opset: 18, ["reduction": .string("min")],
            [.tensor(try Tensor(.float16, [3], [17664, 17920, 18176] as [UInt16])), .tensor(try Tensor(.int64, [3], [0, 0, 2] as [Int64])), .tensor(try Tensor(.float16, [3], [16896, 18560, 18176] as [UInt16]))],
            [.tensor(try Tensor(.float16, [3], [16896, 17920, 18176] as [UInt16]))])
        try expectEvaluates(
            "ScatterElements", opset: 18, ["reduction": .string("max")],
            [.tensor(try Tensor(.int32, [3], [5, 6, 7] as [Int32])), .tensor(try Tensor(.int64, [3], [0, 0, 2] as [Int64])), .tensor(try Tensor(.int32, [3], [3, 9, 7] as [Int32]))],
            [.tensor(try Tensor(.int32, [3], [9, 6, 7] as [Int32]))])
        try expectEvaluates(
            "ScatterElements", opset: 18, ["reduction": .string("max")],
            [.tensor(try Tensor(.float16, [3], [17664, 17920, 18176] as [UInt16])), .tensor(try Tensor(.int64, [3], [0, 0, 2] as [Int64])), .tensor(try Tensor(.float16, [3], [16896, 18560, 18176] as [UInt16]))],
            [.tensor(try Tensor(.float16, [3], [18560, 17920, 18176] as [UInt16]))])
        try expectEvaluates(
            "ScatterElements", opset: 18, ["reduction": .string("add")],
            [.tensor(try Tensor(.bool, [2], [0, 1] as [UInt8])), .tensor(try Tensor(.int64, [2], [0, 0] as [Int64])), .tensor(try Tensor(.bool, [2], [1, 1] as [UInt8]))],
            [.tensor(try Tensor(.bool, [2], [1, 1] as [UInt8]))])
        try expectEvaluates(
            "ScatterElements", opset: 18, [:],
            [.strings(try StringTensor(shape: Shape([2]), elements: ["a", "b"])), .tensor(try Tensor(.int64, [1], [1] as [Int64])), .strings(try StringTensor(shape: Shape([1]), elements: ["z"]))],
            [.strings(try StringTensor(shape: Shape([2]), elements: ["a", "z"]))])
        expectRefuses(
            "ScatterElements", opset: 18, ["axis": .int(1)],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [1, 2], [0, 1] as [Int64])), .tensor(try Tensor(.float32, [1, 3], [1, 1, 1] as [Float]))], .shapeMismatch, "one shape")
        expectRefuses(
            "ScatterElements", opset: 18, ["axis": .int(1)],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [1, 1], [3] as [Int64])), .tensor(try Tensor(.float32, [1, 1], [1] as [Float]))], .invalidValue, "outside")
        expectRefuses(
            "ScatterElements", opset: 16, ["reduction": .string("max")],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [1, 1], [0] as [Int64])), .tensor(try Tensor(.float32, [1, 1], [1] as [Float]))], .invalidModel, "reduction")
        expectRefuses(
            "ScatterElements", opset: 18, ["reduction": .string("add")],
            [.strings(try StringTensor(shape: Shape([1]), elements: ["a"])), .tensor(try Tensor(.int64, [1], [0] as [Int64])), .strings(try StringTensor(shape: Shape([1]), elements: ["b"]))], .typeMismatch, "reduction")
    }

    @Test
    func scatterND() throws {
        try expectEvaluates(
            "ScatterND", opset: 11, [:],
            [.tensor(try Tensor(.float32, [8], [0, 1, 2, 3, 4, 5, 6, 7] as [Float])), .tensor(try Tensor(.int64, [3, 1], [4, 3, -1] as [Int64])), .tensor(try Tensor(.float32, [3], [9, 10, 11] as [Float]))],
            [.tensor(try Tensor(.float32, [8], [0, 1, 2, 10, 9, 5, 6, 11] as [Float]))])
        try expectEvaluates(
            "ScatterND", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23] as [Float])), .tensor(try Tensor(.int64, [2, 1], [0, 1] as [Int64])), .tensor(try Tensor(.float32, [2, 3, 4], [-0.0, -1, -2, -3, -4, -5, -6, -7, -8, -9, -10, -11, -12, -13, -14, -15, -16, -17, -18, -19, -20, -21, -22, -23] as [Float]))],
            [.tensor(try Tensor(.float32, [2, 3, 4], [-0.0, -1, -2, -3, -4, -5, -6, -7, -8, -9, -10, -11, -12, -13, -14, -15, -16, -17, -18, -19, -20, -21, -22, -23] as [Float]))])
        try expectEvaluates(
            "ScatterND", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [1, 2], [1, -1] as [Int64])), .tensor(try Tensor(.float32, [1], [7] as [Float]))],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 7] as [Float]))])
        try expectEvaluates(
            "ScatterND", opset: 18, ["reduction": .string("add")],
            [.tensor(try Tensor(.float32, [4], [0, 1, 2, 3] as [Float])), .tensor(try Tensor(.int64, [3, 1], [0, 0, 2] as [Int64])), .tensor(try Tensor(.float32, [3], [3, 2, 1] as [Float]))],
            [.tensor(try Tensor(.float32, [4], [5, 1, 3, 3] as [Float]))])
        try expectEvaluates(
            "ScatterND", opset: 18, ["reduction": .string("mul")],
            [.tensor(try Tensor(.float32, [4], [0, 1, 2, 3] as [Float])), .tensor(try Tensor(.int64, [3, 1], [0, 0, 2] as [Int64])), .tensor(try Tensor(.float32, [3], [3, 2, 1] as [Float]))],
            [.tensor(try Tensor(.float32, [4], [0, 1, 2, 3] as [Float]))])
        try expectEvaluates(
            "ScatterND", opset: 18, ["reduction": .string("min")],
            [.tensor(try Tensor(.float32, [4], [0, 1, 2, 3] as [Float])), .tensor(try Tensor(.int64, [3, 1], [0, 0, 2] as [Int64])), .tensor(try Tensor(.float32, [3], [3, 2, 1] as [Float]))],
            [.tensor(try Tensor(.float32, [4], [0, 1, 1, 3] as [Float]))])
        try expectEvaluates(
            "ScatterND", opset: 18, ["reduction": .string("max")],
            [.tensor(try Tensor(.float32, [4], [0, 1, 2, 3] as [Float])), .tensor(try Tensor(.int64, [3, 1], [0, 0, 2] as [Int64])), .tensor(try Tensor(.float32, [3], [3, 2, 1] as [Float]))],
            [.tensor(try Tensor(.float32, [4], [3, 1, 2, 3] as [Float]))])
        try expectEvaluates(
            "ScatterND", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [0, 2], [] as [Int64])), .tensor(try Tensor(.float32, [0], [] as [Float]))],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float]))])
        try expectEvaluates(
            "ScatterND", opset: 13, [:],
            [.strings(try StringTensor(shape: Shape([2]), elements: ["a", "b"])), .tensor(try Tensor(.int64, [1, 1], [1] as [Int64])), .strings(try StringTensor(shape: Shape([1]), elements: ["z"]))],
            [.strings(try StringTensor(shape: Shape([2]), elements: ["a", "z"]))])
        expectRefuses(
            "ScatterND", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [1, 2], [9, 0] as [Int64])), .tensor(try Tensor(.float32, [1], [0] as [Float]))], .invalidValue, "outside")
        expectRefuses(
            "ScatterND", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [1, 2], [-9, 0] as [Int64])), .tensor(try Tensor(.float32, [1], [0] as [Float]))], .invalidValue, "outside")
        expectRefuses(
            "ScatterND", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [1, 2], [0, 0] as [Int64])), .tensor(try Tensor(.float32, [3], [0, 1, 2] as [Float]))], .shapeMismatch, "updates")
        expectRefuses(
            "ScatterND", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [1, 3], [0, 0, 0] as [Int64])), .tensor(try Tensor(.float32, [1], [0] as [Float]))], .shapeMismatch, "coordinates")
    }

    @Test
    func tensorScatter() throws {
        try expectEvaluates(
            "TensorScatter", opset: 24, [:],
            [.tensor(try Tensor(.float32, [2, 4, 2], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] as [Float])), .tensor(try Tensor(.float32, [2, 2, 2], [1, 2, 3, 4, 5, 6, 7, 8] as [Float])), .tensor(try Tensor(.int64, [2], [1, 2] as [Int64]))],
            [.tensor(try Tensor(.float32, [2, 4, 2], [0, 0, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 5, 6, 7, 8] as [Float]))])
        try expectEvaluates(
            "TensorScatter", opset: 24, ["mode": .string("circular"), "axis": .int(1)],
            [.tensor(try Tensor(.float32, [2, 4, 2], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] as [Float])), .tensor(try Tensor(.float32, [2, 2, 2], [1, 2, 3, 4, 5, 6, 7, 8] as [Float])), .tensor(try Tensor(.int64, [2], [3, 0] as [Int64]))],
            [.tensor(try Tensor(.float32, [2, 4, 2], [3, 4, 0, 0, 0, 0, 1, 2, 5, 6, 7, 8, 0, 0, 0, 0] as [Float]))])
        try expectEvaluates(
            "TensorScatter", opset: 24, [:],
            [.tensor(try Tensor(.float32, [2, 4, 2], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] as [Float])), .tensor(try Tensor(.float32, [2, 2, 2], [1, 2, 3, 4, 5, 6, 7, 8] as [Float]))],
            [.tensor(try Tensor(.float32, [2, 4, 2], [1, 2, 3, 4, 0, 0, 0, 0, 5, 6, 7, 8, 0, 0, 0, 0] as [Float]))])
        expectRefuses(
            "TensorScatter", opset: 24, [:],
            [.tensor(try Tensor(.float32, [2, 4, 2], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] as [Float])), .tensor(try Tensor(.float32, [2, 2, 2], [1, 2, 3, 4, 5, 6, 7, 8] as [Float])), .tensor(try Tensor(.int64, [2], [3, 0] as [Int64]))], .invalidValue, "no place")
        expectRefuses(
            "TensorScatter", opset: 24, [:],
            [.tensor(try Tensor(.float32, [2, 4, 2], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] as [Float])), .tensor(try Tensor(.float32, [2, 5, 2], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19] as [Float]))], .shapeMismatch, "does not fit")
    }

    @Test
    func reverseSequence() throws {
        try expectEvaluates(
            "ReverseSequence", opset: 10, [:],
            [.tensor(try Tensor(.float32, [4, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15] as [Float])), .tensor(try Tensor(.int64, [4], [4, 3, 2, 1] as [Int64]))],
            [.tensor(try Tensor(.float32, [4, 4], [12, 9, 6, 3, 8, 5, 2, 7, 4, 1, 10, 11, 0, 13, 14, 15] as [Float]))])
        try expectEvaluates(
            "ReverseSequence", opset: 10, ["time_axis": .int(1), "batch_axis": .int(0)],
            [.tensor(try Tensor(.float32, [2, 3, 2], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] as [Float])), .tensor(try Tensor(.int64, [2], [2, 3] as [Int64]))],
            [.tensor(try Tensor(.float32, [2, 3, 2], [2, 3, 0, 1, 4, 5, 10, 11, 8, 9, 6, 7] as [Float]))])
        expectRefuses(
            "ReverseSequence", opset: 10, [:],
            [.tensor(try Tensor(.float32, [4, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15] as [Float])), .tensor(try Tensor(.int64, [4], [5, 3, 2, 1] as [Int64]))], .invalidValue, "steps")
        expectRefuses(
            "ReverseSequence", opset: 10, [:],
            [.tensor(try Tensor(.float32, [4, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15] as [Float])), .tensor(try Tensor(.int64, [1], [1] as [Int64]))], .shapeMismatch, "batch of")
    }

    @Test
    func compress() throws {
        try expectEvaluates(
            "Compress", opset: 11, ["axis": .int(0)],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.bool, [2], [0, 1] as [UInt8]))],
            [.tensor(try Tensor(.float32, [1, 3], [3, 4, 5] as [Float]))])
        try expectEvaluates(
            "Compress", opset: 9, ["axis": .int(-1)],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.bool, [3], [1, 0, 1] as [UInt8]))],
            [.tensor(try Tensor(.float32, [2, 2], [0, 2, 3, 5] as [Float]))])
        try expectEvaluates(
            "Compress", opset: 9, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.bool, [5], [0, 1, 0, 0, 1] as [UInt8]))],
            [.tensor(try Tensor(.float32, [2], [1, 4] as [Float]))])
        try expectEvaluates(
            "Compress", opset: 9, ["axis": .int(1)],
            [.strings(try StringTensor(shape: Shape([1, 3]), elements: ["a", "b", "c"])), .tensor(try Tensor(.bool, [3], [1, 0, 1] as [UInt8]))],
            [.strings(try StringTensor(shape: Shape([1, 2]), elements: ["a", "c"]))])
        try expectEvaluates(
            "Compress", opset: 9, ["axis": .int(0)],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.bool, [1], [0] as [UInt8]))],
            [.tensor(try Tensor(.float32, [0, 3], [] as [Float]))])
    }
}
