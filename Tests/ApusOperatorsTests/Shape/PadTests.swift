import ApusCore
import ApusGraph
import Testing

@testable import ApusOperators

/// Pad, CenterCropPad, DepthToSpace, SpaceToDepth, Trilu and EyeLike.
/// Expected values come from onnxruntime 1.31 or NumPy.
struct PadTests {

    @Test
    func constantPads() throws {
        try expectEvaluates(
            "Pad", opset: 1, ["paddings": .ints([0, 1, 1, 0]), "value": .float(1.5)],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float]))],
            [.tensor(try Tensor(.float32, [3, 4], [1.5, 0, 1, 2, 1.5, 3, 4, 5, 1.5, 1.5, 1.5, 1.5] as [Float]))])
        try expectEvaluates(
            "Pad", opset: 2, ["pads": .ints([0, 1, 1, 0])],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float]))],
            [.tensor(try Tensor(.float32, [3, 4], [0, 0, 1, 2, 0, 3, 4, 5, 0, 0, 0, 0] as [Float]))])
        try expectEvaluates(
            "Pad", opset: 2, ["pads": .ints([0, 1, 1, 0]), "value": .float(2.5)],
            [.tensor(try Tensor(.float64, [2, 3], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0] as [Double]))],
            [.tensor(try Tensor(.float64, [3, 4], [2.5, 0.0, 1.0, 2.0, 2.5, 3.0, 4.0, 5.0, 2.5, 2.5, 2.5, 2.5] as [Double]))])
        try expectEvaluates(
            "Pad", opset: 11, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [4], [1, 0, 0, 2] as [Int64]))],
            [.tensor(try Tensor(.float32, [3, 5], [0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 3, 4, 5, 0, 0] as [Float]))])
        try expectEvaluates(
            "Pad", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [4], [1, -1, 0, 2] as [Int64])), .tensor(try Tensor(.float32, [], [7] as [Float]))],
            [.tensor(try Tensor(.float32, [3, 4], [7, 7, 7, 7, 1, 2, 7, 7, 4, 5, 7, 7] as [Float]))])
        try expectEvaluates(
            "Pad", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [4], [0, -3, 0, 2] as [Int64])), .tensor(try Tensor(.float32, [], [7] as [Float]))],
            [.tensor(try Tensor(.float32, [2, 2], [7, 7, 7, 7] as [Float]))])
        try expectEvaluates(
            "Pad", opset: 18, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [2], [1, 2] as [Int64])), .tensor(try Tensor(.float32, [], [3] as [Float])), .tensor(try Tensor(.int64, [1], [-1] as [Int64]))],
            [.tensor(try Tensor(.float32, [2, 6], [3, 0, 1, 2, 3, 3, 3, 3, 4, 5, 3, 3] as [Float]))])
        try expectEvaluates(
            "Pad", opset: 13, [:],
            [.tensor(try Tensor(.float32, [0, 3], [] as [Float])), .tensor(try Tensor(.int64, [4], [1, 0, 1, 0] as [Int64]))],
            [.tensor(try Tensor(.float32, [2, 3], [0, 0, 0, 0, 0, 0] as [Float]))])
        try expectEvaluates(
            "Pad", opset: 13, [:],
            [.tensor(try Tensor(.uint8, [2], [1, 2] as [UInt8])), .tensor(try Tensor(.int64, [2], [1, 1] as [Int64])), .tensor(try Tensor(.uint8, [], [9] as [UInt8]))],
            [.tensor(try Tensor(.uint8, [4], [9, 1, 2, 9] as [UInt8]))])
        try expectEvaluates(
            "Pad", opset: 13, [:],
            [.strings(try StringTensor(shape: Shape([1]), elements: ["a"])), .tensor(try Tensor(.int64, [2], [1, 1] as [Int64])), .strings(try StringTensor(shape: Shape([]), elements: ["z"]))],
            [.strings(try StringTensor(shape: Shape([3]), elements: ["z", "a", "z"]))])
        try expectEvaluates(
            "Pad", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23] as [Float])), .tensor(try Tensor(.int64, [6], [1, 1, 1, 1, 1, 1] as [Int64]))],
            [.tensor(try Tensor(.float32, [4, 5, 6], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 0, 0, 4, 5, 6, 7, 0, 0, 8, 9, 10, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12, 13, 14, 15, 0, 0, 16, 17, 18, 19, 0, 0, 20, 21, 22, 23, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] as [Float]))])
        try expectEvaluates(
            "Pad", opset: 13, [:],
            [.tensor(try Tensor(.float32, [], [0] as [Float])), .tensor(try Tensor(.int64, [0], [] as [Int64]))],
            [.tensor(try Tensor(.float32, [], [0] as [Float]))])
    }

    @Test
    func otherModes() throws {
        try expectEvaluates(
            "Pad", opset: 13, ["mode": .string("reflect")],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [4], [1, 2, 1, 2] as [Int64]))],
            [.tensor(try Tensor(.float32, [4, 7], [5, 4, 3, 4, 5, 4, 3, 2, 1, 0, 1, 2, 1, 0, 5, 4, 3, 4, 5, 4, 3, 2, 1, 0, 1, 2, 1, 0] as [Float]))])
        try expectEvaluates(
            "Pad", opset: 2, ["mode": .string("reflect"), "pads": .ints([0, 1, 0, 0, 0, 3])],
            [.tensor(try Tensor(.float32, [2, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23] as [Float]))],
            [.tensor(try Tensor(.float32, [2, 4, 7], [4, 5, 6, 7, 6, 5, 4, 0, 1, 2, 3, 2, 1, 0, 4, 5, 6, 7, 6, 5, 4, 8, 9, 10, 11, 10, 9, 8, 16, 17, 18, 19, 18, 17, 16, 12, 13, 14, 15, 14, 13, 12, 16, 17, 18, 19, 18, 17, 16, 20, 21, 22, 23, 22, 21, 20] as [Float]))])
        try expectEvaluates(
            "Pad", opset: 13, ["mode": .string("edge")],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [4], [1, 2, 1, 2] as [Int64]))],
            [.tensor(try Tensor(.float32, [4, 7], [0, 0, 0, 1, 2, 2, 2, 0, 0, 0, 1, 2, 2, 2, 3, 3, 3, 4, 5, 5, 5, 3, 3, 3, 4, 5, 5, 5] as [Float]))])
        try expectEvaluates(
            "Pad", opset: 2, ["mode": .string("edge"), "pads": .ints([0, 1, 0, 0, 0, 3])],
            [.tensor(try Tensor(.float32, [2, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23] as [Float]))],
            [.tensor(try Tensor(.float32, [2, 4, 7], [0, 1, 2, 3, 3, 3, 3, 0, 1, 2, 3, 3, 3, 3, 4, 5, 6, 7, 7, 7, 7, 8, 9, 10, 11, 11, 11, 11, 12, 13, 14, 15, 15, 15, 15, 12, 13, 14, 15, 15, 15, 15, 16, 17, 18, 19, 19, 19, 19, 20, 21, 22, 23, 23, 23, 23] as [Float]))])
        try expectEvaluates(
            "Pad", opset: 13, ["mode": .string("edge")],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [4], [4, 4, 0, -1] as [Int64]))],
            [.tensor(try Tensor(.float32, [6, 6], [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 3, 3, 3, 3, 3, 4] as [Float]))])
        try expectEvaluates(
            "Pad", opset: 13, ["mode": .string("reflect")],
            [.tensor(try Tensor(.float32, [5], [0, 1, 2, 3, 4] as [Float])), .tensor(try Tensor(.int64, [2], [-2, 2] as [Int64]))],
            [.tensor(try Tensor(.float32, [5], [2, 3, 4, 3, 2] as [Float]))])
        try expectEvaluates(
            "Pad", opset: 19, ["mode": .string("wrap")],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [4], [1, 2, 3, 4] as [Int64]))],
            [.tensor(try Tensor(.float32, [6, 9], [4, 5, 3, 4, 5, 3, 4, 5, 3, 1, 2, 0, 1, 2, 0, 1, 2, 0, 4, 5, 3, 4, 5, 3, 4, 5, 3, 1, 2, 0, 1, 2, 0, 1, 2, 0, 4, 5, 3, 4, 5, 3, 4, 5, 3, 1, 2, 0, 1, 2, 0, 1, 2, 0] as [Float]))])
    }

    @Test
    func refuses() throws {
        expectRefuses(
            "Pad", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [4], [0, -2, 0, -2] as [Int64]))], .shapeMismatch, "less than nothing")
        expectRefuses(
            "Pad", opset: 13, ["mode": .string("reflect")],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [4], [0, 7, 0, 7] as [Int64]))], .shapeMismatch, "cannot pad")
        expectRefuses(
            "Pad", opset: 13, ["mode": .string("reflect")],
            [.tensor(try Tensor(.float32, [0, 3], [] as [Float])), .tensor(try Tensor(.int64, [4], [1, 0, 1, 0] as [Int64]))], .shapeMismatch, "cannot pad")
        expectRefuses(
            "Pad", opset: 13, ["mode": .string("edge")],
            [.tensor(try Tensor(.float32, [0, 3], [] as [Float])), .tensor(try Tensor(.int64, [4], [1, 0, 1, 0] as [Int64]))], .shapeMismatch, "cannot pad")
        expectRefuses(
            "Pad", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [2], [1, 1] as [Int64]))], .shapeMismatch, "pads has")
        expectRefuses(
            "Pad", opset: 13, ["mode": .string("wrap")],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [4], [1, 1, 1, 1] as [Int64]))], .invalidModel, "mode")
        expectRefuses(
            "Pad", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [4], [1048576, 1048576, 1048576, 1048576] as [Int64]))], .memoryLimit, "")
        expectRefuses(
            "Pad", opset: 13, [:],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), .tensor(try Tensor(.int64, [4], [9223372036854775807, 0, 9223372036854775807, 0] as [Int64]))], .invalidValue, "")
    }

    @Test
    func centerCropPad() throws {
        try expectEvaluates(
            "CenterCropPad", opset: 18, [:],
            [.tensor(try Tensor(.float32, [5, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19] as [Float])), .tensor(try Tensor(.int64, [2], [2, 7] as [Int64]))],
            [.tensor(try Tensor(.float32, [2, 7], [0, 4, 5, 6, 7, 0, 0, 0, 8, 9, 10, 11, 0, 0] as [Float]))])
        try expectEvaluates(
            "CenterCropPad", opset: 18, ["axes": .ints([-1])],
            [.tensor(try Tensor(.float32, [2, 5], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9] as [Float])), .tensor(try Tensor(.int64, [1], [2] as [Int64]))],
            [.tensor(try Tensor(.float32, [2, 2], [1, 2, 6, 7] as [Float]))])
        try expectEvaluates(
            "CenterCropPad", opset: 18, ["axes": .ints([1])],
            [.tensor(try Tensor(.float32, [2, 2], [0, 1, 2, 3] as [Float])), .tensor(try Tensor(.int32, [1], [5] as [Int32]))],
            [.tensor(try Tensor(.float32, [2, 5], [0, 0, 1, 0, 0, 0, 2, 3, 0, 0] as [Float]))])
    }

    @Test
    func depthToSpace() throws {
        try expectEvaluates(
            "DepthToSpace", opset: 1, ["blocksize": .int(2)],
            [.tensor(try Tensor(.float32, [1, 8, 2, 3], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 2, 4, 6], [0, 12, 1, 13, 2, 14, 24, 36, 25, 37, 26, 38, 3, 15, 4, 16, 5, 17, 27, 39, 28, 40, 29, 41, 6, 18, 7, 19, 8, 20, 30, 42, 31, 43, 32, 44, 9, 21, 10, 22, 11, 23, 33, 45, 34, 46, 35, 47] as [Float]))])
        try expectEvaluates(
            "DepthToSpace", opset: 13, ["blocksize": .int(2), "mode": .string("CRD")],
            [.tensor(try Tensor(.float32, [1, 8, 2, 3], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 2, 4, 6], [0, 6, 1, 7, 2, 8, 12, 18, 13, 19, 14, 20, 3, 9, 4, 10, 5, 11, 15, 21, 16, 22, 17, 23, 24, 30, 25, 31, 26, 32, 36, 42, 37, 43, 38, 44, 27, 33, 28, 34, 29, 35, 39, 45, 40, 46, 41, 47] as [Float]))])
        try expectEvaluates(
            "DepthToSpace", opset: 11, ["blocksize": .int(1)],
            [.tensor(try Tensor(.float32, [2, 2, 2, 1], [0, 1, 2, 3, 4, 5, 6, 7] as [Float]))],
            [.tensor(try Tensor(.float32, [2, 2, 2, 1], [0, 1, 2, 3, 4, 5, 6, 7] as [Float]))])
        try expectEvaluates(
            "SpaceToDepth", opset: 13, ["blocksize": .int(2)],
            [.tensor(try Tensor(.float32, [2, 1, 4, 6], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47] as [Float]))],
            [.tensor(try Tensor(.float32, [2, 4, 2, 3], [0, 2, 4, 12, 14, 16, 1, 3, 5, 13, 15, 17, 6, 8, 10, 18, 20, 22, 7, 9, 11, 19, 21, 23, 24, 26, 28, 36, 38, 40, 25, 27, 29, 37, 39, 41, 30, 32, 34, 42, 44, 46, 31, 33, 35, 43, 45, 47] as [Float]))])
        expectRefuses(
            "DepthToSpace", opset: 13, ["blocksize": .int(0)],
            [.tensor(try Tensor(.float32, [1, 2, 5, 5], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49] as [Float]))], .invalidModel, "blocksize")
        expectRefuses(
            "DepthToSpace", opset: 13, ["blocksize": .int(1048576)],
            [.tensor(try Tensor(.float32, [1, 4, 2, 2], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15] as [Float]))], .shapeMismatch, "multiple")
        expectRefuses(
            "SpaceToDepth", opset: 13, ["blocksize": .int(2)],
            [.tensor(try Tensor(.float32, [1, 1, 3, 2], [0, 1, 2, 3, 4, 5] as [Float]))], .shapeMismatch, "multiple")
        expectRefuses(
            "DepthToSpace", opset: 13, ["blocksize": .int(9223372036854775807)],
            [.tensor(try Tensor(.float32, [1, 4, 2, 2], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15] as [Float]))], .invalidValue, "")
        expectRefuses(
            "DepthToSpace", opset: 13, ["blocksize": .int(2)],
            [.tensor(try Tensor(.float32, [2, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23] as [Float]))], .shapeMismatch, "rank")
    }

    @Test
    func trilu() throws {
        try expectEvaluates(
            "Trilu", opset: 14, ["upper": .int(0)],
            [.tensor(try Tensor(.float32, [3, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12] as [Float])), .tensor(try Tensor(.int64, [], [-5] as [Int64]))],
            [.tensor(try Tensor(.float32, [3, 4], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] as [Float]))])
        try expectEvaluates(
            "Trilu", opset: 14, ["upper": .int(0)],
            [.tensor(try Tensor(.float32, [3, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12] as [Float])), .tensor(try Tensor(.int64, [], [-1] as [Int64]))],
            [.tensor(try Tensor(.float32, [3, 4], [0, 0, 0, 0, 5, 0, 0, 0, 9, 10, 0, 0] as [Float]))])
        try expectEvaluates(
            "Trilu", opset: 14, ["upper": .int(0)],
            [.tensor(try Tensor(.float32, [3, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12] as [Float])), .tensor(try Tensor(.int64, [], [0] as [Int64]))],
            [.tensor(try Tensor(.float32, [3, 4], [1, 0, 0, 0, 5, 6, 0, 0, 9, 10, 11, 0] as [Float]))])
        try expectEvaluates(
            "Trilu", opset: 14, ["upper": .int(0)],
            [.tensor(try Tensor(.float32, [3, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12] as [Float])), .tensor(try Tensor(.int64, [], [1] as [Int64]))],
            [.tensor(try Tensor(.float32, [3, 4], [1, 2, 0, 0, 5, 6, 7, 0, 9, 10, 11, 12] as [Float]))])
        try expectEvaluates(
            "Trilu", opset: 14, ["upper": .int(0)],
            [.tensor(try Tensor(.float32, [3, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12] as [Float])), .tensor(try Tensor(.int64, [], [2] as [Int64]))],
            [.tensor(try Tensor(.float32, [3, 4], [1, 2, 3, 0, 5, 6, 7, 8, 9, 10, 11, 12] as [Float]))])
        try expectEvaluates(
            "Trilu", opset: 14, ["upper": .int(0)],
            [.tensor(try Tensor(.float32, [3, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12] as [Float])), .tensor(try Tensor(.int64, [], [9] as [Int64]))],
            [.tensor(try Tensor(.float32, [3, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12] as [Float]))])
        try expectEvaluates(
            "Trilu", opset: 14, ["upper": .int(0)],
            [.tensor(try Tensor(.float32, [3, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12] as [Float])), .tensor(try Tensor(.int64, [], [-9223372036854775808] as [Int64]))],
            [.tensor(try Tensor(.float32, [3, 4], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] as [Float]))])
        try expectEvaluates(
            "Trilu", opset: 14, ["upper": .int(0)],
            [.tensor(try Tensor(.float32, [3, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12] as [Float])), .tensor(try Tensor(.int64, [], [9223372036854775807] as [Int64]))],
            [.tensor(try Tensor(.float32, [3, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12] as [Float]))])
        try expectEvaluates(
            "Trilu", opset: 14, ["upper": .int(1)],
            [.tensor(try Tensor(.float32, [3, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12] as [Float])), .tensor(try Tensor(.int64, [], [-5] as [Int64]))],
            [.tensor(try Tensor(.float32, [3, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12] as [Float]))])
        try expectEvaluates(
            "Trilu", opset: 14, ["upper": .int(1)],
            [.tensor(try Tensor(.float32, [3, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12] as [Float])), .tensor(try Tensor(.int64, [], [-1] as [Int64]))],
            [.tensor(try Tensor(.float32, [3, 4], [1, 2, 3, 4, 5, 6, 7, 8, 0, 10, 11, 12] as [Float]))])
        try expectEvaluates(
            "Trilu", opset: 14, ["upper": .int(1)],
            [.tensor(try Tensor(.float32, [3, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12] as [Float])), .tensor(try Tensor(.int64, [], [0] as [Int64]))],
            [.tensor(try Tensor(.float32, [3, 4], [1, 2, 3, 4, 0, 6, 7, 8, 0, 0, 11, 12] as [Float]))])
        try expectEvaluates(
            "Trilu", opset: 14, ["upper": .int(1)],
            [.tensor(try Tensor(.float32, [3, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12] as [Float])), .tensor(try Tensor(.int64, [], [1] as [Int64]))],
            [.tensor(try Tensor(.float32, [3, 4], [0, 2, 3, 4, 0, 0, 7, 8, 0, 0, 0, 12] as [Float]))])
        try expectEvaluates(
            "Trilu", opset: 14, ["upper": .int(1)],
            [.tensor(try Tensor(.float32, [3, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12] as [Float])), .tensor(try Tensor(.int64, [], [2] as [Int64]))],
            [.tensor(try Tensor(.float32, [3, 4], [0, 0, 3, 4, 0, 0, 0, 8, 0, 0, 0, 0] as [Float]))])
        try expectEvaluates(
            "Trilu", opset: 14, ["upper": .int(1)],
            [.tensor(try Tensor(.float32, [3, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12] as [Float])), .tensor(try Tensor(.int64, [], [9] as [Int64]))],
            [.tensor(try Tensor(.float32, [3, 4], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] as [Float]))])
        try expectEvaluates(
            "Trilu", opset: 14, ["upper": .int(1)],
            [.tensor(try Tensor(.float32, [3, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12] as [Float])), .tensor(try Tensor(.int64, [], [-9223372036854775808] as [Int64]))],
            [.tensor(try Tensor(.float32, [3, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12] as [Float]))])
        try expectEvaluates(
            "Trilu", opset: 14, ["upper": .int(1)],
            [.tensor(try Tensor(.float32, [3, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12] as [Float])), .tensor(try Tensor(.int64, [], [9223372036854775807] as [Int64]))],
            [.tensor(try Tensor(.float32, [3, 4], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] as [Float]))])
        try expectEvaluates(
            "Trilu", opset: 14, [:],
            [.tensor(try Tensor(.float32, [2, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23] as [Float]))],
            [.tensor(try Tensor(.float32, [2, 3, 4], [0, 1, 2, 3, 0, 5, 6, 7, 0, 0, 10, 11, 12, 13, 14, 15, 0, 17, 18, 19, 0, 0, 22, 23] as [Float]))])
        try expectEvaluates(
            "Trilu", opset: 14, [:],
            [.tensor(try Tensor(.float32, [2, 0, 3], [] as [Float]))],
            [.tensor(try Tensor(.float32, [2, 0, 3], [] as [Float]))])
        try expectEvaluates(
            "Trilu", opset: 14, ["upper": .int(0)],
            [.tensor(try Tensor(.bool, [3, 3], [1, 1, 1, 1, 1, 1, 1, 1, 1] as [UInt8]))],
            [.tensor(try Tensor(.bool, [3, 3], [1, 0, 0, 1, 1, 0, 1, 1, 1] as [UInt8]))])
        expectRefuses(
            "Trilu", opset: 14, [:],
            [.tensor(try Tensor(.float32, [3], [0, 1, 2] as [Float]))], .shapeMismatch, "rank")
    }

    @Test
    func eyeLike() throws {
        try expectEvaluates(
            "EyeLike", opset: 9, [:],
            [.tensor(try Tensor(.float32, [3, 3], [0, 1, 2, 3, 4, 5, 6, 7, 8] as [Float]))],
            [.tensor(try Tensor(.float32, [3, 3], [1, 0, 0, 0, 1, 0, 0, 0, 1] as [Float]))])
        try expectEvaluates(
            "EyeLike", opset: 9, ["k": .int(1), "dtype": .int(6)],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float]))],
            [.tensor(try Tensor(.int32, [2, 3], [0, 1, 0, 0, 0, 1] as [Int32]))])
        try expectEvaluates(
            "EyeLike", opset: 22, ["k": .int(-1), "dtype": .int(11)],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float]))],
            [.tensor(try Tensor(.float64, [2, 3], [0.0, 0.0, 0.0, 1.0, 0.0, 0.0] as [Double]))])
        try expectEvaluates(
            "EyeLike", opset: 9, ["k": .int(9223372036854775807)],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float]))],
            [.tensor(try Tensor(.float32, [2, 3], [0, 0, 0, 0, 0, 0] as [Float]))])
        try expectEvaluates(
            "EyeLike", opset: 9, ["dtype": .int(9)],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float]))],
            [.tensor(try Tensor(.bool, [2, 3], [1, 0, 0, 0, 1, 0] as [UInt8]))])
        expectRefuses(
            "EyeLike", opset: 9, [:],
            [.tensor(try Tensor(.float32, [1, 2, 5, 5], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49] as [Float]))], .shapeMismatch, "rank")
    }
}
